"""Seeds, GraphCut and boxes on pictures that one can work out on paper."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from xai_utils import evaluation, localisation, networks
from xai_utils.data import stickers
from xai_utils.gradients import saliency
from xai_utils.localisation import (
    bounding_box,
    graph_cut,
    largest_component,
    localise,
    seeds,
)
from xai_utils.targets import class_score

pytestmark = pytest.mark.quick


def two_colours(noise=0):
    """A red square on a blue picture, 40 × 50; picture and mask."""
    mask = np.zeros((40, 50), bool)
    mask[10:30, 15:40] = True
    image = np.where(mask[..., None], (200, 40, 30), (30, 60, 190))
    grain = np.random.default_rng(0).normal(scale=noise, size=image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8), mask


def test_seeds_are_the_quantiles_by_hand():
    """A thousand different values: the n-th smallest pixel is known."""
    values = np.random.default_rng(0).permutation(1000).reshape(20, 50)
    marks = seeds(values)
    assert (marks[values >= 995] == cv2.GC_FGD).all()
    assert (marks[(values >= 950) & (values < 994)] == cv2.GC_PR_FGD).all()
    assert (
        marks[(values > 300) & (values < 949)] == localisation.UNKNOWN
    ).all()
    assert (marks[(values > 5) & (values < 299)] == cv2.GC_PR_BGD).all()
    assert (marks[values <= 4] == cv2.GC_BGD).all()
    wider = seeds(values, foreground=0.5, background=0.4)
    assert np.isin(wider, (cv2.GC_FGD, cv2.GC_PR_FGD)).sum() == 500
    assert np.isin(wider, (cv2.GC_BGD, cv2.GC_PR_BGD)).sum() == 400


def test_seeds_of_a_map_that_is_zero_nearly_everywhere():
    values = np.zeros((30, 30))
    values[3, :8] = 1
    marks = seeds(values)
    assert (np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)) == values).all()


def test_seeds_on_a_part_spread_to_the_whole_object():
    image, mask = two_colours(noise=8)
    values = np.zeros(mask.shape)
    values[15:20, 20:35] = 1  # inside the square
    values += np.random.default_rng(1).random(mask.shape) / 10
    result = localise(image, values)
    assert evaluation.mask_iou([result.mask], [mask])[0] > 0.98
    assert result.box == (10, 15, 30, 40)
    threshold = values >= np.quantile(values, 0.95)
    assert evaluation.mask_iou([threshold], [mask])[0] < 0.3
    turned = localise(image.transpose(1, 0, 2), values.T)
    assert turned.box == (15, 10, 40, 30)  # rows are not columns


def test_the_sure_seeds_are_kept():
    image, mask = two_colours(noise=8)
    marks = np.full(mask.shape, localisation.UNKNOWN, np.uint8)
    marks[15:20, 20:30], marks[:5] = cv2.GC_PR_FGD, cv2.GC_PR_BGD
    assert (graph_cut(image, marks) == mask).mean() > 0.98
    marks[35:, 45:] = cv2.GC_FGD  # wrong, but sure
    assert graph_cut(image, marks)[35:, 45:].all()


@pytest.fixture(scope="module")
def explained():
    """Sticker pictures, their masks, the maps of the predicted classes."""
    network = networks.stickers_net()
    images, _, masks = stickers.make(60, seed=12)
    said = network(images.astype(np.float32)).numpy().argmax(axis=1)
    return images, masks, saliency(network, images, class_score(said))


def colour_costs(image, marks):
    """−log p of the background's and the object's colours, `(2, h, w)`; the
    mixtures of Gaussians are those of the seeds."""
    known = marks != localisation.UNKNOWN
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(
        image[known][None],
        marks[known][None],
        None,
        *models,
        0,
        cv2.GC_INIT_WITH_MASK,
    )
    costs = []
    for model in models:
        weights, means, spreads = np.split(model[0], [5, 20])
        densities = [
            weight * multivariate_normal(centre, spread).pdf(image)
            for weight, centre, spread in zip(
                weights, means.reshape(5, 3), spreads.reshape(5, 3, 3)
            )
            if weight > 0
        ]
        costs.append(-np.log(np.sum(densities, axis=0) + 1e-300))
    return np.array(costs)


@pytest.mark.parametrize("n", range(6))
def test_no_pixel_that_changes_sides_lowers_the_energy(explained, n):
    """The formula of notebook 04, computed by hand."""
    image, values = explained[0][n], explained[2][n]
    marks = seeds(values)
    cut = graph_cut(image, marks)
    costs = np.minimum(colour_costs(image, marks), 600)
    size, colours = len(image), image.astype(float)
    shifts = [(0, 1), (1, 0), (1, 1), (1, -1)]
    there = {}
    for dy, dx in shifts:
        y, x = np.mgrid[: size - dy, max(-dx, 0) : size - max(dx, 0)]
        there[dy, dx] = (y, x), (y + dy, x + dx)
    jumps = {
        shift: np.square(colours[a] - colours[b]).sum(axis=-1)
        for shift, (a, b) in there.items()
    }
    beta = 1 / (
        2 * np.mean(np.concatenate([j.ravel() for j in jumps.values()]))
    )
    rise = np.where(cut, costs[0] - costs[1], costs[1] - costs[0])
    for shift, (a, b) in there.items():
        weight = 50 / np.hypot(*shift) * np.exp(-beta * jumps[shift])
        change = np.where(cut[a] == cut[b], weight, -weight)
        np.add.at(rise, a, change)
        np.add.at(rise, b, change)
    free = (marks != cv2.GC_FGD) & (marks != cv2.GC_BGD)
    assert rise[free].min() > -1e-2
    assert 0 < cut.sum() < cut.size


def test_it_repeats_bit_for_bit_whatever_the_random_state(explained):
    for image, _, values in list(zip(*explained))[:15]:
        cv2.setRNGSeed(1)
        first = localise(image, values)
        cv2.setRNGSeed(99)
        second = localise(image, values)
        assert (first.mask == second.mask).all() and first.box == second.box


def test_graph_cut_beats_the_best_threshold_on_stickers(explained):
    images, masks, maps = explained
    cuts = [localise(*pair).mask for pair in zip(images, maps)]
    thresholds = [
        evaluation.mask_iou(
            maps >= np.quantile(maps, q, axis=(1, 2), keepdims=True), masks
        )
        for q in np.arange(0.5, 1, 0.05)
    ]
    best = max(ious.mean() for ious in thresholds)
    assert evaluation.mask_iou(cuts, masks).mean() > best + 0.15


def test_largest_component():
    mask = np.zeros((6, 8), bool)
    assert not largest_component(mask).any()
    mask[0, :3] = True
    mask[[2, 3, 4, 5], [1, 2, 3, 4]] = True  # connected at the corners
    largest = largest_component(mask)
    assert largest.sum() == 4 and not largest[0].any()
    assert largest_component(np.ones((3, 4), bool)).all()


def test_bounding_box():
    mask = np.zeros((6, 8), bool)
    assert bounding_box(mask) == (0, 0, 0, 0)
    mask[2, 3] = mask[4, 6] = True
    top, left, bottom, right = bounding_box(mask)
    assert (top, left, bottom, right) == (2, 3, 5, 7)
    assert mask[top:bottom, left:right].sum() == mask.sum()
    assert bounding_box(np.ones((3, 4), bool)) == (0, 0, 3, 4)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_a_mask_without_pixels_is_an_error_and_no_crash(shape):
    """In a process of its own, which OpenCV could end."""
    code = (
        "import numpy as np; from xai_utils import localisation; "
        f"localisation.largest_component(np.zeros({shape}, bool))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1, "one error, no signal"
    assert f"at least one pixel; got shape {shape}" in run.stderr
    with pytest.raises(ValueError, match="mask must have at least one pixel"):
        bounding_box(np.zeros(shape, bool))
    with pytest.raises(ValueError, match="map must have at least one pixel"):
        seeds(np.zeros(shape))


def part_with_most_pixels(mask):
    """By flooding, one pixel after the other."""
    left = {tuple(place) for place in np.argwhere(mask)}
    largest = set()
    while left:
        waiting = [left.pop()]
        part = set(waiting)
        while waiting:
            y, x = waiting.pop()
            around = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
            waiting += around & left
            part |= around & left
            left -= around
        largest = max(largest, part, key=len)
    return largest


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (17, 23)])
def test_the_largest_part_by_flooding_of_views_of_any_layout(shape):
    rng = np.random.default_rng(0)
    whole = rng.random((2 * shape[0], 3 * shape[1])) < 0.4
    for view in (
        whole[::2, ::3],
        whole[: shape[0], : shape[1]][::-1, ::-1],
        whole.T[: shape[0], : shape[1]],
    ):
        largest = largest_component(view)
        assert not (largest & ~view).any()
        assert largest.sum() == len(part_with_most_pixels(view))
        assert largest.sum() == len(part_with_most_pixels(largest))


def test_pictures_of_any_layout_give_the_same_mask():
    image, _ = two_colours(noise=8)
    values = MAP
    expected = localise(image, values).mask
    assert expected.any()
    doubled = image.repeat(2, axis=0).repeat(2, axis=1)
    fixed = image.copy()
    fixed.flags.writeable = False
    for same in (
        doubled[::2, ::2],
        np.asfortranarray(image),
        image[..., ::-1].copy()[..., ::-1],
        fixed,
    ):
        assert (localise(same, values).mask == expected).all()


IMAGE, MASK = two_colours()
MAP = MASK + np.random.default_rng(0).random(MASK.shape)


@pytest.mark.parametrize(
    "image, values, error, message",
    [
        (IMAGE, np.ones(MASK.shape), ValueError, "must not be constant"),
        (IMAGE, np.zeros(MASK.shape), ValueError, "all its values are 0"),
        (IMAGE, np.where(MASK, np.nan, 1), ValueError, "finite"),
        (IMAGE, MAP[None], ValueError, "shape .h, w.; got .1, 40, 50."),
        (IMAGE, MAP.astype(str), TypeError, "integers or floats"),
        (IMAGE, MAP[:, :-1], ValueError, "same height and width"),
        (IMAGE / 255, MAP, TypeError, "image must be uint8"),
        (IMAGE[..., :1], MAP, ValueError, "image must have shape .h, w, 3."),
        (
            IMAGE[:6, :6],
            MAP[:6, :6],
            ValueError,
            "at least 5 seeds of the object",
        ),
        (IMAGE, np.eye(40, 50) * (np.arange(50) < 3), ValueError, "gives 3"),
    ],
)
def test_bad_input(image, values, error, message):
    with pytest.raises(error, match=message):
        localise(image, values)


def test_bad_seeds_masks_and_quantiles():
    with pytest.raises(ValueError, match="seeds must have the image's shape"):
        graph_cut(IMAGE, np.zeros((3, 3), np.uint8))
    for wrong in (7, -1, 0.5):
        with pytest.raises(ValueError, match="whole numbers from 0 to 4"):
            graph_cut(IMAGE, np.full(MASK.shape, wrong))
    marks = seeds(MAP)
    assert (
        graph_cut(IMAGE, marks.astype(int)) == graph_cut(IMAGE, marks)
    ).all()
    with pytest.raises(ValueError, match="at least 5 seeds of the background"):
        graph_cut(IMAGE, np.full(MASK.shape, cv2.GC_PR_FGD))
    with pytest.raises(TypeError, match="mask must be bool"):
        bounding_box(MASK.astype(int))
    with pytest.raises(TypeError, match="mask must be bool"):
        largest_component(MASK[None])
    for low, high in ((0.5, 0.5), (0, 0.9), (0.3, 1)):
        with pytest.raises(ValueError, match="must be quantiles"):
            seeds(MAP, foreground=high, background=low)


def test_pictures_of_one_colour_are_answered():
    """Nothing tells object from background: any mask, but no crash."""
    flat = np.full(IMAGE.shape, 127, np.uint8)
    result = localise(flat, MAP)
    assert result.mask.dtype == bool and len(result.box) == 4
