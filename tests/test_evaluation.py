"""Measures and baselines on pictures that one can work out on paper."""

import numpy as np
import pytest
from ml_dtypes import bfloat16

from xai_utils import evaluation

pytestmark = pytest.mark.quick

MASK = np.zeros((1, 4, 4), bool)
MASK[0, :2, :2] = True


def test_mass_on_mask():
    values = np.zeros((1, 4, 4))
    values[0, 0, 0], values[0, 3, 3] = 3, 1
    assert evaluation.mass_on_mask(values, MASK) == [0.75]
    assert evaluation.mass_on_mask(np.ones((1, 4, 4)), MASK) == [0.25]
    assert evaluation.mass_on_mask(np.zeros((1, 4, 4)), MASK) == [0]


def test_the_total_of_a_map_may_be_larger_than_any_float():
    values = np.full((1, 4, 4), 1e308)
    assert evaluation.mass_on_mask(values, MASK) == [0.25]
    values = np.full((1, 4, 4), 5e-324)
    assert evaluation.mass_on_mask(values, MASK) == [0.25]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.float16])
def test_whole_numbers_and_short_ones_do_not_overflow(dtype):
    values = np.full((1, 40, 40), 100).astype(dtype)
    mask = np.zeros((1, 40, 40), bool)
    mask[0, :10] = True
    assert evaluation.mass_on_mask(values, mask) == [0.25]
    assert evaluation.pointing_game(values, mask) == [0.25]


def test_pointing_game():
    values = np.zeros((1, 4, 4))
    values[0, 3, 1] = 1  # two pixels below the mask
    assert not evaluation.pointing_game(values, MASK)[0]
    assert not evaluation.pointing_game(values, MASK, tolerance=1)[0]
    assert evaluation.pointing_game(values, MASK, tolerance=2)[0]
    values[0, 1, 1] = 2
    assert evaluation.pointing_game(values, MASK)[0]
    assert not evaluation.pointing_game(values, np.zeros_like(MASK))[0]


def test_pixels_that_share_the_maximum_share_the_hit():
    constant = np.ones((1, 4, 4))
    assert evaluation.pointing_game(constant, MASK) == [4 / 16]
    assert evaluation.pointing_game(constant, ~MASK) == [12 / 16]
    assert evaluation.pointing_game(constant, MASK, 1) == [8 / 16]
    values = np.zeros((1, 4, 4))
    values[0, 1, 1] = values[0, 1, 2] = values[0, 3, 3] = 1
    assert evaluation.pointing_game(values, MASK) == [1 / 3]


def hits_by_hand(values, mask, tolerance):
    """Of each pixel with the maximum, the distance to each of the mask."""
    hits = [
        any(
            np.hypot(y - row, x - column) <= tolerance
            for y, x in np.argwhere(mask)
        )
        for row, column in np.argwhere(values == values.max())
    ]
    return sum(hits) / len(hits)


@pytest.mark.parametrize("tolerance", [0, 1, np.sqrt(2), 2.5])
def test_pointing_game_by_hand(tolerance):
    rng = np.random.default_rng(0)
    tied = rng.integers(0, 5, (20, 6, 9))
    untied = rng.permuted(np.arange(20 * 54).reshape(20, 54), axis=1)
    masks = rng.random((20, 6, 9)) < 0.1
    for maps in (tied, untied.reshape(20, 6, 9)):
        shares = evaluation.pointing_game(maps, masks, tolerance)
        expected = [
            hits_by_hand(values, mask, tolerance)
            for values, mask in zip(maps, masks)
        ]
        np.testing.assert_allclose(shares, expected, rtol=1e-12)
    assert shares.dtype == float and set(shares) <= {0, 1}


def test_whole_numbers_keep_their_last_digit():
    values = np.zeros((1, 4, 4), np.int64)
    values[0, 3, 3], values[0, 0, 0] = 2**53, 2**53 + 1
    assert evaluation.pointing_game(values, MASK) == [1]


@pytest.mark.parametrize("tolerance", [-1, np.nan, np.inf])
def test_a_tolerance_that_is_none(tolerance):
    with pytest.raises(ValueError, match=f"tolerance .*got {tolerance}"):
        evaluation.pointing_game(np.ones((1, 4, 4)), MASK, tolerance)


def test_mask_iou():
    other = np.zeros((1, 4, 4), bool)
    other[0, 1:3, :2] = True  # shares 2 of 6 pixels with MASK
    assert evaluation.mask_iou(other, MASK) == [2 / 6]
    assert evaluation.mask_iou(MASK, MASK) == [1]
    nothing = np.zeros_like(MASK)
    assert evaluation.mask_iou(nothing, MASK) == [0]
    assert evaluation.mask_iou(nothing, nothing) == [0]


def test_box_iou():
    boxes = [
        (0, 0, 4, 4),
        (0, 0, 4, 4),
        (0, 0, 4, 4),
        (0, 0, 0, 0),
        (0, 0, 0, 0),
        (0, 0, 2, 8),
    ]
    truths = [
        (0, 0, 4, 4),
        (0, 2, 4, 6),
        (5, 5, 6, 6),
        (0, 0, 4, 4),
        (0, 0, 0, 0),
        (0, 0, 8, 2),
    ]
    np.testing.assert_allclose(
        evaluation.box_iou(boxes, truths), [1, 8 / 24, 0, 0, 0, 4 / 28]
    )


@pytest.mark.parametrize(
    "measure, first, second, error, message",
    [
        (evaluation.mask_iou, MASK, MASK[0], ValueError, "same shape"),
        (evaluation.mask_iou, MASK, MASK.astype(int), TypeError, "bool"),
        (evaluation.mask_iou, MASK[:, :0], MASK[:, :0], ValueError, "least 1"),
        (
            evaluation.box_iou,
            [(0, 0, 1, 1)],
            (0, 0, 1, 1),
            ValueError,
            "same sh",
        ),
        (
            evaluation.box_iou,
            np.zeros((0, 4)),
            np.zeros((0, 4)),
            ValueError,
            "n ≥ 1; got .0, 4.",
        ),
        (
            evaluation.box_iou,
            [(0, 0, 1, 1)],
            [(0, 0, 1, np.nan)],
            ValueError,
            "truths must be finite",
        ),
        (
            evaluation.box_iou,
            [(0, 0, 1, np.inf)],
            [(0, 0, 1, 1)],
            ValueError,
            "boxes must be finite",
        ),
        (
            evaluation.box_iou,
            [("0", "0", "1", "1")],
            [(0, 0, 1, 1)],
            TypeError,
            "boxes must hold real numbers; got dtype <U1",
        ),
        (
            evaluation.box_iou,
            [(2, 0, 1, 1)],
            [(0, 0, 1, 1)],
            ValueError,
            "ends",
        ),
    ],
)
def test_bad_masks_and_boxes(measure, first, second, error, message):
    with pytest.raises(error, match=message):
        measure(first, second)


def test_baselines():
    images = np.zeros((2, 8, 12, 3), np.uint8)
    images[1, :, 6:] = 255
    centre = evaluation.centre_map(images)
    assert centre.shape == (2, 8, 12)
    assert centre[0, 3, 5] == centre[0, 4, 6] == centre.max()
    edges = evaluation.edge_map(images)
    assert (edges[0] == 0).all()
    assert set(edges[1].nonzero()[1]) == {5, 6}
    noise = evaluation.random_map(images)
    assert (noise == evaluation.random_map(images)).all()
    assert 0.4 < noise.mean() < 0.6 and noise[0, 0, 0] != noise[1, 0, 0]


BASELINES = [evaluation.centre_map, evaluation.edge_map, evaluation.random_map]


@pytest.mark.parametrize("baseline", BASELINES)
def test_one_picture_needs_a_batch_axis(baseline):
    image = np.zeros((8, 12, 3), np.uint8)
    with pytest.raises(ValueError, match=r"got \(8, 12, 3\).*image\[None\]"):
        baseline(image)
    assert baseline(image[None]).shape == (1, 8, 12)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize(
    "shape", [(0, 8, 12, 3), (2, 0, 12, 3), (2, 8, 0, 3), (8, 12), (1,) * 5]
)
def test_baselines_need_pixels(baseline, shape):
    with pytest.raises(ValueError, match="images must have shape .n, h, w, "):
        baseline(np.zeros(shape))


def test_edges_need_finite_numbers_in_three_channels():
    for channels in (1, 2, 4):
        with pytest.raises(ValueError, match=r"images must be RGB, .n, h, w,"):
            evaluation.edge_map(np.zeros((1, 8, 8, channels)))
    for wrong in (np.nan, np.inf):
        images = np.zeros((1, 8, 8, 3))
        images[0, 4, 4, 1] = wrong
        with pytest.raises(ValueError, match="images must be finite"):
            evaluation.edge_map(images)
    with pytest.raises(TypeError, match="real numbers; got dtype <U1"):
        evaluation.edge_map(np.full((1, 8, 8, 3), "7"))


@pytest.mark.parametrize(
    "dtype, level, step",
    [
        (np.uint8, 51, 51 / 255),
        (np.float64, 51 / 255, 51 / 255),
        (np.float32, 51, 51),
        (bfloat16, 51, 51),
    ],
)
def test_edges_have_the_scale_that_the_docstring_names(dtype, level, step):
    """A vertical step: the filter along the rows is zero, and scikit-image
    divides the root of the sum of two squares by √2."""
    images = np.zeros((1, 8, 8, 3), dtype)
    images[0, :, 4:] = level
    edges = evaluation.edge_map(images)
    assert edges.dtype == np.float64
    np.testing.assert_allclose(
        edges[0, 2:-2, 3:5], step / np.sqrt(2), rtol=1e-6
    )


@pytest.mark.parametrize(
    "maps, masks, error, message",
    [
        (-np.ones((1, 4, 4)), MASK, ValueError, "must not be negative"),
        (np.ones((4, 4)), MASK[0], ValueError, "same shape"),
        (np.ones((1, 4, 5)), MASK, ValueError, "same shape"),
        (np.ones((1, 0, 4)), MASK[:, :0], ValueError, "each side at least 1"),
        (np.ones((0, 4, 4)), MASK[:0], ValueError, "each side at least 1"),
        (np.ones((1, 4, 4), complex), MASK, TypeError, "got dtype complex128"),
        (np.full((1, 4, 4), "1"), MASK, TypeError, "got dtype <U1"),
        (np.full((1, 4, 4), np.nan), MASK, ValueError, "finite"),
        (np.ones((1, 4, 4)), MASK.astype(int), TypeError, "bool"),
    ],
)
def test_bad_input(maps, masks, error, message):
    with pytest.raises(error, match=message):
        evaluation.mass_on_mask(maps, masks)
    if "negative" in message:  # the advice
        assert evaluation.mass_on_mask(np.maximum(maps, 0), masks) == [0]
    else:
        with pytest.raises(error, match=message):
            evaluation.pointing_game(maps, masks)


def test_the_interval_of_numbers_that_one_can_work_out():
    # Variance with n − 1: 10 / 4; standard error: sqrt(2.5 / 5).
    mean, half = evaluation.interval([1, 2, 3, 4, 5])
    assert mean == 3 and half == pytest.approx(1.96 * 0.5**0.5)
    assert evaluation.interval(np.array([True, False])) == (0.5, 0.98)
    assert evaluation.interval(np.full(9, 7, np.uint8)) == (7, 0)


def test_the_interval_covers_the_truth_19_times_of_20():
    rng = np.random.default_rng(0)
    draws = (evaluation.interval(rng.random(50)) for _ in range(2000))
    covered = np.mean([abs(mean - 0.5) < half for mean, half in draws])
    assert 0.93 < covered < 0.96


@pytest.mark.parametrize(
    "values, error, message",
    [
        ([1], ValueError, r"shape \(n,\), n ≥ 2; got \(1,\)"),
        (np.ones((3, 2)), ValueError, r"n ≥ 2; got \(3, 2\)"),
        ([1, np.nan], ValueError, "values must be finite"),
        (["1", "2"], TypeError, "values must hold real numbers"),
    ],
)
def test_values_without_an_interval(values, error, message):
    with pytest.raises(error, match=message):
        evaluation.interval(values)


def test_the_table_against_its_measures():
    masks = np.repeat(MASK, 2, axis=0)
    half_right, near = np.zeros((2, 2, 4, 4))
    half_right[0, 0, 0] = half_right[1, 3, 3] = 1  # one hit, one miss
    near[:, 0, 2] = 1  # beside the mask
    maps = {"half right": half_right, "near": near}
    head, *lines, area = evaluation.table(maps, masks, 1).splitlines()
    assert head.split("  ")[-3:] == ["mass on mask", "peak on it", "within 1"]
    assert lines[0].split() == ["half", "right", "50%", "±", "98%"] + [
        "50%",
        "50%",
    ]
    assert lines[1].split() == ["near", "0%", "±", "0%", "0%", "100%"]
    assert area.split() == ["area", "of", "the", "mask", "25%"]
    assert len({line.index("±") for line in lines}) == 1
    assert len({len(line) for line in [head, *lines]}) == 1
    short = evaluation.table(maps, masks).splitlines()
    assert "within" not in short[0] and short[1].count("%") == 3


@pytest.mark.parametrize(
    "candidates, error, message",
    [
        ({}, ValueError, "candidates must have maps; got an empty dict"),
        (np.ones((2, 4, 4)), TypeError, "must be a dict .* got ndarray"),
        (
            {"a": np.ones((2, 4, 4)), "b": -np.ones((2, 4, 4))},
            ValueError,
            r"candidates\['b'\]: maps must not be negative",
        ),
        ({"a": np.ones((3, 4, 4))}, ValueError, "same shape"),
    ],
)
def test_what_can_not_be_put_in_a_table(candidates, error, message):
    with pytest.raises(error, match=message):
        evaluation.table(candidates, np.repeat(MASK, 2, axis=0), 6)
    with pytest.raises(ValueError, match="masks must be two .* got 1"):
        evaluation.table({"a": np.ones((1, 4, 4))}, MASK)
    with pytest.raises(ValueError, match="tolerance must be .* got '2'"):
        evaluation.table({"a": np.ones((2, 4, 4))}, np.repeat(MASK, 2, 0), "2")


def test_no_name_hides_a_line_of_the_table():
    maps = np.ones((2, 4, 4))
    names = ["", "area of the mask", 3]
    text = evaluation.table(
        dict.fromkeys(names, maps), np.repeat(MASK, 2, axis=0)
    )
    assert text.count("25% ± 0%") == 3 and len(text.splitlines()) == 5


def test_recall_and_precision_by_hand():
    found = np.zeros((3, 4, 4), bool)
    found[0, :2, :3] = True  # all four pixels of the mask, and two more
    found[1, 0, 0] = found[1, 3] = True  # one of four, and four more
    recall, precision = evaluation.recall_and_precision(
        found, np.repeat(MASK, 3, axis=0)
    )
    assert recall.tolist() == [1, 1 / 4, 0]
    assert precision.tolist() == [4 / 6, 1 / 5, 0]
    recall, precision = evaluation.recall_and_precision(MASK, ~MASK & MASK)
    assert recall.tolist() == precision.tolist() == [0]
    with pytest.raises(TypeError, match="must be bool; got int64 and bool"):
        evaluation.recall_and_precision(MASK.astype(np.int64), MASK)
    with pytest.raises(ValueError, match="same shape"):
        evaluation.recall_and_precision(MASK, found)
