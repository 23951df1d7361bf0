"""The generated pictures: repeatable, true to their mask, split by photo."""

import numpy as np
import pytest

from xai_utils import stickers


def test_what_comes_back():
    images, labels, masks = stickers.make(20, seed=5)
    assert images.shape == (20, 96, 96, 3) and images.dtype == np.uint8
    assert labels.shape == (20,) and masks.shape == (20, 96, 96)
    assert masks.dtype == bool
    again = stickers.make(20, seed=5)
    for first, second in zip((images, labels, masks), again):
        assert (first == second).all()
    assert (stickers.make(20, seed=6)[0] != images).any()


def test_all_classes_come_about_equally_often():
    _, labels, _ = stickers.make(600, seed=0)
    counts = np.bincount(labels, minlength=10)
    assert len(counts) == 10 and 30 < counts.min() <= counts.max() < 90


def test_a_pictogram_has_one_colour_and_the_rest_is_photograph():
    images, _, masks = stickers.make(60, seed=1)
    shares = []
    for image, mask in zip(images.astype(int), masks):
        colour = np.median(image[mask], axis=0)
        is_colour = np.abs(image - colour).max(axis=-1) <= 1
        shares.append((is_colour[mask].mean(), is_colour[~mask].mean()))
    inside, outside = np.median(shares, axis=0)
    assert inside > 0.6 and outside < 0.01


def test_pictograms_differ_in_more_than_place_and_colour():
    """Each class's glyph is its own drawing, not the font's empty box."""
    drawings = [np.asarray(stickers._draw(glyph).resize((64, 64)))
                for glyph in stickers.CLASSES.values()]
    for i, first in enumerate(drawings):
        assert first.max() == 255
        for second in drawings[:i]:
            assert np.abs(first.astype(int) - second).mean() > 20


def test_masks_lie_inside_and_have_a_sensible_size():
    _, _, masks = stickers.make(200, seed=2)
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    sides = np.maximum(rows.sum(axis=1), columns.sum(axis=1))
    assert sides.min() >= 30 and sides.max() <= 74
    share = masks.mean(axis=(1, 2))
    assert 0.005 < share.min() and share.max() < 0.5


def test_train_and_test_share_no_photograph():
    train, test = (set(stickers.BACKGROUNDS[split])
                   for split in ("train", "test"))
    assert train and test and not train & test


def test_bad_input():
    with pytest.raises(ValueError, match="at least 1; got 0"):
        stickers.make(0, seed=0)
    with pytest.raises(ValueError, match="'train' or 'test'; got 'val'"):
        stickers.make(1, seed=0, split="val")
