"""How good is a map? Measures against a known mask, and trivial maps."""

import numpy as np
from skimage.color import rgb2gray
from skimage.filters import sobel


def mass_on_mask(maps, masks):
    """Share of each map's total that lies on the mask.

    A map that knows nothing scores about the mask's share of the area. A map
    that is zero everywhere scores 0.

    Args:
        maps: `(n, h, w)`, not negative; cut a signed map at zero first.
        masks: bool `(n, h, w)`.

    Returns:
        `(n,)`, in 0–1.
    """
    maps, masks = _check(maps, masks)
    if maps.min() < 0:
        raise ValueError(
            "maps must not be negative; use abs or "
            f"np.maximum(maps, 0) first; got {maps.min()}"
        )
    total = maps.sum(axis=(1, 2))
    on_mask = (maps * masks).sum(axis=(1, 2))
    return on_mask / np.where(total == 0, 1, total)


def pointing_game(maps, masks, tolerance=0):
    """Does the maximum of each map lie on the mask (Zhang et al. 2016)?

    Args:
        maps: `(n, h, w)`.
        masks: bool `(n, h, w)`.
        tolerance: still a hit at this distance from the mask, in pixels.

    Returns:
        bool `(n,)`.
    """
    maps, masks = _check(maps, masks)
    hits = []
    for values, mask in zip(maps, masks):
        row, column = np.unravel_index(values.argmax(), values.shape)
        rows, columns = np.nonzero(mask)
        distances = np.hypot(rows - row, columns - column)
        hits.append(distances.min(initial=np.inf) <= tolerance)
    return np.array(hits)


def mask_iou(masks, truths):
    """Intersection over union of masks, pair by pair.

    Args:
        masks, truths: bool `(n, h, w)`.

    Returns:
        `(n,)`, in 0–1. Two empty masks score 0: nothing was found.
    """
    masks, truths = np.asarray(masks), np.asarray(truths)
    if masks.ndim != 3 or masks.shape != truths.shape or not len(masks):
        raise ValueError(
            "masks and truths must have the same shape "
            f"(n, h, w); got {masks.shape} and {truths.shape}"
        )
    if masks.dtype != bool or truths.dtype != bool:
        raise TypeError(
            "masks and truths must be bool; got "
            f"{masks.dtype} and {truths.dtype}"
        )
    union = (masks | truths).sum(axis=(1, 2))
    return (masks & truths).sum(axis=(1, 2)) / np.where(union == 0, 1, union)


def box_iou(boxes, truths):
    """Intersection over union of boxes, pair by pair.

    Args:
        boxes, truths: `(n, 4)`: top, left, bottom, right, as from
            `localisation.bounding_box`.

    Returns:
        `(n,)`, in 0–1; 0 for an empty box.
    """
    boxes, truths = np.asarray(boxes, float), np.asarray(truths, float)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.shape != truths.shape:
        raise ValueError(
            "boxes and truths must have the same shape (n, 4); "
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
    areas = [
        (some[:, 2:] - some[:, :2]).prod(axis=1) for some in (boxes, truths)
    ]
    union = sum(areas) - common
    return common / np.where(union == 0, 1, union)


def centre_map(images):
    """Baseline: a Gaussian in the middle of the picture, whatever it shows.

    Its sigma is a quarter of the shorter side. `(n, h, w, c)` -> `(n, h, w)`.
    """
    n, height, width = np.shape(images)[:3]
    rows = np.arange(height)[:, None] - (height - 1) / 2
    columns = np.arange(width) - (width - 1) / 2
    sigma = min(height, width) / 4
    bump = np.exp(-(rows**2 + columns**2) / (2 * sigma**2))
    return np.repeat(bump[None], n, axis=0)


def edge_map(images):
    """Baseline: a Sobel edge filter on the grey picture; knows no network.

    `(n, h, w, 3)` RGB -> `(n, h, w)`, not negative.
    """
    return np.stack([sobel(rgb2gray(image)) for image in images])


def random_map(images, seed=0):
    """Baseline: uniform noise. `(n, h, w, c)` -> `(n, h, w)` in 0–1."""
    return np.random.default_rng(seed).random(np.shape(images)[:3])


def _check(maps, masks):
    maps, masks = np.asarray(maps, np.float64), np.asarray(masks)
    if maps.ndim != 3 or maps.shape != masks.shape or not len(maps):
        raise ValueError(
            "maps and masks must have the same shape (n, h, w); "
            f"got {maps.shape} and {masks.shape}"
        )
    if masks.dtype != bool:
        raise TypeError(f"masks must be bool; got {masks.dtype}")
    if not np.isfinite(maps).all():
        raise ValueError("maps must be finite; got NaN or infinity")
    return maps, masks
