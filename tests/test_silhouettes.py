"""The drawn people: repeatable, true to their measures, whole, people-like."""

import numpy as np
import pytest

from xai_utils.data import bodies, silhouettes

pytestmark = pytest.mark.quick

NAMES = tuple(silhouettes.RANGES)


def width_at(image, row):
    """Width of the stretch of body that holds the brightest middle, in
    pixels: the sum of the grey levels between the gaps to the arms."""
    line = image[row, :, 0].astype(float)
    middle = int(np.average(np.arange(len(line)), weights=line > 0))
    left = right = middle
    while line[left - 1] > 0:
        left -= 1
    while line[right + 1] > 0:
        right += 1
    return line[left : right + 1].sum() / line[middle]


def test_what_comes_back():
    images, waists, masks = silhouettes.make(12, seed=5)
    assert images.shape == (12, 128, 128, 3) and images.dtype == np.uint8
    assert (images[..., 0] == images[..., 2]).all()
    assert waists.shape == (12,) and masks.shape == (12, 128, 128)
    assert masks.dtype == bool
    for first, second in zip(
        (images, waists, masks), silhouettes.make(12, seed=5)
    ):
        assert (first == second).all()
    assert (silhouettes.make(12, seed=6)[0] != images).any()


@pytest.mark.parametrize("population", ["independent", "correlated"])
def test_both_populations_fill_the_same_ranges_evenly(population):
    people = silhouettes.measures(4000, seed=0, population=population)
    for name, (low, high) in {
        **silhouettes.RANGES,
        **silhouettes.POSES,
    }.items():
        shares, _ = np.histogram(people[name], 5, (low, high))
        assert shares.sum() == 4000, name
        assert (abs(shares / 4000 - 0.2) < 0.03).all(), name


def test_measures_are_independent_or_go_together():
    def correlations(population):
        people = silhouettes.measures(4000, seed=1, population=population)
        return {
            (a, b): np.corrcoef(people[a], people[b])[0, 1]
            for a in NAMES
            for b in NAMES
            if a < b
        }

    assert max(map(abs, correlations("independent").values())) < 0.06
    together = correlations("correlated")
    assert together["hips", "waist"] == pytest.approx(0.9, abs=0.02)
    assert together["chest", "waist"] > 0.8
    assert together["height", "waist"] == pytest.approx(0, abs=0.06)
    assert 0.4 < together["height", "shoulders"] < 0.7


def test_the_waist_can_be_read_off_the_picture():
    """Measured on the picture as with a ruler: width in pixels, the scale
    from the row of the feet, the perimeter of an ellipse 0.75 as deep."""
    images, waists, masks = silhouettes.make(60, seed=2)
    angles = np.linspace(0, 2 * np.pi, 10_001)
    around = (
        np.hypot(np.diff(np.cos(angles)), np.diff(0.75 * np.sin(angles))).sum()
        / 2
    )
    errors = []
    for image, waist, mask in zip(images, waists, masks):
        rows = np.nonzero(image[..., 0].max(axis=1))[0]
        scale = (rows[-1] + 1 - bodies.HORIZON) / bodies.CAMERA
        band = np.nonzero(mask.any(axis=1))[0]
        widths = [width_at(image, row) for row in band]
        # The waist is where the trunk is as wide as the label says; between
        # chest and hips it need not be the narrowest place.
        nearest = min(abs(width / scale * around - waist) for width in widths)
        errors.append(nearest)
    assert np.median(errors) < 1 and max(errors) < 5


@pytest.mark.parametrize("measure,least", [("waist", 0.8), ("hips", 0.4)])
def test_a_measure_moves_its_own_band(measure, least):
    """By the sum of the changes; wider hips also set the legs apart."""
    people = silhouettes.measures(40, seed=3)
    before, masks = silhouettes.draw(people)
    after, _ = silhouettes.draw({**people, measure: people[measure] + 4})
    moved = np.abs(after.astype(int) - before).sum(axis=-1)
    assert moved.any(axis=(1, 2)).all()
    share = {
        name: (moved * mask).sum() / moved.sum()
        for name, mask in masks.items()
    }
    (other,) = set(share) - {measure}
    assert share[measure] > least and share[other] < 0.12


def test_bands_lie_on_the_trunk_and_do_not_overlap():
    images, masks = silhouettes.draw(silhouettes.measures(40, seed=4))
    body = images[..., 0] > 0
    assert not (masks["waist"] & masks["hips"]).any()
    for mask in masks.values():
        share = mask.mean(axis=(1, 2))
        assert share.min() > 0.005 and share.max() < 0.08
        assert (
            (mask & body).sum(axis=(1, 2)) > 0.7 * mask.sum(axis=(1, 2))
        ).all()
    rows = {
        name: mask.any(axis=2).argmax(axis=1) for name, mask in masks.items()
    }
    assert (rows["waist"] < rows["hips"]).all(), "the hips lie lower"


@pytest.mark.parametrize("population", ["independent", "correlated"])
def test_everybody_is_whole_and_inside_the_picture(population):
    from skimage.measure import label

    images, _, _ = silhouettes.make(150, seed=7, population=population)
    edge = np.concatenate(
        [
            images[:, [0, -1]].reshape(150, -1),
            images[:, :, [0, -1]].reshape(150, -1),
        ],
        axis=1,
    )
    assert edge.max() == 0
    for image in images:
        assert label(image[..., 0] > 0).max() == 1, "one piece"


def test_the_extremes_of_every_measure_can_be_drawn():
    middle = {
        name: [(low + high) / 2]
        for name, (low, high) in {
            **silhouettes.RANGES,
            **silhouettes.POSES,
        }.items()
    }
    for name, ends in {**silhouettes.RANGES, **silhouettes.POSES}.items():
        images, _ = silhouettes.draw(
            {
                key: list(ends) if key == name else value * 2
                for key, value in middle.items()
            }
        )
        assert (images[0] != images[1]).any(), name
        assert images[:, [0, -1]].max() == images[:, :, [0, -1]].max() == 0


def test_bad_input():
    with pytest.raises(ValueError, match="at least 1; got 0"):
        silhouettes.make(0, seed=0)
    with pytest.raises(ValueError, match="'correlated'; got 'people'"):
        silhouettes.make(1, seed=0, population="people")
    people = silhouettes.measures(3, seed=0)
    with pytest.raises(ValueError, match="missing: chest, hips"):
        silhouettes.draw(
            {
                name: values
                for name, values in people.items()
                if name not in ("chest", "hips")
            }
        )
    with pytest.raises(ValueError, match="same length.*'waist': \\(2,\\)"):
        silhouettes.draw({**people, "waist": people["waist"][:2]})
    with pytest.raises(ValueError, match=r"people\['hips'\] must be finite"):
        silhouettes.draw({**people, "hips": [90, np.nan, 90]})
