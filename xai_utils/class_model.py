"""The class model: the picture that a network scores highest.

Simonyan, Vedaldi, Zisserman (2014), §2.
"""

from typing import NamedTuple

import keras
import numpy as np
from scipy.ndimage import gaussian_filter

from ._core.backward import check_finite, forward_and_back
from ._core.inputs import (
    check_batch_size,
    check_images,
    check_model,
    check_whole_number,
    input_dtype,
)
from ._core.progress import bar
from ._core.runner import runner
from .targets import AnyTarget, as_target


class ClassModel(NamedTuple):
    """What `class_model` found, for each of n classes."""

    images: np.ndarray  # (n, h, w, c): mean + I, nothing clipped
    # (steps + 1, n): the target at the start, …, at the end; with jitter,
    # all but the last are of the shifted picture
    scores: np.ndarray
    norms: np.ndarray  # (steps + 1, n): the Euclidean norm of I


def class_model(
    model: keras.Model,
    target: AnyTarget,
    *,
    mean,
    l2: float,
    steps: int = 200,
    rate: float = 0.2,
    jitter: int = 0,
    blur: float = 0,
    batch_size: int = 16,
) -> ClassModel:
    """Find the I that maximises  target(mean + I) − l2 · ‖I‖²,  from I = 0.

    Elsewhere: activation maximisation, feature visualisation.

    Gradient ascent. Each step moves I a part of the way to w / (2 · l2), w
    being the gradient of the target: there the gradient of the whole,
    w − 2 · l2 · I, would be zero. The part is `rate` in the first step and
    falls linearly towards zero. There are many local maxima. To find the same
    one on each processor, let the model compute in float64 and start from a
    picture that is not flat: in a flat one all units of a max-pool tie, and
    rounding decides.

    Args:
        model: any keras.Model on images, built.
        target: what to maximise, see `targets`. `class_score([3, 5])` gives
            the class models of two classes.
        mean: the mean of the training pictures: a grey level, a colour `(c,)`
            or a picture `(h, w, c)`, in the range that the model takes.
        l2: λ of the paper, in units of the target for each squared unit of
            the pixel. The smaller it is, the larger I becomes.
        steps: how many, at least 1.
        rate: above 0, at most 1; 1 would go all the way in the first step.
        jitter: before each step the picture is shifted at random by up to so
            many pixels (what leaves on one side enters on the other), and
            shifted back after it. The shifts are the same in each call. Not
            in the paper.
        blur: after each step I is blurred by a Gaussian of this sigma, in
            pixels; it falls as the rate does. Not in the paper.
        batch_size: classes a pass; memory grows with it.

    Returns:
        ClassModel.

    Raises:
        TypeError, ValueError: an argument is not as described here.
    """
    target = as_target(target)
    check_batch_size(batch_size)
    _check_numbers(l2, steps, rate, jitter, blur)
    mean = _mean_picture(model, mean)
    n = max([len(np.atleast_1d(a)) for a in target.arguments], default=1)
    shifts = np.random.default_rng(0).integers(-jitter, jitter + 1, (steps, 2))
    I, w = np.zeros((2, n, *mean.shape), mean.dtype)
    scores, norms = np.empty((2, steps + 1, n))
    run = runner(model, forward_and_back, [target], I)
    with bar(n * steps) as progress:
        for t, shift in enumerate([*shifts, (0, 0)]):
            shifted = np.roll(mean + I, shift, axis=(1, 2))
            for start in range(0, n, batch_size):
                part = slice(start, start + batch_size)
                scores[t, part], w[part] = run(shifted[part], part)
            check_finite("the target", scores[t])
            norms[t] = np.sqrt(np.square(I).sum(axis=(1, 2, 3)))
            if t < steps:
                w = np.roll(w, np.negative(shift), axis=(1, 2))
                remaining = 1 - t / steps
                with np.errstate(over="ignore"):
                    I = I + rate * remaining * (w / (2 * l2) - I)
                    size = np.square(I).sum()
                if not np.isfinite(size):
                    raise ValueError(
                        "l2 must be larger: the picture grew "
                        f"beyond all numbers; got {l2!r}"
                    )
                sigma = blur * remaining
                I = gaussian_filter(I, (0, sigma, sigma, 0))
                progress.update(n)
    return ClassModel(mean + I, scores, norms)


def _mean_picture(model, mean):
    """`mean` as a picture `(h, w, c)` that the model takes."""
    shape = check_model(model)
    if np.ndim(mean) not in (0, 1, 3):
        raise ValueError(
            "mean must be a grey level, a colour (c,) or a "
            f"picture (h, w, c); got shape {np.shape(mean)}"
        )
    if np.ndim(mean) == 3:
        return _checked(model, np.asarray(mean)[None])
    if None in shape:
        raise ValueError(
            "mean must be a picture (h, w, c), because this "
            f"model tells no size; got {mean!r}"
        )
    if np.size(mean) not in (1, shape[2]):
        raise ValueError(
            f"mean must have {shape[2]} channels, as the model "
            f"takes; got {mean!r}"
        )
    return _checked(model, np.broadcast_to(mean, (1, *shape)))


def _checked(model, mean):
    """The one picture of a batch, at least in float32."""
    dtype = np.promote_types(input_dtype(model), np.float32)
    return check_images(model, mean, "mean")[0].astype(dtype)


def _check_numbers(l2, steps, rate, jitter, blur):
    for name, value, above_0, high, want in (
        ("l2", l2, True, np.inf, "above 0"),
        ("rate", rate, True, 1, "above 0, at most 1"),
        ("blur", blur, False, np.inf, "a sigma in pixels, from 0"),
    ):
        if (
            not isinstance(value, (int, float, np.number))
            or isinstance(value, bool)
            or not (0 <= value <= high and np.isfinite(value))
            or (above_0 and value == 0)
        ):
            raise ValueError(f"{name} must be {want}; got {value!r}")
    check_whole_number("steps", steps, 1)
    check_whole_number("jitter", jitter, 0)
