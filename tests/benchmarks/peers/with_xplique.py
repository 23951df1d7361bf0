"""Xplique, for `compare.py`."""

import numpy as np
import tensorflow as tf
from serve import (
    BASELINE,
    FILL,
    SAMPLES,
    SIGMA,
    STEPS,
    TARGET,
    keras_squeezenet,
    pictures,
    serve,
)
from xplique.attributions import (
    IntegratedGradients,
    Occlusion,
    Saliency,
    SmoothGrad,
)

images = pictures()
image = images[:1]
model = keras_squeezenet(tf.keras)
one_hot = np.eye(1000, dtype=np.float32)[[TARGET] * len(images)]
saliency = Saliency(model, reducer=None)


def gradient(of):
    return saliency.explain(of, one_hot[: len(of)]).numpy()


def smoothgrad(batch):
    method = SmoothGrad(
        model, batch_size=batch, reducer=None, nb_samples=SAMPLES, noise=SIGMA
    )
    return method.explain(image, one_hot[:1]).numpy()


def integrated_gradients(batch):
    method = IntegratedGradients(
        model,
        batch_size=batch,
        reducer=None,
        steps=STEPS,
        baseline_value=BASELINE,
    )
    return method.explain(image, one_hot[:1]).numpy()


def occlusion(patch, stride, batch):
    method = Occlusion(
        model,
        batch_size=batch,
        patch_size=patch,
        patch_stride=stride,
        occlusion_value=FILL,
    )
    return method.explain(image, one_hot[:1]).numpy()


TASKS = {
    "logits": lambda batch: model(image).numpy(),
    "gradient, 1 image": lambda batch: gradient(image),
    "gradient, 32 images": lambda batch: gradient(images),
    "SmoothGrad 50": smoothgrad,
    "Integrated Gradients 50": integrated_gradients,
    "occlusion 32/8": lambda batch: occlusion(32, 8, batch),
    "occlusion 16/4": lambda batch: occlusion(16, 4, batch),
    "occlusion 32/16": lambda batch: occlusion(32, 16, batch),
}


def comparable(task, found):
    if task.startswith("gradient"):
        return {"size of the gradient": found}
    if task.startswith("SmoothGrad"):
        return {"mean": found}
    if task.startswith("Integrated"):
        return {"attributions": found}
    if task.startswith("occlusion"):
        return {"sums": found.reshape(224, 224)}
    return {"logits": found}


POSITIONS = {
    "occlusion 32/8": 625,
    "occlusion 16/4": 2809,
    "occlusion 32/16": 169,
}
REMARKS = {
    "gradient, 1 image": "its Saliency: the size alone",
    "gradient, 32 images": "its Saliency: the size alone; batch 32",
    "Integrated Gradients 50": "trapezoids, not midpoints",
    "occlusion 32/8": "adds drops up, no mean",
    "occlusion 16/4": "adds drops up, no mean",
}
serve(
    ["xplique", "tensorflow", "keras"],
    TASKS,
    comparable,
    POSITIONS,
    batched=[
        "SmoothGrad 50",
        "Integrated Gradients 50",
        "occlusion 32/8",
        "occlusion 16/4",
    ],
    remarks=REMARKS,
)
