"""tf-keras-vis, for `compare.py`: it has gradients and SmoothGrad, neither
Integrated Gradients nor occlusion."""

import numpy as np
import tensorflow as tf
from serve import SAMPLES, SIGMA, TARGET, keras_squeezenet, pictures, serve
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.utils.scores import CategoricalScore

images = pictures()
image = images[:1]
model = keras_squeezenet(tf.keras)
saliency = Saliency(model)


def gradient(of, **options):
    """Signed, with all channels: without its usual steps afterwards."""
    return saliency(
        CategoricalScore(TARGET),
        of,
        keepdims=True,
        gradient_modifier=None,
        normalize_map=False,
        **options,
    )


def smoothgrad(batch):
    # It wants the noise as a share of the picture's range.
    share = SIGMA / float(np.ptp(image))
    return gradient(image, smooth_samples=SAMPLES, smooth_noise=share)


TASKS = {
    "logits": lambda batch: model(image).numpy(),
    "gradient, 1 image": lambda batch: gradient(image),
    "gradient, 32 images": lambda batch: gradient(images),
    "SmoothGrad 50": smoothgrad,
}


def comparable(task, found):
    kinds = {"g": "gradient", "S": "mean", "l": "logits"}
    return {kinds[task[0]]: np.asarray(found)}


REMARKS = {
    "gradient, 1 image": "normalize_map=False; not compiled",
    "gradient, 32 images": "all at once; not compiled",
    "SmoothGrad 50": "one sample at a time; not compiled",
}
serve(
    ["tf-keras-vis", "tensorflow", "keras"],
    TASKS,
    comparable,
    positions={},
    remarks=REMARKS,
)
