"""The self-check: lenient in form, strict in value, never a traceback."""

import numpy as np
import pytest
import tensorflow as tf

from xai_utils.exercises import check
from xai_utils.occlusion import OcclusionMap

pytestmark = pytest.mark.quick
TRUTH = np.array([0.011, 0.96, 1])


def printed(capsys, *arguments, **options):
    check(*arguments, **options)
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    return line.strip()


@pytest.mark.parametrize(
    "form",
    [
        TRUTH,
        TRUTH.astype(np.float32),
        TRUTH.tolist(),
        tuple(TRUTH),
        tf.constant(TRUTH, tf.float32),
        lambda: TRUTH,
        TRUTH + 0.0009,
    ],
)
def test_any_form_of_the_right_values_is_right(capsys, form):
    assert printed(capsys, form, TRUTH, "no") == "Right."


@pytest.mark.parametrize(
    "wrong, line",
    [
        (None, "Still to do."),
        (TRUTH + 0.0011, "Not yet: look again"),
        (TRUTH[:2], "numbers of shape (3,) are wanted; got (2,)."),
        (0.5, "numbers of shape (3,) are wanted; got a single number."),
        ("0.5", "numbers of shape (3,) are wanted; got a str."),
        (np.array(["0.5"] * 3), "are wanted; got a ndarray."),
        ([[1], [1, 2], 3], "are wanted; got a list."),
        ([0.011, np.nan, 1], "Not yet: not all values are finite."),
        ([0.011, None, 1], "are wanted; got a list."),
        (OcclusionMap, "Not yet: it stops with TypeError"),
        (lambda: 1 / 0, "Not yet: it stops with ZeroDivisionError"),
        (TRUTH.astype(complex), "are wanted; got a ndarray."),
    ],
)
def test_a_wrong_answer_gets_a_hint(capsys, wrong, line):
    assert line in printed(capsys, wrong, TRUTH, "look again")


def test_dicts_texts_and_single_numbers(capsys):
    truth = {"a": 1.0, "b": [1, 2]}
    assert printed(capsys, {"b": [1, 2], "a": 1}, truth, "no") == "Right."
    for wrong, line in (
        ({"a": 1}, "with the keys 'a', 'b' is wanted; got the keys 'a'."),
        ([1, 2], "a dict with the keys 'a', 'b' is wanted; got a list."),
        ({"a": 1, "b": [1, 3]}, "Not yet: for 'b', the hint"),
        ({"a": 1, "b": None}, "Still to do."),
    ):
        assert line in printed(capsys, wrong, truth, "the hint")
    assert printed(capsys, "cat", "cat", "no") == "Right."
    assert printed(capsys, "dog", "cat", "no") == "Not yet: no"
    assert printed(capsys, 3, "cat", "no").endswith(
        "a text is wanted; got an int."
    )
    assert printed(capsys, np.float32(0.3), 0.3, "no") == "Right."
    assert printed(capsys, [0.3], 0.3, "no").startswith(
        "Not yet: a single number is wanted"
    )
    assert printed(capsys, 0, 0, "no") == "Right."
    assert printed(capsys, 1e-9, 0, "no") == "Not yet: no"
    assert printed(capsys, [True, False], [1, 0], "no") == "Right."
    half = tf.constant([1.0, 2.0], tf.bfloat16)
    assert printed(capsys, half, [1.0, 2.0], "no") == "Right."


def test_a_count_or_an_index_is_right_or_wrong(capsys):
    assert printed(capsys, 2001, 2000, "look again").startswith("Not yet")
    assert printed(capsys, [5, 281], [5, 281.0], "no") == "Right."
    assert printed(capsys, 2001, 2000.0, "no") == "Right."  # no count
    assert printed(capsys, [3, 900], [4, 900], "one off", 0.1) == (
        "Not yet: one off"
    )
