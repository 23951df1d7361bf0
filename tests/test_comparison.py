"""The tables of notebooks 10 and 11: what the script measures, and what is
stored."""

import numpy as np
import pandas as pd
import pytest

from xai_utils import comparison, evaluation, networks
from xai_utils.comparison import Method
from xai_utils.data import photos, stickers
from xai_utils.gradients import gradient, saliency
from xai_utils.occlusion import occlusion
from xai_utils.targets import class_score

pytestmark = pytest.mark.quick

CHECKED = {"mass", "peak", "within", "random top", "random all"}
CHECKED |= {
    f"{curve}, {fill}"
    for curve in ("deletion", "insertion")
    for fill in ("grey", "mean", "blur")
}


@pytest.fixture(scope="module")
def network():
    return networks.stickers_net()


@pytest.fixture(scope="module")
def few():
    images, labels, masks = stickers.make(300, seed=11)
    return images[:3], labels[:3], masks[:3]


def test_the_methods_are_those_of_the_notebooks(network, few):
    images, labels, _ = few
    chosen = {
        name: way
        for name, way in comparison.methods().items()
        if name in ("gradient", "gradient × input", "occlusion")
    }
    maps = comparison.drawn_maps(chosen, network, images, class_score, labels)
    slopes = gradient(network, images, class_score(labels))
    np.testing.assert_allclose(
        maps["gradient"], saliency(network, images, class_score(labels))
    )
    np.testing.assert_allclose(
        maps["gradient × input"],
        (slopes * images).sum(-1),
        rtol=1e-5,
        atol=1e-6,
    )
    covered = occlusion(
        network,
        images[2],
        class_score(labels[2]),
        patch=16,
        stride=8,
        fill=127,
    )
    np.testing.assert_array_equal(maps["occlusion"][2], covered.heatmap)


def test_what_the_masks_say(few):
    masks = few[2]
    signed = np.where(masks, 1.0, -5)  # what speaks against does not count
    other = np.where(masks, -1.0, 1)
    table = comparison.against_masks({"a": signed, "b": other}, masks, 6)
    assert list(table.method) == ["a"] * 3 + ["b"] * 3
    assert list(table.picture) == [0, 1, 2] * 2
    assert (table[table.method == "a"][["mass", "peak"]] == 1).all(axis=None)
    assert (table[table.method == "b"][["mass", "peak"]] == 0).all(axis=None)


def test_a_method_without_a_network_keeps_its_map(network, few):
    images, labels, _ = few

    def edges(model, images, aim, answers):
        return evaluation.edge_map(images)[..., None]

    def first_layer(model, images, aim, answers):
        return np.tile(
            model.get_layer("logits").get_weights()[0][:7, :7], (3, 1, 1)
        )[..., None]

    ways = {
        "edges": Method(edges, False),
        "weights": Method(first_layer, True),
    }
    table = comparison.after_randomising(
        ways, network, images, class_score, labels, ["logits", "conv1"]
    )
    measures = list(table.columns[3:])
    assert [m.split(",")[0] for m in measures] == ["rank", "SSIM"] * 2
    kept = table[table.method == "edges"]
    np.testing.assert_allclose(kept[measures], 1)
    lost = table[table.method == "weights"]
    assert (lost[measures] < 0.9).all(axis=None)
    assert list(kept.layer) == ["logits"] * 3 + ["conv1"] * 3
    summary = comparison._summary({"cascading": table})
    row = summary[(summary.layer == "conv1") & (summary.method == "weights")]
    mean, half = evaluation.interval(lost[lost.layer == "conv1"][measures[0]])
    assert row.iloc[0]["mean"] == pytest.approx(mean)
    assert row.iloc[0]["half"] == pytest.approx(half)
    joined = comparison._with_checks(kept[["method", "picture"]], table)
    assert (joined[["random top", "random all"]] > 0.999).all(axis=None)


def stored(name):
    return pd.read_csv(comparison.RESULTS / f"{name}.csv")


def test_stored_tables_are_whole():
    ways = list(comparison.methods())
    trivial = list(comparison.trivial_maps(np.zeros((1, 9, 9, 3), np.uint8)))
    table = stored("stickers")
    assert list(table.method.unique()) == [*ways, *trivial, "the mask"]
    assert (table.groupby("method").picture.nunique() == 300).all()
    assert set(table.columns) == {"method", "picture"} | CHECKED
    assert not table.isna().any(axis=None)
    of_mask = table[table.method == "the mask"]
    assert (of_mask[["mass", "peak", "within"]] == 1).all(axis=None)
    bodies = stored("silhouettes")
    assert (bodies.groupby("method").picture.nunique() == 100).all()
    assert set(ways) < set(bodies.method)
    for name in ("stickers_randomised", "photographs_randomised"):
        assert set(stored(name).method) == set(ways)
    pictures = stored("photographs").groupby("method").picture.nunique()
    assert (pictures == len(comparison.PHOTOGRAPHS)).all()
    assert set(comparison.PHOTOGRAPHS) < set(photos.SAMPLES)


def test_masks_of_trivial_maps_are_what_the_table_says(few):
    images, _, masks = few
    table = stored("stickers")
    fresh = comparison.against_masks(
        comparison.trivial_maps(images), masks, tolerance=6
    )
    both = table.merge(fresh, on=["method", "picture"])
    # The noise of "random" depends on how many pictures there are.
    both = both[both.method != "random"]
    assert len(both) == 6
    for measure in ("mass", "peak", "within"):
        np.testing.assert_allclose(
            both[f"{measure}_x"], both[f"{measure}_y"], atol=6e-4
        )
