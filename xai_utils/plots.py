"""The figures of the notebooks, in one style.

A map keeps its own numbers, and the colour bar says which. Sizes are in units
of 100 CSS pixels; figures are stored at twice that, for sharp screens. Margins
are fixed, so that another font or Matplotlib does not move the panels.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from numpy.typing import ArrayLike
from PIL import Image

UNSIGNED = matplotlib.colormaps["inferno"].resampled(64)  # dark: nothing
SIGNED = matplotlib.colormaps["RdBu_r"].resampled(65)  # white: nothing

#: Room around a panel: for its title, for a colour bar, for axis labels.
TITLE, BAR, LABELS, GAP = 0.32, 0.68, 0.62, 0.1


def row(
    n: int,
    width: float = 2.6,
    height: float = 2.6,
    rows: int = 1,
    bars: str = "each",
    labelled: bool = False,
) -> tuple[plt.Figure, np.ndarray]:
    """A figure with `rows` × `n` panels.

    Args:
        n: panels in a row, at most four for pictures.
        width, height: of one panel, without what stands around it.
        rows: how many.
        bars: ``"each"`` leaves room for a colour bar beside each panel,
            ``"last"`` beside the last one only, ``"none"`` nowhere.
        labelled: leave room for labels of the axes.

    Returns:
        The figure, and its axes in one flat array.

    Raises:
        ValueError: `bars` is none of these.
    """
    if bars not in ("each", "last", "none"):
        raise ValueError(
            f"bars must be 'each', 'last' or 'none'; got {bars!r}"
        )
    left = below = LABELS if labelled else GAP
    right = BAR if bars == "each" else GAP
    last = GAP if bars == "none" else BAR
    total = n * (left + width) + (n - 1) * right + last
    tall = rows * (TITLE + height + below)
    figure = plt.figure(figsize=(total, tall), dpi=100)
    axes = []
    for line in range(rows):
        bottom = tall - (line + 1) * (TITLE + height + below) + below
        for column in range(n):
            start = left + column * (left + width + right)
            box = start / total, bottom / tall, width / total, height / tall
            axes.append(figure.add_axes(box))
    return figure, np.array(axes)


def picture(axes: plt.Axes, image: ArrayLike, title: str = "") -> None:
    """Show a picture in its own colours.

    Args:
        axes: where to draw.
        image: RGB `(h, w, 3)` of integers or floats in 0–255. Screens show
            whole levels: the fraction of a float is cut off. A float picture
            that is all zero is black; one with nothing above 2 is taken for a
            picture in 0–1, and refused.
        title: what the panel shows.

    Raises:
        TypeError, ValueError: the image is not as described here.
    """
    axes.imshow(_levels(image))
    axes.set_title(title, fontsize=11)
    axes.set_axis_off()


def _levels(image):
    """The picture in uint8, if none of its pixels is out of range."""
    image = np.asarray(image)
    if image.dtype.kind not in "uif":
        raise TypeError(
            "image must hold integers or floats in 0–255; got dtype "
            f"{image.dtype}"
            + (": 255 * image.astype(int)" if image.dtype == bool else "")
        )
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"image must have shape (h, w, 3), RGB; got {image.shape}"
            + _how_to_get_three_channels(image)
        )
    if not np.isfinite(image).all():
        raise ValueError("image must be finite; got NaN or infinity")
    low, high = image.min(), image.max()
    if low < 0 or high > 255:
        raise ValueError(
            f"image must have pixels in 0–255; got {low} to {high}: "
            + (
                "(127.5 * (image + 1)).astype(np.uint8)"
                if low >= -1 and high <= 1
                else "np.clip(image, 0, 255) where that is meant"
            )
        )
    if image.dtype.kind == "f" and 0 < high <= 2:
        raise ValueError(
            f"image must have pixels in 0–255; got floats up to {high}. A "
            "picture in 0–1: (255 * image).astype(np.uint8). One in 0–255 "
            "that is so dark: image.astype(np.uint8)"
        )
    return image.astype(np.uint8)


def _how_to_get_three_channels(image):
    """The end of an error message, for what is a picture otherwise."""
    if image.ndim == 4:
        return ": one picture, images[0]"
    if image.ndim == 2:
        return ": np.stack([image] * 3, axis=-1)"
    if image.ndim == 3 and image.shape[2] == 1:
        return ": np.repeat(image, 3, axis=-1)"
    if image.ndim == 3 and image.shape[2] == 4:
        return ": without transparency, image[..., :3]"
    return ""


def heat(
    axes: plt.Axes,
    values: ArrayLike,
    title: str = "",
    *,
    signed: bool = False,
    limit: float | None = None,
    over: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    bar: bool = True,
    label: str = "",
) -> None:
    """Show a map with its colour bar.

    Args:
        axes: where to draw.
        values: `(h, w)` or a grid `(rows, columns)`.
        title: what the panel shows.
        signed: a diverging scale, centred at zero.
        limit: the value at the end of the scale; None takes the largest
            absolute value. Give one limit to maps that are compared, or a
            quantile where one spike would darken the rest: an arrow at the
            end of the bar then says that some values lie beyond.
        over: an image `(h, w, 3)` to lay the map on, half transparent.
        mask: bool `(h, w)`, its outline is drawn.
        bar: whether to draw the colour bar.
        label: the unit of the values, beside the bar.

    Raises:
        ValueError: values are not finite, or negative and not `signed`.
    """
    values = np.asarray(values, float)
    if not np.isfinite(values).all():
        raise ValueError("values must be finite; got NaN or infinity")
    if values.min() < 0 and not signed:
        raise ValueError(
            "values must not be negative, or signed must be True; got "
            f"{values.min():g}"
        )
    largest = np.abs(values).max()
    # A map of zeros still has a scale, and so has one with a quantile of zero.
    limit = float(limit or largest or 1)
    beyond = largest > limit
    alpha, extent = 1, None
    if over is not None:
        grey = np.asarray(over).mean(axis=-1)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
        alpha = 0.6
        extent = (-0.5, grey.shape[1] - 0.5, grey.shape[0] - 0.5, -0.5)
    shown = axes.imshow(
        values,
        alpha=alpha,
        extent=extent,
        vmax=limit,
        vmin=-limit if signed else 0,
        cmap=SIGNED if signed else UNSIGNED,
        interpolation="nearest",
    )
    if mask is not None:
        outline(axes, mask, "black" if signed else "cyan")
    axes.set_title(title, fontsize=11)
    axes.set_axis_off()
    if bar:
        beside = axes.inset_axes((1.02, 0, 0.045, 1))
        ends = ("both" if signed else "max") if beyond else "neither"
        scale = axes.figure.colorbar(shown, cax=beside, extend=ends)
        scale.set_label(label, fontsize=9)
        scale.locator = MaxNLocator(4)
        scale.formatter = ScalarFormatter(useMathText=True)
        scale.formatter.set_powerlimits((-2, 3))  # ×10⁻³ above the bar
        scale.update_ticks()
        beside.tick_params(labelsize=9)
        beside.yaxis.offsetText.set(size=9, ha="left")
        scale.solids.set_alpha(1)


def side_by_side(
    image: ArrayLike,
    maps: Mapping[str, ArrayLike],
    title: str = "",
    *,
    mask: ArrayLike | None = None,
    quantile: float = 0.99,
) -> plt.Figure:
    """A picture and finished maps of it, each with its own scale and bar.

    Args:
        image: as for `picture`.
        maps: by the title of its panel, numbers `(h, w)`. One with negative
            values gets a diverging scale.
        title: of the picture's panel.
        mask: bool `(h, w)`, its outline is drawn on all maps.
        quantile: of the absolute values, in 0–1: where the scale ends; an
            arrow at the bar says that some lie beyond. 1 is the largest.

    Returns:
        The figure, at most four panels in a row, for `show`.

    Raises:
        TypeError, ValueError: an argument is not as described here.
    """
    if not isinstance(maps, Mapping) or not maps:
        raise TypeError(
            "maps must be a dict of maps by title, with at least one; got "
            f"{maps!r}"
        )
    size = _levels(image).shape[:2]
    for name, values in maps.items():
        if np.shape(values) != size:
            raise ValueError(
                f"maps[{name!r}] must have the image's shape (h, w), {size}; "
                f"got {np.shape(values)}"
            )
    if not isinstance(quantile, (int, float)) or not 0 < quantile <= 1:
        raise ValueError(f"quantile must be in 0–1, not 0; got {quantile!r}")
    columns = min(4, 1 + len(maps))
    lines = -(-(1 + len(maps)) // columns)
    height = 2.6 * size[0] / size[1]
    figure, panels = row(columns, height=height, rows=lines)
    picture(panels[0], image, title)
    for panel, (name, values) in zip(panels[1:], maps.items()):
        values = np.asarray(values, float)
        limit = np.quantile(np.abs(values), quantile)
        heat(
            panel,
            values,
            name,
            signed=bool((values < 0).any()),
            limit=limit,
            mask=mask,
        )
    for panel in panels[1 + len(maps) :]:
        panel.remove()
    return figure


def around_grey(values: ArrayLike) -> np.ndarray:
    """Signed values in RGB as a picture: grey is zero, brighter is positive.

    The contrast is stretched for each picture alone, until the 99 % quantile
    of the absolute values that are not zero reaches black or white; what lies
    beyond is cut off. So two such pictures can't be compared in strength.

    Args:
        values: such as a deconvnet projection, `(h, w, 3)`.

    Returns:
        float `(h, w, 3)` in 0–255, for `picture`.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    values = np.asarray(values, float)
    if values.ndim != 3 or values.shape[2] != 3 or not values.size:
        raise ValueError(
            f"values must have shape (h, w, 3); got {values.shape}"
            + _how_to_get_three_channels(values)
        )
    if not np.isfinite(values).all():
        raise ValueError("values must be finite; got NaN or infinity")
    sizes = np.abs(values[values != 0])
    limit = np.quantile(sizes, 0.99) if sizes.size else 1
    return np.clip(127.5 * (1 + values / limit), 0, 255)


def classes(
    axes: plt.Axes, indices: ArrayLike, names: Sequence[str], title: str = ""
) -> None:
    """Show a grid of class indices, one colour for each class that occurs.

    Args:
        axes: where to draw.
        indices: whole numbers `(rows, columns)`, such as the most probable
            class at every position of an occluder; at most eight different.
        names: of all classes, in the order of their indices. Long ones need
            more room beside the panel than a colour bar.
        title: what the panel shows.

    Raises:
        ValueError: another shape, more than eight classes, or an index that
            has no name.
    """
    indices = np.asarray(indices)
    found, order = np.unique(indices, return_inverse=True)
    if indices.ndim != 2 or not 1 <= len(found) <= 8:
        raise ValueError(
            "indices must be a grid (rows, columns) of 1 to 8 different "
            f"classes; got {len(found)} in an array of shape {indices.shape}"
        )
    if not np.isin(found, range(len(names))).all():
        raise ValueError(
            f"indices must be whole numbers from 0 to {len(names) - 1}, one "
            f"for each name; got {found.tolist()}"
        )
    shown = axes.imshow(
        order.reshape(indices.shape), cmap="Set2", vmin=-0.5, vmax=7.5
    )
    beside = axes.inset_axes((1.02, 0, 0.045, 1))
    ends = np.arange(len(found) + 1) - 0.5
    bar = axes.figure.colorbar(shown, cax=beside, boundaries=ends)
    bar.set_ticks(
        range(len(found)),
        labels=[names[int(index)] for index in found],
        parse_math=False,  # a $ in a name is a $
    )
    beside.tick_params(labelsize=9)
    axes.set_title(title, fontsize=11)
    axes.set_axis_off()


def outline(axes: plt.Axes, mask: ArrayLike, colour: str = "cyan") -> None:
    """Draw the outline of a mask, bool `(h, w)`, on a panel.

    Raises:
        TypeError, ValueError: the mask is not as described here.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"mask must be bool; got {mask.dtype}")
    if mask.ndim != 2:
        raise ValueError(f"mask must have shape (h, w); got {mask.shape}")
    # With a margin of False, so that the outline is closed at the edges, too;
    # the margin is half a pixel wide, so that the panel does not grow.
    rows, columns = (
        np.clip(np.arange(-1, side + 1), -0.5, side - 0.5)
        for side in mask.shape
    )
    axes.contour(
        columns,
        rows,
        np.pad(mask, 1),
        levels=[0.5],
        colors=colour,
        linewidths=1,
    )


def box(
    axes: plt.Axes, box: tuple[int, int, int, int], colour: str = "red"
) -> None:
    """Draw a box, (top, left, bottom, right) in pixels, on a panel.

    Bottom and right are excluded, as by `localisation.bounding_box`.
    """
    top, left, bottom, right = box
    axes.add_patch(
        plt.Rectangle(
            (left - 0.5, top - 0.5),
            right - left,
            bottom - top,
            fill=False,
            color=colour,
            linewidth=2,
        )
    )


def show(figure: plt.Figure, alt: str) -> None:
    """Display a finished figure, with a text for readers who can't see it.

    A figure with photographs is stored as JPEG, one with few colours as PNG
    with a palette: GitHub renders no large notebooks.

    Args:
        figure: of Matplotlib; it is closed.
        alt: the text. The titles of the panels are added for them.
    """
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    spoken = f"{alt} Panels: {'; '.join(titles)}." if titles else alt
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=200)
    plt.close(figure)
    drawn = Image.open(buffer).convert("RGB")
    stored = BytesIO()
    if drawn.getcolors(maxcolors=4096):
        kind = "image/png"
        palette = Image.Quantize.MAXCOVERAGE  # the bar's few pixels, too
        few = drawn.quantize(256, palette, kmeans=1, dither=Image.Dither.NONE)
        colours = few.getpalette()
        margin = 3 * few.getpixel((0, 0))
        colours[margin : margin + 3] = 255, 255, 255  # the page is white
        few.putpalette(colours)
        few.save(stored, format="png", optimize=True)
    else:
        kind = "image/jpeg"
        drawn.save(stored, format="jpeg", quality=85, optimize=True)
    width, height = drawn.size
    display(
        {kind: stored.getvalue(), "text/plain": f"<{alt}>"},
        metadata={
            kind: {"alt": spoken, "width": width // 2, "height": height // 2}
        },
        raw=True,
    )
