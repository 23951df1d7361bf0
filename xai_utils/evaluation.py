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
        raise ValueError("maps must not be negative; use abs or "
                         f"np.maximum(maps, 0) first; got {maps.min()}")
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


def centre_map(images):
    """Baseline: a Gaussian in the middle of the picture, whatever it shows.

    Its sigma is a quarter of the shorter side. `(n, h, w, c)` -> `(n, h, w)`.
    """
    n, height, width = np.shape(images)[:3]
    rows = np.arange(height)[:, None] - (height - 1) / 2
    columns = np.arange(width) - (width - 1) / 2
    sigma = min(height, width) / 4
    bump = np.exp(-(rows ** 2 + columns ** 2) / (2 * sigma ** 2))
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
        raise ValueError("maps and masks must have the same shape (n, h, w); "
                         f"got {maps.shape} and {masks.shape}")
    if masks.dtype != bool:
        raise TypeError(f"masks must be bool; got {masks.dtype}")
    if not np.isfinite(maps).all():
        raise ValueError("maps must be finite; got NaN or infinity")
    return maps, masks
