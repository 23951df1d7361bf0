"""The toys that the diagrams show: their numbers by other routes."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf

from xai_utils import diagrams

pytestmark = pytest.mark.quick


def texts(figure):
    """All that stands in a figure, panel by panel."""
    figure.canvas.draw()
    return [
        [axes.get_title(), *(text.get_text() for text in axes.texts)]
        for axes in figure.axes
    ]


def test_the_toy_network_against_the_tape():
    values = diagrams.forward_and_backward()
    pixels = tf.constant(diagrams.PIXELS, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        sums = tf.linalg.matvec(diagrams.WEIGHTS.astype(float), pixels)
        score = tf.tensordot(diagrams.LAST, tf.nn.relu(sums), 1)
    gradient = tape.gradient(score, pixels)
    assert values["score"] == score
    np.testing.assert_array_equal(values["at pixels"], gradient)
    assert (values["sums"] > 0).tolist() == [True, False]  # one is closed
    assert values["at hidden"][1] and not values["at sums"][1]


def test_the_passes_show_these_numbers():
    figure = diagrams.passes()
    forward, backward = texts(figure)
    for shown, numbers in (
        (forward, ["3", "1", "2", "6", "−3", "0"]),
        (backward, ["0.5", "−0.5", "1", "0"]),
    ):
        assert set(numbers) <= set(shown)
        assert {"ReLU, open", "ReLU, closed"} <= set(shown)
    assert backward.index("0.5") < backward.index("−0.5")
    plt.close(figure)


def test_prices_of_labellings_by_hand():
    assert diagrams.price((1, 0, 0, 0)) == 1 + 3 + 1 + 1 + 5
    assert diagrams.price((1, 1, 0, 0)) == 1 + 4 + 1 + 1 + 1
    assert diagrams.price((0, 0, 0, 0)) == 6 + 3 + 1 + 1
    assert diagrams.price((True, False, True, True)) == 1 + 3 + 7 + 6 + 5 + 1


def test_the_cheapest_cut_is_not_the_one_by_colour():
    prices = {cut: diagrams.price(cut) for cut in product((0, 1), repeat=4)}
    assert sorted(prices.values())[:2] == [8, 11]  # and it is alone
    assert prices[1, 1, 0, 0] == 8
    figure = diagrams.two_cuts()
    titles = [panel[0] for panel in texts(figure)]
    assert titles[0].endswith("1 + 3 + 1 + 1 + 5 = 11")
    assert titles[1].endswith("1 + 4 + 1 + 1 + 1 = 8")
    plt.close(figure)


def test_what_is_cut_separates_the_poles_and_costs_the_price():
    figure = diagrams.two_cuts()
    for axes, total in zip(figure.axes, (11, 8)):
        strings = list(zip(axes.lines, axes.texts))  # a price each
        cut = [text for line, text in strings if line.get_linestyle() == "--"]
        assert sum(int(text.get_text()) for text in cut) == total
    plt.close(figure)
