"""SmoothGrad: the mean gradient of many noisy copies of a picture.

Smilkov, Thorat, Kim, Viégas, Wattenberg (2017), arXiv 1706.03825.
"""

from typing import NamedTuple

import keras
import numpy as np

from ._core.backward import explain_variants
from ._core.inputs import (
    check_batch_size,
    check_images,
    check_whole_number,
    input_dtype,
)
from .gradients import gradient
from .targets import AnyTarget, as_target


class SmoothGrad(NamedTuple):
    """What `smoothgrad` found, each `(n, h, w, c)`."""

    mean: np.ndarray  # of the gradient: signed; where signs vary, they cancel
    mean_square: np.ndarray  # of its square: not negative, nothing cancels


def smoothgrad(
    model: keras.Model,
    images,
    target: AnyTarget,
    sigma: float,
    samples: int = 50,
    seed: int = 0,
    batch_size: int = 16,
) -> SmoothGrad:
    """The mean of ∂ target / ∂ pixel at x + noise, over many samples.

    The noise is Gaussian and the same for each image, whatever the batch, so
    that an image has the same map alone and among others. Noisy pixels are
    not clipped: some leave the range of pixels.

    Args:
        model: any keras.Model on images, built.
        images: `(n, h, w, c)`, in the range that the model takes.
        target: what to differentiate, see `targets`.
        sigma: of the noise, in the pixels' unit, from 0. The paper takes 10
            to 20 % of the pixels' range: 25 to 50 of 255.
        samples: noisy copies of each image, at least 1.
        seed: of the noise, a whole number from 0.
        batch_size: copies a pass; memory grows with it, not with `samples`.

    Returns:
        SmoothGrad, in units of the target (squared) for each unit of the
        pixel (squared). `np.abs(mean).max(axis=-1)` is the map that the paper
        draws. With a sigma of 0 the gradient itself, and its square.

    Raises:
        TypeError, ValueError: an argument is not as described here, or the
        target or its gradient is not finite.
    """
    images, target = check_images(model, images), as_target(target)
    check_batch_size(batch_size)
    _check_sigma(sigma)
    check_whole_number("samples", samples, 1)
    check_whole_number("seed", seed, 0)
    if sigma == 0:
        plain = gradient(model, images, target, batch_size)
        return SmoothGrad(plain, np.square(plain))
    images = images.astype(input_dtype(model))
    shape = images.shape[1:]

    def noisy(part):
        noise = np.empty((part.stop - part.start, *shape), np.float32)
        for own, sample in zip(noise, range(part.start, part.stop)):
            rng = np.random.default_rng([seed, sample])
            rng.standard_normal(dtype=np.float32, out=own)
        noise *= np.float32(sigma)
        return lambda number: images[number] + noise  # `run` casts it

    total = np.zeros((2, *images.shape))
    for number, _, slopes in explain_variants(
        model, images, target, samples, batch_size, noisy
    ):
        total[0, number] += slopes.sum(axis=0, dtype=np.float64)
        total[1, number] += np.einsum("k...,k...->...", slopes, slopes)
    return SmoothGrad(*(total / samples).astype(slopes.dtype))


def _check_sigma(sigma):
    if (
        not isinstance(sigma, (int, float, np.number))
        or isinstance(sigma, bool)
        or not 0 <= sigma <= np.finfo(np.float32).max
    ):
        raise ValueError(
            "sigma must be 0 or more, in the pixels' unit, finite; got "
            f"{sigma!r}"
        )
