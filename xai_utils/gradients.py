"""The gradient with respect to the pixels, and the saliency map.

Simonyan, Vedaldi, Zisserman (2014), §3.
"""

import keras
import numpy as np
import tensorflow as tf

from ._core.backward import explain, forward_and_back
from .targets import AnyTarget, as_target


def gradient(
    model: keras.Model, images, target: AnyTarget, batch_size: int = 32
) -> np.ndarray:
    """∂ target / ∂ pixel: how fast the target grows with each pixel.

    Args:
        model: any keras.Model on images, built.
        images: `(n, h, w, c)`, in the range that the model takes.
        target: what to differentiate, see `targets`.
        batch_size: images a pass; memory grows with it, the result does not
            depend on it.

    Returns:
        `(n, h, w, c)`, float32 (float64 if the model takes that), signed, in
        units of the target for each unit of the pixel.

    Raises:
        TypeError, ValueError: an argument is not as described here, or the
        target or its gradient is not finite.
    """
    return explain(
        model, images, as_target(target), batch_size, forward_and_back
    )


def saliency(
    model: keras.Model, images, target: AnyTarget, batch_size: int = 32
) -> np.ndarray:
    """The saliency map M = max over channels |∂ target / ∂ pixel| (§3.1).

    Arguments and errors as for `gradient`.

    Returns:
        `(n, h, w)`, not negative: how fast the target changes, up or down,
        with the most sensitive channel of each pixel.
    """
    return explain(model, images, as_target(target), batch_size, _saliency)


# A step runs on each batch, in TensorFlow. `read(images)` gives a dict: layer
# -> output ("" is the model's). Each of `targets` makes scores (n,) of it.
# `_core/backward.py` has the way back to the pixels.
def _saliency(read, targets, images):
    scores, slopes = forward_and_back(read, targets, images)
    # The maximum is taken here, and not at the end, to keep less in memory.
    return scores, tf.reduce_max(tf.abs(slopes), axis=-1)
