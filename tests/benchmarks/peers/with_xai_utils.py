"""This package, for `compare.py`: as its notebooks call it."""

from serve import (
    BASELINE,
    FILL,
    SAMPLES,
    SIGMA,
    STEPS,
    TARGET,
    covers,
    pictures,
    serve,
)

from xai_utils import networks
from xai_utils.gradients import gradient
from xai_utils.integrated_gradients import integrated_gradients
from xai_utils.occlusion import occlusion
from xai_utils.smoothgrad import smoothgrad
from xai_utils.targets import class_score

images = pictures()
image = images[:1]
model = networks.photos_net()
target = class_score(TARGET)


def smooth(seed):
    return smoothgrad(model, image, target, SIGMA, SAMPLES, seed=seed)


def occluded(patch, stride):
    return occlusion(
        model, image[0], target, patch=patch, stride=stride, fill=FILL
    )


TASKS = {
    "logits": lambda batch: model(image).numpy(),
    "gradient, 1 image": lambda batch: gradient(model, image, target),
    "gradient, 32 images": lambda batch: gradient(model, images, target),
    "SmoothGrad 50": lambda batch: smooth(seed=0),
    "SmoothGrad 50, another seed": lambda batch: smooth(seed=1),
    "Integrated Gradients 50": lambda batch: integrated_gradients(
        model, image, target, BASELINE, STEPS
    ),
    "occlusion 32/8": lambda batch: occluded(32, 8),
    "occlusion 16/4": lambda batch: occluded(16, 4),
}


def comparable(task, found):
    """In every form that another library may have."""
    if task.startswith("gradient"):
        return {"gradient": found, "size of the gradient": abs(found)}
    if task.startswith("SmoothGrad"):
        return {"mean": found.mean}
    if task.startswith("Integrated"):
        return {"attributions": found.attributions}
    if task.startswith("occlusion"):
        patch, stride = map(int, task.split()[1].split("/"))
        forms = {
            "heat map": found.heatmap,
            "sums": found.heatmap * covers(patch, stride),
            # Patches side by side: 4 strides make a patch in both tasks.
            "side by side": -found.scores[::4, ::4],
            "first row": found.scores[0],
        }
        return forms
    return {"logits": found}


POSITIONS = {"occlusion 32/8": 625, "occlusion 16/4": 2809}
REMARKS = {
    "gradient, 1 image": "batch 32, its default",
    "gradient, 32 images": "batch 32, its default",
    "SmoothGrad 50": "batch 16, its default",
    "Integrated Gradients 50": "batch 16, its default; midpoints",
    "occlusion 32/8": "reuse where it pays, its default",
    "occlusion 16/4": "reuse where it pays, its default",
}
serve(
    ["xai-saliency-maps", "tensorflow", "keras"],
    TASKS,
    comparable,
    POSITIONS,
    remarks=REMARKS,
)
