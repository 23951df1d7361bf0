"""Occlusion sensitivity: cover a patch, watch what the network says.

Zeiler & Fergus (2014), §4.2 and Fig. 7.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from skimage.filters import gaussian

from ._core.inputs import check_batch_size, check_image
from ._core.progress import bar
from ._core.runner import apply, reader, signature, specs, spread, structure
from .targets import as_target


class OcclusionMap(NamedTuple):
    """What `occlusion` found. With several patch sizes `positions`, `scores`
    and the grids in `also` are lists, one entry for each size."""

    positions: np.ndarray  # (rows, columns, 2): top, left of each occluder
    baseline: float  # the target on the clean image
    scores: np.ndarray  # (rows, columns): the target under each occluder
    heatmap: np.ndarray  # (h, w): mean drop of the patches over a pixel
    also: dict  # name -> (rows, columns), what `also` asked for


def occlusion(
    model,
    image,
    target,
    *,
    patch,
    stride,
    fill="mean",
    also=None,
    batch_size=16,
):
    """Slide a square occluder over an image and record the target.

    The occluder moves by `stride`; the last row and column of positions are
    moved back so that the occluder ends at the edge of the image. So every
    pixel is covered at least once, by whole occluders only.

    Args:
        model: any keras.Model on images, built.
        image: `(h, w, c)`, in the range that the model takes.
        target: what to watch, see `targets`.
        patch: side of the occluder in pixels, or a list of sides, whose heat
            maps are averaged.
        stride: step in pixels, at most `patch`, or one for each patch.
        fill: what the occluder shows: a grey level, a colour `(c,)`,
            ``"mean"`` (the image's mean colour) or ``"blur"`` (the image,
            blurred by a Gaussian of sigma = patch / 2).
        also: dict name -> target: more to record in the same pass.
        batch_size: occluded images a pass; memory grows with it only.

    Returns:
        OcclusionMap. Its heat map is `baseline − score`, averaged over the
        occluders that cover a pixel: positive where covering lowers the
        target. For a loss, covering what matters makes it negative.

    Raises:
        TypeError, ValueError: an argument is not as described here.
    """
    image = check_image(model, image)
    check_batch_size(batch_size)
    sizes, strides = _check_sizes(patch, stride, image.shape)
    also = also or {}
    aims = [as_target(aim) for aim in (target, *also.values())]
    grids = [_positions(image.shape, *step) for step in zip(sizes, strides)]
    fillers = [_filler(image, fill, size) for size in sizes]
    # The first position lies outside the image: it covers nothing and gives
    # the baseline in the same pass.
    outside = np.array([image.shape[:2]])
    jobs = [(outside, sizes[0], fillers[0])] + [
        (grid.reshape(-1, 2), size, filler)
        for grid, size, filler in zip(grids, sizes, fillers)
    ]
    values = _watch(model, image, aims, jobs, batch_size)
    baseline = float(values[0][0, 0])
    tables = [
        value.reshape(len(aims), *grid.shape[:2])
        for value, grid in zip(values[1:], grids)
    ]
    scores = [table[0] for table in tables]
    heat = np.mean(
        [
            _average(baseline - score, grid, size, image.shape)
            for score, grid, size in zip(scores, grids, sizes)
        ],
        axis=0,
    )
    more = {
        name: [table[i] for table in tables]
        for i, name in enumerate(also, start=1)
    }
    if np.ndim(patch) == 0:
        return OcclusionMap(
            grids[0],
            baseline,
            scores[0],
            heat,
            {name: value[0] for name, value in more.items()},
        )
    return OcclusionMap(grids, baseline, scores, heat, more)


def _watch(model, image, aims, jobs, batch_size):
    """The targets under each occluder: for each job `(targets, n)`."""
    arguments = [spread(aim.arguments, 1) for aim in aims]
    step = _compile(
        model,
        structure(model),
        tuple((aim.function, aim.layer) for aim in aims),
        image.shape,
        image.dtype.name,
        tuple(map(signature, arguments)),
    )
    image = tf.constant(image)
    values = [np.empty((len(aims), len(corners))) for corners, *_ in jobs]
    total = sum(len(corners) for corners, *_ in jobs)
    with bar(total) as progress:
        for value, (corners, size, filler) in zip(values, jobs):
            filler = tf.constant(filler)
            for start in range(0, len(corners), batch_size):
                batch = corners[start : start + batch_size]
                n = len(batch)
                inputs = [spread(some, n) for some in arguments]
                results, outputs = step(
                    image,
                    filler,
                    tf.constant(batch, tf.int32),
                    tf.constant(size, tf.int32),
                    inputs,
                )
                for aim, out, some in zip(aims, outputs, inputs):
                    if aim.check:
                        aim.check(out, *some)
                value[:, start : start + n] = results
                progress.update(n)
    return values


@lru_cache(maxsize=16)
def _compile(model, _structure, functions, shape, dtype, arrays):
    read = reader(model, [layer for _, layer in functions])

    @tf.function(
        autograph=False,
        input_signature=(
            tf.TensorSpec(shape, dtype),
            tf.TensorSpec(shape, dtype),
            tf.TensorSpec((None, 2), tf.int32),
            tf.TensorSpec((), tf.int32),
            list(map(specs, arrays)),
        ),
    )
    def step(image, filler, corners, size, arguments):
        inside_row = _inside(shape[0], corners[:, 0], size)
        inside_column = _inside(shape[1], corners[:, 1], size)
        covered = inside_row[:, :, None] & inside_column[:, None, :]
        occluded = tf.where(covered[..., None], filler, image)
        outputs = read(occluded)
        return tf.stack(
            [
                tf.cast(apply(function, out, some), tf.float64)
                for (function, _), out, some in zip(
                    functions, outputs, arguments
                )
            ]
        ), outputs

    # Traced here, see gradients.py.
    return step.get_concrete_function()


def _inside(length, starts, size):
    """`(n, length)`: which pixels of a row lie under the n occluders."""
    pixel = tf.range(length)[None]
    return (pixel >= starts[:, None]) & (pixel < starts[:, None] + size)


def _positions(shape, size, stride):
    """Top left corners `(rows, columns, 2)` that cover the whole image."""
    tops, lefts = (
        np.append(np.arange(0, length - size, stride), length - size)
        for length in shape[:2]
    )
    return np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1)


def _average(drops, positions, size, shape):
    """Spread each drop over its patch and divide by how often a pixel was
    covered: `(h, w)`.

    A patch is a product of rows and columns, so both sums are two matrix
    products with 0/1 matrices: position i covers pixel y.
    """
    tops, lefts = positions[:, 0, 0], positions[0, :, 1]
    rows, columns = (
        (np.arange(length) >= starts[:, None])
        & (np.arange(length) < starts[:, None] + size)
        for starts, length in ((tops, shape[0]), (lefts, shape[1]))
    )
    coverage = np.outer(rows.sum(axis=0), columns.sum(axis=0))
    return (rows.T.astype(float) @ drops @ columns) / coverage


def _filler(image, fill, size):
    """The image that shows through the occluder, `(h, w, c)`."""
    if isinstance(fill, str):
        if fill == "mean":
            fill = image.mean(axis=(0, 1))
        elif fill == "blur":
            return gaussian(
                image, sigma=size / 2, channel_axis=-1, preserve_range=True
            ).astype(image.dtype)
        else:
            raise ValueError(
                "fill must be a grey level, a colour, 'mean' or "
                f"'blur'; got {fill!r}"
            )
    colour = np.asarray(fill)
    if colour.shape not in ((), image.shape[2:]) or (
        colour.dtype.kind not in "uif" or not np.isfinite(colour).all()
    ):
        raise ValueError(
            "fill must be one finite number or one for each of "
            f"the {image.shape[2]} channels; got {fill!r}"
        )
    return np.broadcast_to(colour.astype(image.dtype), image.shape)


def _check_sizes(patch, stride, shape):
    """Lists of patch sizes and strides, of equal length, checked."""
    sizes = np.atleast_1d(patch)
    strides = np.atleast_1d(stride)
    if strides.size == 1:
        strides = np.repeat(strides, sizes.size)
    for name, value in (("patch", sizes), ("stride", strides)):
        if value.dtype.kind not in "ui" or value.ndim != 1 or not value.size:
            raise TypeError(
                f"{name} must be a whole number of pixels or a "
                f"list of such; got {value!r}"
            )
        if value.min() < 1:
            raise ValueError(f"{name} must be at least 1; got {value.min()}")
    if sizes.max() > min(shape[:2]):
        raise ValueError(
            f"patch must not be larger than the image, "
            f"{shape[0]} × {shape[1]}; got {sizes.max()}"
        )
    if strides.size != sizes.size:
        raise ValueError(
            f"stride must be one number or one for each of the "
            f"{sizes.size} patch sizes; got {strides.size}"
        )
    for size, step in zip(sizes, strides):
        if step > size:
            raise ValueError(
                f"stride must be at most patch, or pixels stay "
                f"uncovered; got stride {step}, patch {size}"
            )
    return sizes.tolist(), strides.tolist()
