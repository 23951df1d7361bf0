"""How good is a map? Measures against a known mask, and trivial maps."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt
from skimage.color import rgb2gray
from skimage.filters import sobel


def mass_on_mask(maps: ArrayLike, masks: ArrayLike) -> np.ndarray:
    """Share of each map's total that lies on the mask.

    Known as the energy-based pointing game (Wang et al. 2020, Score-CAM) and
    as relevance mass accuracy (Arras et al. 2022). A map that knows nothing
    scores about the mask's share of the area. A map that is zero everywhere
    scores 0.

    Args:
        maps: numbers `(n, h, w)`, finite and not negative; cut a signed map
            at zero first.
        masks: bool `(n, h, w)`.

    Returns:
        float `(n,)`, in 0–1.

    Raises:
        TypeError, ValueError: maps or masks are not as described here.
    """
    maps, masks = _check(maps, masks)
    maps = maps.astype(np.float64)
    if maps.min() < 0:
        raise ValueError(
            "maps must not be negative; use abs or "
            f"np.maximum(maps, 0) first; got {maps.min()}"
        )
    # A power of two changes no share, and keeps the sum from overflowing.
    _, exponents = np.frexp(maps.max(axis=(1, 2), keepdims=True))
    maps = np.ldexp(maps, -exponents)
    total = maps.sum(axis=(1, 2))
    on_mask = (maps * masks).sum(axis=(1, 2))
    return on_mask / np.where(total == 0, 1, total)


def pointing_game(
    maps: ArrayLike, masks: ArrayLike, tolerance: float = 0
) -> np.ndarray:
    """Does the maximum of each map lie on the mask (Zhang et al. 2016)?

    Where several pixels share the maximum, the share of them that hit counts:
    a constant map scores the mask's share of the area.

    Args:
        maps: numbers `(n, h, w)`, finite.
        masks: bool `(n, h, w)`.
        tolerance: still a hit at this distance from the mask, in pixels.

    Returns:
        float `(n,)`, in 0–1: 1 is a hit, 0 a miss, and 0 where the mask is
        empty.

    Raises:
        TypeError, ValueError: an argument is not as described here.
    """
    maps, masks = _check(maps, masks)
    if not isinstance(tolerance, (int, float, np.number)) or not (
        0 <= tolerance < np.inf
    ):
        raise ValueError(
            f"tolerance must be 0 or more pixels, finite; got {tolerance!r}"
        )
    return np.array(
        [
            (_distances(mask)[values == values.max()] <= tolerance).mean()
            for values, mask in zip(maps, masks)
        ]
    )


def _distances(mask):
    """How far each pixel is from the nearest one of the mask, in pixels."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return distance_transform_edt(~mask)


def mask_iou(masks: ArrayLike, truths: ArrayLike) -> np.ndarray:
    """Intersection over union of masks, pair by pair.

    Args:
        masks, truths: bool `(n, h, w)`.

    Returns:
        float `(n,)`, in 0–1. Two empty masks score 0: nothing was found.

    Raises:
        TypeError, ValueError: masks or truths are not as described here.
    """
    masks, truths = _check_masks(masks, truths)
    union = (masks | truths).sum(axis=(1, 2))
    return (masks & truths).sum(axis=(1, 2)) / np.where(union == 0, 1, union)


def recall_and_precision(
    masks: ArrayLike, truths: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """How much of each truth was found, and how much of what was found is it.

    Args:
        masks, truths: bool `(n, h, w)`.

    Returns:
        recall: float `(n,)`, the share of the truth that the mask covers; 0
            where the truth is empty.
        precision: float `(n,)`, the share of the mask that lies on the truth;
            0 where the mask is empty.

    Raises:
        TypeError, ValueError: masks or truths are not as described here.
    """
    masks, truths = _check_masks(masks, truths)
    common = (masks & truths).sum(axis=(1, 2))
    areas = [np.maximum(one.sum(axis=(1, 2)), 1) for one in (truths, masks)]
    return common / areas[0], common / areas[1]


def _check_masks(masks, truths):
    masks, truths = np.asarray(masks), np.asarray(truths)
    _check_shapes("masks and truths", masks, truths)
    if masks.dtype != bool or truths.dtype != bool:
        raise TypeError(
            "masks and truths must be bool; got "
            f"{masks.dtype} and {truths.dtype}"
        )
    return masks, truths


def box_iou(boxes: ArrayLike, truths: ArrayLike) -> np.ndarray:
    """Intersection over union of boxes, pair by pair.

    Args:
        boxes, truths: numbers `(n, 4)`, finite: top, left, bottom, right, as
            from `localisation.bounding_box`.

    Returns:
        float `(n,)`, in 0–1; 0 for an empty box.

    Raises:
        TypeError, ValueError: boxes or truths are not as described here.
    """
    boxes, truths = _numbers("boxes", boxes), _numbers("truths", truths)
    boxes, truths = boxes.astype(np.float64), truths.astype(np.float64)
    if (
        boxes.ndim != 2
        or boxes.shape[1] != 4
        or boxes.shape != truths.shape
        or not len(boxes)
    ):
        raise ValueError(
            "boxes and truths must have the same shape (n, 4), n ≥ 1; "
            f"got {boxes.shape} and {truths.shape}"
        )
    if ((boxes[:, :2] > boxes[:, 2:]) | (truths[:, :2] > truths[:, 2:])).any():
        raise ValueError(
            "boxes must be (top, left, bottom, right); got one "
            "that ends before it starts"
        )
    start = np.maximum(boxes[:, :2], truths[:, :2])
    end = np.minimum(boxes[:, 2:], truths[:, 2:])
    common = np.maximum(end - start, 0).prod(axis=1)
    union = _areas(boxes) + _areas(truths) - common
    return common / np.where(union == 0, 1, union)


def _areas(boxes):
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def interval(values: ArrayLike) -> tuple[float, float]:
    """Mean of independent values, and half the width of its 95 % interval.

    That is 1.96 standard errors, which holds for many values (thirty or so).

    Args:
        values: numbers `(n,)`, n ≥ 2, finite: one for each picture, say.

    Returns:
        mean, half: the interval is mean − half to mean + half.

    Raises:
        TypeError, ValueError: values are not as described here.
    """
    values = _numbers("values", values).astype(np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"values must have shape (n,), n ≥ 2; got {values.shape}"
        )
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(1.96 * error)


def table(
    candidates: Mapping[str, ArrayLike], masks: ArrayLike, tolerance: float = 0
) -> str:
    """Maps of several methods against the same masks, as a text to print.

    Args:
        candidates: the maps of each method, `(n, h, w)`, not negative, by the
            name that its line shows.
        masks: bool `(n, h, w)`, n ≥ 2.
        tolerance: of a second column for `pointing_game`, in pixels; 0 leaves
            the column out.

    Returns:
        Three or four columns, means over the pictures: *mass* is
        `mass_on_mask`, with its 95 % interval; *peak on it* is
        `pointing_game`, *within …* the same with the tolerance. The last line
        is the masks' share of the area.

    Raises:
        TypeError, ValueError: candidates, masks or tolerance are not as
            described here.
    """
    if not isinstance(candidates, Mapping):
        raise TypeError(
            "candidates must be a dict of maps by name; got "
            f"{type(candidates).__name__}"
        )
    if not candidates:
        raise ValueError("candidates must have maps; got an empty dict")
    if len(np.asarray(masks)) < 2:
        raise ValueError(
            "masks must be two or more, for an interval; got "
            f"{len(np.asarray(masks))}"
        )
    rows = []
    for name, maps in candidates.items():
        try:
            mean, half = interval(mass_on_mask(maps, masks))
            hits = [pointing_game(maps, masks).mean()]
            if tolerance:
                hits.append(pointing_game(maps, masks, tolerance).mean())
        except (TypeError, ValueError) as error:
            raise type(error)(f"candidates[{name!r}]: {error}") from error
        cells = [f"{mean:.0%} ± {half:<3.0%}", *(f"{hit:.0%}" for hit in hits)]
        rows.append((str(name), cells))
    head = ["mass on mask", "peak on it", f"within {tolerance:g}"]
    lines = [("", head[: len(rows[0][1])]), *rows]
    area = f"{np.mean(masks):.0%}" + " " * len(" ± 00%")
    lines.append(("area of the mask", [area]))
    width = max(len(name) for name, _ in lines)
    return "\n".join(
        "  ".join(
            [name.ljust(width)]
            + [cell.rjust(len(title)) for cell, title in zip(cells, head)]
        ).rstrip()
        for name, cells in lines
    )


def centre_map(images: ArrayLike) -> np.ndarray:
    """Baseline: a Gaussian in the middle of the picture, whatever it shows.

    Args:
        images: `(n, h, w, c)`; only the shape counts.

    Returns:
        float64 `(n, h, w)`, at most 1. Sigma is a quarter of the shorter side.

    Raises:
        ValueError: another shape, or no pixels.
    """
    n, height, width, _ = _check_images(images).shape
    rows = np.arange(height)[:, None] - (height - 1) / 2
    columns = np.arange(width) - (width - 1) / 2
    sigma = min(height, width) / 4
    bump = np.exp(-(rows**2 + columns**2) / (2 * sigma**2))
    return np.repeat(bump[None], n, axis=0)


def edge_map(images: ArrayLike) -> np.ndarray:
    """Baseline: a Sobel edge filter on the grey picture; knows no network.

    Args:
        images: RGB `(n, h, w, 3)`, finite. scikit-image divides integers by
            the largest that their dtype holds (uint8 by 255) and leaves
            floats as they are: the edges of a float picture in 0–255 are 255
            times as high as those of the same picture in uint8 or in 0–1.

    Returns:
        float64 `(n, h, w)`, not negative.

    Raises:
        TypeError, ValueError: images are not as described here.
    """
    images = _check_images(_numbers("images", images), channels=3)
    if images.dtype.kind not in "bui":  # scikit-image knows no bfloat16
        images = images.astype(np.float64)
    return np.stack([sobel(rgb2gray(image)) for image in images])


def random_map(images: ArrayLike, seed: int = 0) -> np.ndarray:
    """Baseline: uniform noise.

    Args:
        images: `(n, h, w, c)`; only the shape counts.
        seed: of the noise.

    Returns:
        float64 `(n, h, w)`, in 0–1.

    Raises:
        ValueError: another shape, or no pixels.
    """
    shape = _check_images(images).shape[:3]
    return np.random.default_rng(seed).random(shape)


def _check(maps, masks):
    maps, masks = _numbers("maps", maps), np.asarray(masks)
    _check_shapes("maps and masks", maps, masks)
    if masks.dtype != bool:
        raise TypeError(f"masks must be bool; got {masks.dtype}")
    return maps, masks


def _check_shapes(names, first, second):
    """Both must be `(n, h, w)`, with at least one pixel."""
    if first.ndim != 3 or first.shape != second.shape or not first.size:
        raise ValueError(
            f"{names} must have the same shape (n, h, w), each side at least "
            f"1; got {first.shape} and {second.shape}"
        )


def _check_images(images, channels=None):
    """The array, if it is `(n, h, w, c)` with at least one pixel."""
    images = np.asarray(images)
    wanted = f"(n, h, w, {channels or 'c'})"
    if images.ndim == 3:
        raise ValueError(
            f"images must have shape {wanted}; got {images.shape}: add a "
            "batch axis, image[None]"
        )
    if images.ndim != 4 or not images.size:
        raise ValueError(
            f"images must have shape {wanted}, each side at least 1; got "
            f"{images.shape}"
        )
    if channels and images.shape[3] != channels:
        raise ValueError(f"images must be RGB, {wanted}; got {images.shape}")
    return images


def _numbers(name, values):
    """The array, if it holds finite real numbers."""
    values = np.asarray(values)
    # Casts to a float would take text, and drop imaginary parts.
    if not np.can_cast(values.dtype, np.float64, "same_kind"):
        raise TypeError(
            f"{name} must hold real numbers; got dtype {values.dtype}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite; got NaN or infinity")
    return values
