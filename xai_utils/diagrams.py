"""Mechanisms, drawn on toys that one can follow with a finger."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np

from . import plots

PIXELS = np.array([3, 1, 2, 1])
WEIGHTS = np.array([[1, -1, 2, 0], [-1, 0, 1, -2]])  # of two hidden units
LAST = np.array([0.5, 2])  # weights of the score

#: What four pixels pay as background and as object, −log p in rounded
#: numbers, and what a border between two neighbours costs.
LABELS = np.array([[6, 1], [3, 4], [1, 7], [1, 6]])
BORDERS = np.array([5, 1, 5])
NAMES = "rim", "inside", "gravel", "gravel"

FORWARD, BACKWARD, CUT, PALE = "black", "firebrick", "firebrick", "0.75"


def forward_and_backward() -> dict[str, np.ndarray]:
    """All numbers of the toy network: four pixels, two ReLUs, one score.

    Returns:
        "sums" (2,) before the ReLU, "hidden" (2,) after it, "score"; and the
        gradient of the score: "at hidden", "at sums", "at pixels" (4,).
    """
    sums = WEIGHTS @ PIXELS
    at_sums = LAST * (sums > 0)
    return {
        "sums": sums,
        "hidden": np.maximum(sums, 0),
        "score": LAST @ np.maximum(sums, 0),
        "at hidden": LAST,
        "at sums": at_sums,
        "at pixels": at_sums @ WEIGHTS,
    }


def passes() -> plt.Figure:
    """The forward pass of a toy network and, below it, the backward pass."""
    values = forward_and_backward()
    figure, axes = plots.row(1, width=8.6, height=2.7, rows=2, bars="none")
    forward = [PIXELS, values["sums"], values["hidden"], [values["score"]]]
    backward = [
        values["at pixels"],
        values["at sums"],
        values["at hidden"],
        [1],
    ]
    _layers(axes[0], forward, "->", FORWARD)
    _layers(axes[1], backward, "<-", BACKWARD)
    axes[0].set_title("forward: from the pixels to the score", fontsize=12)
    axes[1].set_title(
        "backward: from the score to its slope at each pixel", fontsize=12
    )
    return figure


def _layers(axes, columns, arrow, colour):
    """The toy network with one number in each knot."""
    heights = [np.arange(len(c))[::-1] - (len(c) - 1) / 2 for c in columns]
    heights[1], heights[2] = heights[1] * 2, heights[2] * 2
    places = [0, 2.4, 4.2, 6.6]
    closed = forward_and_backward()["sums"] <= 0
    for i, unit in np.ndindex(4, 2):
        if WEIGHTS[unit, i]:
            _arrow(
                axes,
                (places[0], heights[0][i]),
                (places[1], heights[1][unit]),
                arrow,
                PALE if closed[unit] else colour,
                _signed(f"{WEIGHTS[unit, i]:+d}"),
                along=0.4 if unit == 0 else 0.22,
            )
    for unit in range(2):
        ends = [(places[k], heights[k][unit]) for k in (1, 2)]
        shade = PALE if closed[unit] else colour
        word = "ReLU, closed" if closed[unit] else "ReLU, open"
        _arrow(axes, *ends, arrow, shade, word, above=0.24)
        ends = [ends[1], (places[3], heights[3][0])]
        _arrow(axes, *ends, arrow, shade, f"×{LAST[unit]:g}")
    for place, column, height in zip(places, columns, heights):
        for value, y in zip(column, height):
            _knot(axes, place, y, _signed(f"{value:g}"), colour, place == 0)
    for place, name in zip(places, ("pixels", "sums", "hidden", "score")):
        axes.text(place, -2.35, name, ha="center", fontsize=11)
    axes.set(xlim=(-1, 7.6), ylim=(-2.6, 2.1))
    axes.set_axis_off()


def _signed(number):
    return number.replace("-", "−")


def _arrow(axes, start, end, style, colour, text, above=0.0, along=0.4):
    axes.annotate(
        "",
        end,
        start,
        arrowprops={
            "arrowstyle": style,
            "color": colour,
            "shrinkA": 15,
            "shrinkB": 15,
        },
    )
    x, y = (1 - along) * np.array(start) + along * np.array(end)
    axes.text(
        x,
        y + above,
        text,
        ha="center",
        va="center",
        fontsize=9,
        color="0.35",
        bbox=None if above else {"color": "white", "pad": 1},
    )


def _knot(axes, x, y, text, colour, square):
    shape = "square,pad=0.45" if square else "circle,pad=0.4"
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=11,
        color=colour,
        bbox={"boxstyle": shape, "fc": "white", "ec": colour},
    )


def price(labels: tuple[int, ...]) -> int:
    """What a labelling of the four pixels costs.

    Args:
        labels: 1 for object, 0 for background, one for each pixel.

    Returns:
        The prices of the labels, and of each border between two pixels whose
        labels differ.
    """
    labels = np.array(labels, int)
    own = LABELS[range(4), labels].sum()
    return int(own + BORDERS[labels[1:] != labels[:-1]].sum())


def two_cuts() -> plt.Figure:
    """Four pixels as knots of a net: the cut by colour, and the cheapest."""
    by_colour = tuple(int(label) for label in LABELS.argmin(axis=1))
    cheapest = min(product((0, 1), repeat=4), key=price)
    figure, axes = plots.row(2, width=4.6, height=4.2, bars="none")
    for panel, name, labels in (
        (axes[0], "each pixel by its colour", by_colour),
        (axes[1], "the cheapest cut", cheapest),
    ):
        _net(panel, labels)
        own = [LABELS[i, label] for i, label in enumerate(labels)]
        border = price(labels) - sum(own)
        total = " + ".join(map(str, own))
        panel.set_title(
            f"{name}: {total} + {border} = {price(labels)}", fontsize=11
        )
    return figure


def _net(axes, labels):
    """The net of `two_cuts`; the strings that are cut are red and dashed."""
    poles = {1: (1.5, 2), 0: (1.5, -2)}
    for i, label in enumerate(labels):
        for pole in (1, 0):
            # The string to a pole costs what the other label would cost.
            _string(
                axes, (i, 0), poles[pole], LABELS[i, 1 - pole], label != pole
            )
    for i, cost in enumerate(BORDERS):
        _string(axes, (i, 0), (i + 1, 0), cost, labels[i] != labels[i + 1])
    colours = {"rim": "gold", "inside": "khaki", "gravel": "0.9"}
    for i, name in enumerate(NAMES):
        _disc(axes, (i, 0), name, colours[name])
    _disc(axes, poles[1], "object", "white")
    _disc(axes, poles[0], "background", "white")
    axes.set(xlim=(-0.6, 3.6), ylim=(-2.4, 2.4))
    axes.set_axis_off()


def _string(axes, start, end, cost, is_cut):
    style = {"color": CUT, "ls": "--"} if is_cut else {"color": "0.4"}
    axes.plot(*zip(start, end), lw=0.6 + 0.5 * cost, zorder=1, **style)
    x, y = np.mean([start, end], axis=0)
    axes.text(
        x,
        y,
        str(cost),
        ha="center",
        va="center",
        fontsize=10,
        color=CUT if is_cut else "black",
        bbox={"color": "white", "pad": 1},
    )


def _disc(axes, place, text, colour):
    axes.text(
        *place,
        text,
        ha="center",
        va="center",
        fontsize=10,
        bbox={"boxstyle": "round,pad=0.4", "fc": colour, "ec": "black"},
    )
