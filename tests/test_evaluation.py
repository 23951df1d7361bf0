"""Measures and baselines on pictures that one can work out on paper."""

import numpy as np
import pytest

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


def test_pointing_game():
    values = np.zeros((1, 4, 4))
    values[0, 3, 1] = 1  # two pixels below the mask
    assert not evaluation.pointing_game(values, MASK)[0]
    assert not evaluation.pointing_game(values, MASK, tolerance=1)[0]
    assert evaluation.pointing_game(values, MASK, tolerance=2)[0]
    values[0, 1, 1] = 2
    assert evaluation.pointing_game(values, MASK)[0]
    assert not evaluation.pointing_game(values, np.zeros_like(MASK))[0]


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
        (
            evaluation.box_iou,
            [(0, 0, 1, 1)],
            (0, 0, 1, 1),
            ValueError,
            "same sh",
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


@pytest.mark.parametrize(
    "maps, masks, error, message",
    [
        (-np.ones((1, 4, 4)), MASK, ValueError, "must not be negative"),
        (np.ones((4, 4)), MASK[0], ValueError, "same shape"),
        (np.ones((1, 4, 5)), MASK, ValueError, "same shape"),
        (np.full((1, 4, 4), np.nan), MASK, ValueError, "finite"),
        (np.ones((1, 4, 4)), MASK.astype(int), TypeError, "bool"),
    ],
)
def test_bad_input(maps, masks, error, message):
    with pytest.raises(error, match=message):
        evaluation.mass_on_mask(maps, masks)
