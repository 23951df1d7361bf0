"""Integrated Gradients: the gradient, added up on the way from a baseline.

Sundararajan, Taly, Yan (2017), arXiv 1703.01365.
"""

from typing import NamedTuple

import keras
import numpy as np

from ._core.backward import explain_variants
from ._core.fills import filler
from ._core.forward import forward, scores
from ._core.inputs import (
    check_batch_size,
    check_images,
    check_whole_number,
    input_dtype,
)
from ._core.runner import runner
from .targets import AnyTarget, as_target

#: Ways to place the steps on the path.
RULES = ("midpoint", "right", "gauss")


class IntegratedGradients(NamedTuple):
    """What `integrated_gradients` found."""

    attributions: np.ndarray  # (n, h, w, c): signed, in units of the target
    scores: np.ndarray  # (n,): the target F(x)
    baseline_scores: np.ndarray  # (n,): F(x′), the mean over the baselines
    gap: np.ndarray  # (n,): Σ attributions − (F(x) − F(x′)); 0 is complete


def integrated_gradients(
    model: keras.Model,
    images,
    target: AnyTarget,
    baseline,
    steps: int = 50,
    rule: str = "midpoint",
    batch_size: int = 16,
) -> IntegratedGradients:
    """(x − x′) times the mean gradient on the straight path from x′ to x.

    The sum of all attributions is F(x) − F(x′), as far as the steps are
    fine enough; the `gap` says how far.

    Args:
        model: any keras.Model on images, built.
        images: `(n, h, w, c)`, in the range that the model takes.
        target: F, see `targets`.
        baseline: x′, a picture that is meant to show nothing: a grey level, a
            colour `(c,)`, ``"mean"`` (each image's mean colour), ``"blur"``
            (each image, blurred by a Gaussian of a tenth of its shorter
            side), or pictures `(b, h, w, c)`: then the mean of b results.
        steps: gradients on each path, at least 1.
        rule: where on the path α they lie: ``"midpoint"`` of equal parts;
            ``"right"`` ends of equal parts, as in the paper's formula 3;
            ``"gauss"``, the places and weights of Gauss and Legendre.
        batch_size: gradients a pass; memory grows with it, not with `steps`.

    Returns:
        IntegratedGradients.

    Raises:
        TypeError, ValueError: an argument is not as described here, or the
        target or its gradient is not finite.
    """
    images, target = check_images(model, images), as_target(target)
    check_batch_size(batch_size)
    alphas, weights = _rule(rule, steps)
    dtype = input_dtype(model)
    images = images.astype(dtype)
    if np.ndim(baseline) == 3:
        raise ValueError(
            "baseline must be a batch if it is a picture, baseline[None], of "
            f"shape (b, h, w, c); got shape {np.shape(baseline)}"
        )
    if np.ndim(baseline) == 4:
        shared = check_images(model, baseline, "baseline").astype(dtype)
        _check_same_shape(shared, images)
        starts_of = [shared] * len(images)
    else:
        sigma = min(images.shape[1:3]) / 10
        starts_of = [
            filler(image, baseline, sigma, "baseline")[None].astype(dtype)
            for image in images
        ]
    count = len(starts_of[0])
    alphas = np.tile(alphas, count).astype(dtype)[:, None, None, None]
    weights = np.tile(weights / count, count)
    which = np.repeat(np.arange(count), steps)  # the baseline of each step

    def on_path(part):
        def of_image(number):
            start = starts_of[number][which[part]]
            return start + alphas[part] * (images[number] - start)

        return of_image

    attributions = np.zeros(images.shape)
    for number, part, slopes in explain_variants(
        model, images, target, count * steps, batch_size, on_path
    ):
        for k in np.unique(which[part]):
            weight = np.where(which[part] == k, weights[part], 0)
            mean = np.einsum(
                "k,k...->...", weight.astype(slopes.dtype), slopes
            )
            way = images[number] - starts_of[number][k]
            attributions[number] += way * mean
    ends, begins = _scores_at_the_ends(model, images, target, starts_of)
    gap = attributions.sum(axis=(1, 2, 3)) - (ends - begins)
    return IntegratedGradients(
        attributions.astype(slopes.dtype), ends, begins, gap
    )


def _rule(rule, steps):
    """Places α in 0–1 and their weights, which sum to 1."""
    if rule not in RULES:
        raise ValueError(
            f"rule must be one of {', '.join(RULES)}; got {rule!r}"
        )
    check_whole_number("steps", steps, 1)
    if rule == "gauss":
        places, weights = np.polynomial.legendre.leggauss(steps)
        return (places + 1) / 2, weights / 2
    back = 0.5 if rule == "midpoint" else 0
    places = (np.arange(1, steps + 1) - back) / steps
    return places, np.full(steps, 1 / steps)


def _check_same_shape(baselines, images):
    if baselines.shape[1:] != images.shape[1:]:
        raise ValueError(
            "baseline must have the images' shape, "
            f"(b, {', '.join(map(str, images.shape[1:]))}); got "
            f"{baselines.shape}"
        )


def _scores_at_the_ends(model, images, target, starts_of):
    """F(x) and the mean F(x′) of each image, `(n,)` both."""
    run = runner(model, forward, [target], images)
    ends, begins = np.empty((2, len(images)))
    for number, (image, starts) in enumerate(zip(images, starts_of)):
        own = slice(number, number + 1)
        ends[number] = scores(run, image[None], own)[0]
        each = [scores(run, start[None], own, "baselines") for start in starts]
        begins[number] = np.mean(each)
    return ends, begins
