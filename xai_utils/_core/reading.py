"""Which pixels a layer reads, where windows of a map have changed.

What it reads is put together pixel by pixel, by their numbers: those of the
clean map come first, then those of all changed windows, one after the other.
"""

from typing import NamedTuple

import numpy as np

from .changes import NONE, Place


class Reading(NamedTuple):
    """Which pixels of a map are read: those that windows of a place need."""

    shape: tuple  # of the map
    source: int | None  # the place of the changed windows; None: clean only
    target: int | None  # the place that reads; None: the whole map
    place: Place | None = None  # of the target, if that reads around it

    @property
    def padding(self):
        """Pixels around the map that can be read, too."""
        return self.place.padding if self.place else NONE


def numbers(reading: Reading, starts: np.ndarray, sizes: np.ndarray):
    """The pixels that a reading needs.

    Args:
        reading: one of `Functions.readings`.
        starts: first row and column of each window in each place, int array
            `(places, n, 2)`.
        sizes: their heights and widths, `(places, 2)`.

    Returns:
        int32 array `(n, h, w)`: 0, 1, … count the pixels of the clean map
        (with its border) row by row, and then those of the windows.
    """
    n = starts.shape[1]
    clean, changed, inside = [], [], []
    for axis in (0, 1):
        before, after = reading.padding[axis]
        if reading.target is None:
            at = np.arange(reading.shape[axis])[None].repeat(n, axis=0)
        else:
            first, size = (
                starts[reading.target, :, axis],
                sizes[reading.target, axis],
            )
            if reading.place:
                stride = reading.place.stride[axis]
                first = first * stride - before
                size = (size - 1) * stride + reading.place.kernel[axis]
            at = first[:, None] + np.arange(size)
        clean.append(at + before)
        if reading.source is not None:
            at = at - starts[reading.source, :, axis, None]
            changed.append(at)
            inside.append((at >= 0) & (at < sizes[reading.source, axis]))
    height, width = (
        side + sum(margins)
        for side, margins in zip(reading.shape, reading.padding)
    )
    found = (clean[0] * width)[:, :, None] + clean[1][:, None, :]
    if reading.source is not None:
        h, w = sizes[reading.source]
        rows = changed[0] + np.arange(n)[:, None] * h
        theirs = (rows * w)[:, :, None] + changed[1][:, None, :]
        both = inside[0][:, :, None] & inside[1][:, None, :]
        found = np.where(both, theirs + height * width, found)
    return found.astype(np.int32)
