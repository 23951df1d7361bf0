"""PAIR's `saliency`, for `compare.py`.

It calls a function that its user writes; here one that TensorFlow compiled.
"""

import numpy as np
import tensorflow as tf
from saliency.core import GradientSaliency, IntegratedGradients, Occlusion
from saliency.core.base import INPUT_OUTPUT_GRADIENTS, OUTPUT_LAYER_VALUES
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

images = pictures()
image = images[0]
model = keras_squeezenet(tf.keras)
SIGNATURE = [tf.TensorSpec((None, 224, 224, 3), tf.float32)]


@tf.function(input_signature=SIGNATURE)
def score(x):
    return model(x, training=False)[:, TARGET]


@tf.function(input_signature=SIGNATURE)
def slope(x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = model(x, training=False)[:, TARGET]
    return tape.gradient(value, x)


def call_model(x, call_model_args=None, expected_keys=None):
    x = tf.constant(x, tf.float32)
    if expected_keys == [INPUT_OUTPUT_GRADIENTS]:
        return {INPUT_OUTPUT_GRADIENTS: slope(x).numpy()}
    return {OUTPUT_LAYER_VALUES: score(x).numpy()}


def gradient(of):
    method = GradientSaliency()
    return np.stack([method.GetMask(one, call_model) for one in of])


def smoothgrad(batch):
    return GradientSaliency().GetSmoothedMask(
        image,
        call_model,
        stdev_spread=SIGMA / float(np.ptp(image)),
        nsamples=SAMPLES,
        magnitude=False,
    )


def integrated_gradients(batch):
    return IntegratedGradients().GetMask(
        image,
        call_model,
        x_baseline=np.full_like(image, BASELINE),
        x_steps=STEPS,
        batch_size=batch or 1,
    )


class Enough(Exception):
    """The first row of positions is done."""


def occlusion(patch):
    """The scores of the first row: its stride is 1, and the whole map would
    take thousands of passes of one picture each."""
    found = []

    def call_until_the_row_ends(*args, **kwargs):
        if len(found) == 1 + 224 - patch + 1:  # the clean picture, and a row
            raise Enough
        answer = call_model(*args, **kwargs)
        found.append(answer[OUTPUT_LAYER_VALUES][0])
        return answer

    try:
        Occlusion().GetMask(
            image, call_until_the_row_ends, size=patch, value=FILL
        )
    except Enough:
        return np.array(found[1:])


TASKS = {
    "logits": lambda batch: model(image[None]).numpy(),
    "gradient, 1 image": lambda batch: gradient(images[:1]),
    "gradient, 32 images": lambda batch: gradient(images),
    "SmoothGrad 50": smoothgrad,
    "Integrated Gradients 50": integrated_gradients,
    "occlusion 32/8": lambda batch: occlusion(32),
    "occlusion 16/4": lambda batch: occlusion(16),
}


def comparable(task, found):
    if task.startswith("gradient"):
        return {"gradient": found}
    if task.startswith("SmoothGrad"):
        return {"mean": found[None]}
    if task.startswith("Integrated"):
        return {"attributions": found[None]}
    if task.startswith("occlusion"):
        stride = int(task.split("/")[1])
        return {"first row": found[::stride]}
    return {"logits": found}


POSITIONS = {"occlusion 32/8": 193, "occlusion 16/4": 209}
REMARKS = {
    "gradient, 1 image": "on a function that we compiled",
    "gradient, 32 images": "one image at a time",
    "SmoothGrad 50": "one sample at a time",
    "Integrated Gradients 50": "ends included",
    "occlusion 32/8": (
        "stride 1, one position at a time; timed on the first 193"
    ),
    "occlusion 16/4": (
        "stride 1, one position at a time; timed on the first 209"
    ),
}
serve(
    ["saliency", "tensorflow", "keras"],
    TASKS,
    comparable,
    POSITIONS,
    batched=["Integrated Gradients 50"],
    remarks=REMARKS,
)
