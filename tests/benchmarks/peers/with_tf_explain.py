"""tf-explain, for `compare.py`: it needs Keras 2, which is tf-keras now
(`compare.py` sets the variable that makes TensorFlow take it).

Its `explain` ends in a grid of grey or coloured pictures; that is timed. What
lies before, its public static methods, is what can be compared.
"""

import numpy as np
import tensorflow as tf
from serve import (
    SAMPLES,
    SIGMA,
    STEPS,
    TARGET,
    keras_squeezenet,
    pictures,
    serve,
)
from tf_explain.core.integrated_gradients import IntegratedGradients
from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity
from tf_explain.core.smoothgrad import SmoothGrad
from tf_explain.core.vanilla_gradients import VanillaGradients

images = pictures()
image = images[:1]
model = keras_squeezenet(tf.keras)


def gradient(of):
    VanillaGradients().explain((of, None), model, TARGET)
    return of


def smoothgrad(batch):
    return SmoothGrad().explain(
        (image, None), model, TARGET, num_samples=SAMPLES, noise=SIGMA
    )


def integrated_gradients(batch):
    return IntegratedGradients().explain(
        (image, None), model, TARGET, n_steps=STEPS
    )


def occlusion(patch, batch):
    method = OcclusionSensitivity(batch_size=batch)
    method.explain((image, None), model, TARGET, patch)
    return patch


TASKS = {
    "logits": lambda batch: model(image).numpy(),
    "gradient, 1 image": lambda batch: gradient(image),
    "gradient, 32 images": lambda batch: gradient(images),
    "SmoothGrad 50": smoothgrad,
    "Integrated Gradients 50": integrated_gradients,
    "occlusion 32/8": lambda batch: occlusion(32, batch),
    "occlusion 16/4": lambda batch: occlusion(16, batch),
    "occlusion 32/16": lambda batch: occlusion(16, batch),
}
POSITIONS = {
    "occlusion 32/8": 49,
    "occlusion 16/4": 196,
    "occlusion 32/16": 196,
}


def comparable(task, found):
    """Computed once more, where `explain` returned a picture of it."""
    if task.startswith("gradient"):
        maps = VanillaGradients.compute_gradients(found, model, TARGET)
        return {"gradient": maps.numpy()}
    if task.startswith("SmoothGrad"):
        noisy = SmoothGrad.generate_noisy_images(image, SAMPLES, SIGMA)
        maps = SmoothGrad.get_averaged_gradients(noisy, model, TARGET, SAMPLES)
        return {"mean": maps.numpy()}
    if task.startswith("Integrated"):
        path = IntegratedGradients.generate_interpolations(image, STEPS)
        mean = IntegratedGradients.get_integrated_gradients(
            path, model, TARGET, STEPS
        )
        return {"attributions": mean.numpy() * image}
    if task.startswith("occlusion"):
        patch, count = found, 224 // found
        large = OcclusionSensitivity().get_sensitivity_map(
            model, image[0], TARGET, patch
        )
        # One value a patch was enlarged to all pixels: that of its centre.
        middle = np.arange(count) * patch + patch // 2
        return {"side by side": large[np.ix_(middle, middle)] - 1}
    return {"logits": found}


SIDE_BY_SIDE = (
    "stride is the patch: {} positions, compared where its enlarged map has "
    "their centres"
)
REMARKS = {
    "SmoothGrad 50": (
        "of the cross-entropy of the logits, not of one logit; all "
        "samples at once"
    ),
    "Integrated Gradients 50": (
        "ends included; its map lacks the factor x − x′, which is added to "
        "compare; all steps at once"
    ),
    "occlusion 32/8": SIDE_BY_SIDE.format(49),
    "occlusion 16/4": SIDE_BY_SIDE.format(196),
}
serve(
    ["tf-explain", "tensorflow", "tf-keras"],
    TASKS,
    comparable,
    POSITIONS,
    batched=["occlusion 32/8", "occlusion 16/4"],
    remarks=REMARKS,
)
