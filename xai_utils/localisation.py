"""From a saliency map to a box, without box labels: seeds, GraphCut, box.

Simonyan, Vedaldi, Zisserman (2014), §3.2. GraphCut is OpenCV's `grabCut`.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

#: Colour models have five Gaussians a side, so each side needs five pixels.
COMPONENTS = 5

#: A pixel that is no seed. The seeds have OpenCV's own numbers, 0 to 3.
UNKNOWN = 4


class Localisation(NamedTuple):
    """What `localise` found."""

    seeds: np.ndarray  # (h, w), see `seeds`
    mask: np.ndarray  # bool (h, w): the largest connected part
    # (top, left, bottom, right), see `bounding_box`
    box: tuple[int, int, int, int]


def localise(image: ArrayLike, saliency_map: ArrayLike) -> Localisation:
    """The object that a saliency map points at: its mask and its box.

    Args:
        image: uint8 `(h, w, 3)`, RGB.
        saliency_map: `(h, w)`, finite; larger where it matters more.

    Returns:
        Localisation. If GraphCut finds no foreground, its mask is empty.

    Raises:
        TypeError, ValueError: an argument is not as described here; the map
        is constant, or the image has too few pixels for seeds.
    """
    image, values = _check_image(image), _check_map(saliency_map)
    if values.shape != image.shape[:2]:
        raise ValueError(
            "image and saliency_map must have the same height "
            f"and width; got {image.shape} and {values.shape}"
        )
    marks = seeds(values)
    mask = largest_component(graph_cut(image, marks))
    return Localisation(marks, mask, bounding_box(mask))


def seeds(
    saliency_map: ArrayLike, foreground: float = 0.95, background: float = 0.30
) -> np.ndarray:
    """Which pixels belong to the object or the background, surely or probably.

    The paper gives the two quantiles. That only the most and the least
    salient half per cent are *sure*, so that GraphCut can't overrule them, is
    from the authors' later code.

    Args:
        saliency_map: `(h, w)`, finite; larger where it matters more.
        foreground: the map's quantile from which on pixels are probably
            object.
        background: up to this one they are probably background.

    Returns:
        uint8 `(h, w)`: `cv2.GC_FGD` and `cv2.GC_BGD` (sure), `cv2.GC_PR_FGD`
        and `cv2.GC_PR_BGD` (probable), `UNKNOWN`.

    Raises:
        TypeError, ValueError: the map or the quantiles are not as described,
        or fewer than five pixels stand out from the background.
    """
    values = _check_map(saliency_map)
    if not 0 < background < foreground < 1:
        raise ValueError(
            "foreground and background must be quantiles, 0 < "
            f"background < foreground < 1; got {foreground} and "
            f"{background}"
        )
    least, low, high, most = np.quantile(
        values, [0.005, background, foreground, 0.995]
    )
    marks = np.full(values.shape, UNKNOWN, np.uint8)
    # A map may be zero in most places, so that quantiles coincide: what is
    # not above the lower one is background.
    marks[values >= high] = cv2.GC_PR_FGD
    marks[values >= most] = cv2.GC_FGD
    marks[values <= low] = cv2.GC_PR_BGD
    marks[values <= least] = cv2.GC_BGD
    _check_seeds(marks)
    return marks


def graph_cut(image: ArrayLike, seeds: ArrayLike) -> np.ndarray:
    """Cut the picture in object and background where colours change most.

    The colours of the seeds give one mixture of Gaussians for the object and
    one for the background. GraphCut then finds the cut with the least energy:
    improbable colours cost, and so do borders between alike neighbours.

    Args:
        image: uint8 `(h, w, 3)`, RGB.
        seeds: whole numbers `(h, w)`, as from the function `seeds`.

    Returns:
        bool `(h, w)`, True on the object. It may be empty or everything.

    Raises:
        TypeError, ValueError: an argument is not as described here.
    """
    image, seeds = _check_image(image), np.asarray(seeds)
    if (
        seeds.shape != image.shape[:2]
        or not np.isin(seeds, range(UNKNOWN + 1)).all()
    ):
        raise ValueError(
            "seeds must have the image's shape, "
            f"{image.shape[:2]}, and whole numbers from 0 to "
            f"{UNKNOWN}; got shape {seeds.shape}, values "
            f"{np.unique(seeds)[:9]}"
        )
    seeds = seeds.astype(np.uint8)  # the only dtype that OpenCV takes
    _check_seeds(seeds)
    # OpenCV starts its colour models at random, from one generator for all.
    cv2.setRNGSeed(0)
    # A Gaussian has a weight, a mean of 3 and a covariance of 9 numbers.
    background, foreground = np.zeros((2, 1, 13 * COMPONENTS))
    known = seeds != UNKNOWN
    # Zero iterations on a "picture" of the seeds alone: only fit the colours.
    cv2.grabCut(
        image[known][None],
        seeds[known][None],
        None,
        background,
        foreground,
        0,
        cv2.GC_INIT_WITH_MASK,
    )
    labels = np.where(known, seeds, cv2.GC_PR_BGD).astype(np.uint8)
    cv2.grabCut(
        image,
        labels,
        None,
        background,
        foreground,
        1,
        cv2.GC_EVAL_FREEZE_MODEL,
    )
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def largest_component(mask: ArrayLike) -> np.ndarray:
    """The connected part of a mask with the most pixels.

    Args:
        mask: bool `(h, w)`.

    Returns:
        bool `(h, w)`; pixels that touch at a corner are connected. No pixel
        is True if none of the mask is; of equal parts the first.

    Raises:
        TypeError, ValueError: the mask is not as described here, or it has
        no pixels.
    """
    mask = _check_mask(mask)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    areas = stats[1:, cv2.CC_STAT_AREA]  # without the background, part 0
    return mask & (parts == 1 + areas.argmax()) if len(areas) else mask.copy()


def bounding_box(mask: ArrayLike) -> tuple[int, int, int, int]:
    """The smallest box around a mask.

    Args:
        mask: bool `(h, w)`.

    Returns:
        `(top, left, bottom, right)` in pixels: the box covers
        `mask[top:bottom, left:right]`. A mask without any True has the empty
        box `(0, 0, 0, 0)`.

    Raises:
        TypeError, ValueError: as `largest_component`.
    """
    mask = _check_mask(mask)
    if not mask.any():
        return 0, 0, 0, 0
    rows, columns = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
    return tuple(
        int(edge)
        for edge in (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
    )


def _check_map(values):
    values = np.asarray(values)
    if values.dtype.kind not in "uif":
        raise TypeError(
            "saliency_map must hold integers or floats; got dtype "
            f"{values.dtype}"
        )
    if values.ndim == 2 and not values.size:
        raise ValueError(
            f"saliency_map must have at least one pixel; got {values.shape}"
        )
    if values.ndim != 2:
        raise ValueError(
            "saliency_map must have shape (h, w); got "
            f"{values.shape}: one map, saliency(…)[0]"
        )
    if not np.isfinite(values).all():
        raise ValueError("saliency_map must be finite; got NaN or infinity")
    if values.min() == values.max():
        raise ValueError(
            "saliency_map must not be constant; all its values "
            f"are {values.flat[0]:g}"
        )
    return values


def _check_seeds(marks):
    counts = {
        side: int(np.isin(marks, labels).sum())
        for side, labels in (
            ("object", (cv2.GC_FGD, cv2.GC_PR_FGD)),
            ("background", (cv2.GC_BGD, cv2.GC_PR_BGD)),
        )
    }
    for side, count in counts.items():
        if count < COMPONENTS:
            raise ValueError(
                f"GraphCut needs at least {COMPONENTS} seeds of the {side}; "
                f"this map of {marks.shape[0]} × {marks.shape[1]} pixels "
                f"gives {count}. It is too small, or hardly varies"
            )


def _check_image(image):
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise TypeError(
            "image must be uint8 in 0–255; got dtype "
            f"{image.dtype}: np.rint(image).astype(np.uint8), "
            "once its values are in that range"
        )
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"image must have shape (h, w, 3), RGB; got {image.shape}"
        )
    return image


def _check_mask(mask):
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 2:
        raise TypeError(
            f"mask must be bool (h, w); got {mask.dtype} of shape {mask.shape}"
        )
    if not mask.size:  # OpenCV would end the process
        raise ValueError(
            f"mask must have at least one pixel; got shape {mask.shape}"
        )
    return mask
