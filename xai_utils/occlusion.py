"""Occlusion sensitivity: cover a patch, watch what the network says.

Zeiler & Fergus (2014), §4.2 and Fig. 7.
"""

from typing import NamedTuple

import keras
import numpy as np

from ._core.backward import check_finite
from ._core.fills import filler
from ._core.forward import forward
from ._core.inputs import check_batch_size, check_image, input_dtype
from ._core.progress import bar, batches
from ._core.runner import runner
from .reuse import plan as plan_reuse
from .reuse import scores as reused_scores
from .targets import AnyTarget, as_target


class OcclusionMap(NamedTuple):
    """What `occlusion` found."""

    positions: np.ndarray  # (rows, columns, 2): top, left of each occluder
    baseline: float  # the target on the clean image
    scores: np.ndarray  # (rows, columns): the target under each occluder
    heatmap: np.ndarray  # (h, w): mean drop of the patches over a pixel
    also: dict  # name -> (rows, columns), what `also` asked for
    method: str  # how: "full passes", or "reuse" and what of


def occlusion(
    model: keras.Model,
    image,
    target: AnyTarget,
    *,
    patch: int,
    stride: int,
    fill="mean",
    also: dict[str, AnyTarget] | None = None,
    batch_size: int = 16,
    reuse: bool | None = None,
) -> OcclusionMap:
    """Slide a square occluder over an image and record the target.

    The occluder moves by `stride`; the last row and column of positions are
    moved back so that the occluder ends at the edge of the image. So every
    pixel is covered at least once, by whole occluders only.

    Args:
        model: any keras.Model on images, built.
        image: `(h, w, c)`, in the range that the model takes.
        target: what to watch, see `targets`.
        patch: side of the occluder in pixels. For a schedule of several sizes
            average the heat maps of several calls.
        stride: step in pixels, at most `patch`.
        fill: what the occluder shows: a grey level, a colour `(c,)`,
            ``"mean"`` (the image's mean colour) or ``"blur"`` (the image,
            blurred by a Gaussian of sigma = patch / 2).
        also: dict name -> target: more to record in the same pass.
        batch_size: occluded images a pass, or with reuse as many as take the
            memory of these; memory grows with it only.
        reuse: recompute only what an occluder changes, see `xai_utils.reuse`:
            the same scores up to the last bits, for less. None: where it pays
            for this one image; True: always, which is best for many images;
            False: never, each goes through the whole model.

    Returns:
        OcclusionMap. Its heat map is `baseline − score`, averaged over the
        occluders that cover a pixel: positive where covering lowers the
        target. For a loss, covering what matters makes it negative.

    Raises:
        TypeError, ValueError: an argument is not as described here, or a
        target is not finite.
    """
    image = check_image(model, image).astype(input_dtype(model))
    check_batch_size(batch_size)
    _check_sizes(patch, stride, image.shape)
    also = _check_also(also)
    targets = [as_target(t) for t in (target, *also.values())]
    covered = filler(image, fill, sigma=patch / 2)
    positions = _positions(image.shape, patch, stride)
    corners = positions.reshape(-1, 2)
    run = runner(model, forward, targets, image[None])
    clean = np.stack(run(image[None]))
    check_finite("a target on the clean image", clean.T)
    plan, method = _choose(run, positions, patch, batch_size, reuse)
    values = np.empty((len(targets), len(corners)))
    if plan is None:
        for batch in batches(len(corners), batch_size):
            values[:, batch] = run(
                _cover(image, corners[batch], patch, covered)
            )
    else:
        with bar(len(corners)) as progress:
            for some, results in reused_scores(
                plan, run, image, positions, covered
            ):
                values[:, some] = results
                progress.update(len(some))
    check_finite("a target on the occluded image", values.T, "positions")
    scores, *others = values.reshape(-1, *positions.shape[:2])
    baseline = float(clean[0, 0])
    heatmap = _average(baseline - scores, positions, patch, image.shape)
    also = dict(zip(also, others))
    return OcclusionMap(positions, baseline, scores, heatmap, also, method)


def _choose(run, positions, patch, batch_size, reuse):
    """A plan for reuse, or None, and the method's name."""
    if reuse is not None and not isinstance(reuse, (bool, np.bool_)):
        raise ValueError(f"reuse must be True, False or None; got {reuse!r}")
    if reuse is None or reuse:
        plan = plan_reuse(run, positions, patch, batch_size)
        if reuse and not plan.cut:
            raise ValueError(
                "reuse=True needs a model in which an occluder changes little "
                f"at first, but {plan.changes.stop} may change everywhere"
            )
        if reuse or plan.pays:
            return plan, plan.method
    return None, "full passes"


def _cover(image, corners, patch, covered):
    """A copy of the image for each corner, with the occluder there."""
    pictures = np.repeat(image[None], len(corners), axis=0)
    for picture, (top, left) in zip(pictures, corners):
        under = slice(top, top + patch), slice(left, left + patch)
        picture[under] = covered[under]
    return pictures


def _positions(shape, size, stride):
    """Top left corners `(rows, columns, 2)` that cover the whole image."""
    tops, lefts = (
        np.append(np.arange(0, length - size, stride), length - size)
        for length in shape[:2]
    )
    return np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1)


def _average(drops, positions, patch, shape):
    """The mean drop of the patches that cover each pixel: `(h, w)`."""
    total, count = np.zeros((2, *shape[:2]))
    for (top, left), drop in zip(positions.reshape(-1, 2), drops.flat):
        under = slice(top, top + patch), slice(left, left + patch)
        total[under] += drop
        count[under] += 1
    return total / count


def _check_sizes(patch, stride, shape):
    for name, value in (("patch", patch), ("stride", stride)):
        if not isinstance(value, (int, np.integer)):
            raise TypeError(
                f"{name} must be a whole number of pixels; got {value!r}"
            )
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    if patch > min(shape[:2]):
        raise ValueError(
            f"patch must not be larger than the image, {shape[0]} × "
            f"{shape[1]}; got {patch}"
        )
    if stride > patch:
        raise ValueError(
            f"stride must be at most patch, or pixels stay uncovered; got "
            f"stride {stride}, patch {patch}"
        )


def _check_also(also):
    """A dict, empty for None."""
    if also is None:
        return {}
    if not isinstance(also, dict) or not all(
        isinstance(name, str) for name in also
    ):
        raise TypeError(
            "also must be a dict name -> target, such as {'label': "
            f"predicted_class}}; got {also!r}"
        )
    return also
