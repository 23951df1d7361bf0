"""The generated pictures: repeatable, true to their mask, split by photo."""

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, label

from xai_utils.data import stickers

pytestmark = pytest.mark.quick


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
    _, labels, _ = stickers.make(300, seed=0)
    counts = np.bincount(labels, minlength=10)
    assert len(counts) == 10 and 12 < counts.min() <= counts.max() < 48


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
    drawings = [
        np.asarray(stickers.pictogram(glyph).resize((64, 64)))
        for glyph in stickers.CLASSES.values()
    ]
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
    assert share.min() > 0.005 and share.max() < 0.5


def test_train_and_test_share_no_photograph():
    train, test = (
        set(stickers.BACKGROUNDS[split]) for split in ("train", "test")
    )
    assert train and test and not train & test


def test_other_classes():
    suits = {"club": "♣", "spade": "♠"}
    images, labels, masks = stickers.make(30, seed=1, classes=suits)
    assert set(labels) == {0, 1} and masks.any(axis=(1, 2)).all()
    swapped = dict(reversed(suits.items()))  # the same draws, other glyphs
    others = stickers.make(30, seed=1, classes=swapped)
    assert (others[1] == labels).all()
    assert all((a != b).any() for a, b in zip(masks, others[2]))
    for one, same in zip(
        stickers.make(5, seed=2),
        stickers.make(5, seed=2, classes=dict(stickers.CLASSES)),
    ):
        assert (one == same).all()


def test_bad_input():
    for classes in (
        {},
        {"two": "♣♠"},
        {"not in the font": "\U0001f600\ufe0f"},
        {"emoji": chr(0x1F9FF)},
    ):
        with pytest.raises(ValueError, match="character of DejaVu Sans"):
            stickers.make(1, seed=0, classes=classes)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        stickers.make(0, seed=0)
    with pytest.raises(ValueError, match="'train' or 'test'; got 'val'"):
        stickers.make(1, seed=0, split="val")


@pytest.mark.parametrize("name", stickers.PARTS)
def test_parts_what_comes_back(name):
    images, masks, parts = stickers.parts(12, name, seed=3)
    assert images.shape == (12, 96, 96, 3) and images.dtype == np.uint8
    assert masks.shape == (12, 96, 96) and masks.dtype == bool
    assert list(parts) == list(stickers.PARTS[name]) and len(parts) >= 3
    for part in parts.values():
        assert part.shape == (12, 96, 96) and part.dtype == bool
    again = stickers.parts(12, name, seed=3)
    assert (again[0] == images).all() and (again[1] == masks).all()
    for part, other in zip(parts.values(), again[2].values()):
        assert (part == other).all()
    assert (stickers.parts(12, name, seed=4)[0] != images).any()
    train, train_masks, _ = stickers.parts(12, name, seed=3, split="train")
    assert (train != images).any() and train_masks.shape == masks.shape


@pytest.mark.parametrize("name", stickers.PARTS)
def test_parts_lie_in_the_pictogram_apart_from_each_other(name):
    _, masks, parts = stickers.parts(60, name, seed=0)
    for part in parts.values():
        assert (part.sum(axis=(1, 2)) >= 12).all()
        # On it, or in a gap of it, but never far beside it.
        assert (part & masks).sum() > 0.35 * part.sum()
        for mask, inside in zip(masks, part):
            rows, columns = np.nonzero(mask)
            r, c = np.nonzero(inside)
            assert rows.min() - 2 <= r.min() and r.max() <= rows.max() + 2
            assert (
                columns.min() - 2 <= c.min() and c.max() <= columns.max() + 2
            )
    assert not (sum(part.astype(int) for part in parts.values()) > 1).any()


def test_the_dial_is_a_disc_around_the_gaps_of_the_telephone():
    """The gaps that the pictogram encloses, found by filling its outline,
    lie in the dial: an answer that does not know of `PARTS`."""
    _, masks, parts = stickers.parts(40, "telephone", seed=2)
    for mask, dial in zip(masks, parts["dial"]):
        gaps = binary_fill_holes(mask) & ~mask
        pieces, _ = label(gaps)
        ring = np.isin(pieces, np.unique(pieces[gaps & dial]))
        ring &= gaps
        assert (ring & dial).sum() > 0.9 * ring.sum() > 0
        offset = np.argwhere(ring).mean(axis=0) - np.argwhere(dial).mean(
            axis=0
        )
        assert np.abs(offset).max() < 1
        area, across = dial.sum(), np.ptp(np.argwhere(dial), axis=0) + 1
        assert 0.9 < area / (np.pi / 4 * across.prod()) < 1.1


def test_parts_keep_their_order_whatever_the_angle():
    """The pictogram turns by at most 40 degrees and is never mirrored."""
    for name, axis, before, behind in (
        ("telephone", 1, "left end", "right end"),
        ("anchor", 1, "left fluke", "right fluke"),
        ("anchor", 0, "ring", "left fluke"),
        ("knight", 0, "ear", "nostril"),
        ("knight", 0, "eye", "nostril"),
    ):
        _, _, parts = stickers.parts(40, name, seed=5)
        where = [
            [np.argwhere(part)[:, axis].mean() for part in parts[which]]
            for which in (before, behind)
        ]
        assert (np.diff(where, axis=0) > 0).all(), (name, before, behind)


def test_parts_bad_input():
    with pytest.raises(ValueError, match="at least 1; got 0"):
        stickers.parts(0, "telephone", seed=0)
    with pytest.raises(
        ValueError, match="name must be one of telephone.*got 'heart'"
    ):
        stickers.parts(1, "heart", seed=0)
    with pytest.raises(ValueError, match="'train' or 'test'; got 'val'"):
        stickers.parts(1, "telephone", seed=0, split="val")
