"""The figures of the notebooks, in one style.

A map keeps its own numbers, and the colour bar says which. Only the colours
are few: GitHub renders no large notebooks, and grain in all colours is the
worst case for PNG.
"""

from io import BytesIO

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from PIL import Image

UNSIGNED = matplotlib.colormaps["inferno"].resampled(32)  # dark: nothing
SIGNED = matplotlib.colormaps["RdBu_r"].resampled(33)  # white: nothing


def row(n, width=2.6, height=2.4, rows=1):
    """A figure with `rows` × `n` panels; returns figure and flat axes."""
    figure, axes = plt.subplots(
        rows,
        n,
        squeeze=False,
        layout="constrained",
        figsize=(n * width, rows * height),
        dpi=80,
    )
    return figure, axes.ravel()


def picture(axes, image, title=""):
    """Show an image with pixels in 0–255, in its 128 main colours."""
    shown = (
        Image.fromarray(np.asarray(image).astype(np.uint8))
        .quantize(128, kmeans=2, dither=Image.Dither.NONE)
        .convert("RGB")
    )
    axes.imshow(shown, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def heat(axes, values, title="", *, signed=False, limit=None, over=None):
    """Show a map with its colour bar.

    Args:
        axes: where to draw.
        values: `(h, w)` or a grid `(rows, columns)`.
        title: what the panel shows.
        signed: a diverging scale, centred at zero.
        limit: the value at the end of the scale; None takes the largest
            absolute value. Give one limit to maps that are compared.
        over: an image `(h, w, 3)` to lay the map on, half transparent.
    """
    if limit is None:
        limit = np.abs(values).max()
    limit = limit or 1  # a map of zeros still has a scale
    alpha, extent = 1, None
    if over is not None:
        grey = np.asarray(over).mean(axis=-1)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
        alpha, extent = (
            0.6,
            (-0.5, grey.shape[1] - 0.5, grey.shape[0] - 0.5, -0.5),
        )
    shown = axes.imshow(
        values,
        alpha=alpha,
        extent=extent,
        vmax=limit,
        vmin=-limit if signed else 0,
        cmap=SIGNED if signed else UNSIGNED,
        interpolation="nearest",
    )
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    bar = axes.figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02)
    bar.ax.tick_params(labelsize=8)


def show(figure, alt, colours=None):
    """Display a finished figure, with a text for readers who can't see it.

    Args:
        figure: of Matplotlib; it is closed.
        alt: the text.
        colours: how many the stored picture keeps; None for all. For fine
            grain, which PNG can't compress.
    """
    png = BytesIO()
    figure.savefig(png, format="png", pil_kwargs={"optimize": True})
    plt.close(figure)
    if colours is not None:
        few = (
            Image.open(png)
            .convert("RGB")
            .quantize(colours, kmeans=2, dither=Image.Dither.NONE)
        )
        png = BytesIO()
        few.save(png, format="png", optimize=True)
    display(
        {"image/png": png.getvalue(), "text/plain": f"<{alt}>"},
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )
