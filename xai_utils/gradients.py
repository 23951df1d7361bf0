"""The gradient with respect to the pixels, and the saliency map.

Simonyan, Vedaldi, Zisserman (2014), §3.
"""

import keras
import numpy as np
import tensorflow as tf

from ._core.backward import explain, forward_and_back
from ._core.inputs import check_images
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


def ten_crops(
    model: keras.Model,
    images,
    target: AnyTarget,
    side: int,
    batch_size: int = 32,
) -> np.ndarray:
    """The mean saliency map of ten crops: how the paper drew its own (§3.1).

    The crops are the four corners and the middle, each also mirrored, and
    enlarged to the image's size by linear interpolation; their maps go back
    to where they were cut.

    Args:
        model, images, target, batch_size: as for `gradient`. A crop has its
            image's class or truth.
        side: of the crops, in pixels, from half of the image's longer side,
            so that they cover it, to its shorter side.

    Returns:
        `(n, h, w)`, not negative: the mean of the maps over each pixel.

    Raises:
        TypeError, ValueError: an argument is not as described here.
    """
    images, target = check_images(model, images), as_target(target)
    height, width = images.shape[1:3]
    least, most = -(-max(height, width) // 2), min(height, width)
    if least > most:
        raise ValueError(
            "images must be at most twice as long as wide, for ten square "
            f"crops to cover them; got {height} × {width}"
        )
    if not isinstance(side, (int, np.integer)) or not least <= side <= most:
        raise ValueError(
            f"side must be a whole number of pixels from {least} to {most}, "
            f"so that the crops cover the image; got {side!r}"
        )
    down, right = height - side, width - side
    corners = [(0, 0), (0, right), (down, 0), (down, right)]
    corners.append((down // 2, right // 2))
    total, count = np.zeros(images.shape[:3]), np.zeros((height, width))
    for top, left in corners:
        cut = np.s_[:, top : top + side, left : left + side]
        crops = images[cut]
        for step in (1, -1):  # as it is, and mirrored
            enlarged = tf.image.resize(crops[:, :, ::step], (height, width))
            found = saliency(model, enlarged.numpy(), target, batch_size)
            small = tf.image.resize(found[..., None], (side, side)).numpy()
            total[cut] += small[:, :, ::step, 0]
            count[cut[1:]] += 1
    return total / count
