"""Deletion, insertion and randomisation against loops, closed forms and what
must not change."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from keras import layers
from scipy.stats import spearmanr

from xai_utils import networks
from xai_utils.data import stickers
from xai_utils.faithfulness import (
    deletion,
    insertion,
    randomised_maps,
    rank_correlation,
    structural_similarity,
)
from xai_utils.gradients import saliency
from xai_utils.targets import class_probability, class_score

pytestmark = pytest.mark.quick

SHAPE = (4, 5, 3)


@pytest.fixture(scope="module")
def network():
    return networks.stickers_net()


def linear_net(weights):
    """One score: the sum of all pixels times their weights, in 64 bits."""
    x = keras.Input(SHAPE, dtype="float64")
    y = layers.Flatten(dtype="float64")(x)
    y = layers.Dense(1, use_bias=False, dtype="float64")(y)
    model = keras.Model(x, y)
    model.set_weights([weights.reshape(-1, 1)])
    return model


def first(outputs):
    return outputs[:, 0]


@pytest.mark.parametrize("curve", [deletion, insertion])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_equals_a_loop(network, curve, batch_size):
    images, labels, _ = stickers.make(3, seed=2)
    maps = np.random.default_rng(0).permuted(
        np.arange(3 * 96 * 96.0).reshape(3, -1), axis=1
    )
    maps = maps.reshape(3, 96, 96)
    found = curve(
        network,
        images,
        maps,
        class_probability(labels),
        fill=(10, 200, 30),
        steps=7,
        batch_size=batch_size,
    )
    for image, label, values, scores, area in zip(
        images, labels, maps, found.scores, found.area
    ):
        order = np.argsort(-values.ravel())
        fill = np.broadcast_to(np.float32([10, 200, 30]), image.shape)
        begin, end = image.astype(np.float32), fill
        if curve is insertion:
            begin, end = end, begin
        expected, shares = [], []
        for step in range(8):
            count = round(step * 96 * 96 / 7)
            picture = begin.reshape(-1, 3).copy()
            for pixel in order[:count]:
                picture[pixel] = end.reshape(-1, 3)[pixel]
            logits = network(picture.reshape(1, 96, 96, 3)).numpy()[0]
            odds = np.exp(logits - logits.max())
            expected.append(odds[label] / odds.sum())
            shares.append(count / 96**2)
        np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.shares, shares)
        steps = np.diff(shares) * (scores[1:] + scores[:-1]) / 2
        np.testing.assert_allclose(area, steps.sum())


whole = some.integers(-50, 50).map(float)


@settings(max_examples=40, deadline=None)
@given(
    weights=arrays(float, 60, elements=whole),
    image=arrays(float, SHAPE, elements=whole),
    fill=whole,
    other=arrays(float, SHAPE[:2], elements=whole),
    steps=some.integers(1, 20),
)
def test_exact_ranking_of_a_linear_network_is_the_best(
    weights, image, fill, other, steps
):
    model = linear_net(weights)
    lost = ((image - fill) * weights.reshape(SHAPE)).sum(axis=-1)
    # Of the same score, from whole numbers, each step is the best possible.
    falls = np.sort(lost.ravel())[::-1]
    counts = np.rint(np.linspace(0, 20, steps + 1)).astype(int)
    whole_score = (image.ravel() * weights).sum()
    best = whole_score - np.append(0, np.cumsum(falls))[counts]
    options = {"fill": fill, "steps": steps}
    exact = deletion(model, image[None], lost[None], first, **options)
    np.testing.assert_allclose(exact.scores[0], best, atol=1e-6)
    rival = deletion(model, image[None], other[None], first, **options)
    assert (rival.scores >= exact.scores - 1e-6).all()
    assert rival.area[0] >= exact.area[0] - 1e-6
    exact = insertion(model, image[None], lost[None], first, **options)
    rival = insertion(model, image[None], other[None], first, **options)
    assert (rival.scores <= exact.scores + 1e-6).all()
    assert rival.area[0] <= exact.area[0] + 1e-6


def test_only_the_order_counts_and_ties_are_spread():
    weights = np.random.default_rng(1).normal(size=60)
    model = linear_net(weights)
    image = np.random.default_rng(2).uniform(0, 255, (1, *SHAPE))
    values = np.random.default_rng(3).permutation(20).reshape(1, 4, 5)
    one = deletion(model, image, values, first, steps=20)
    other = deletion(model, image, np.exp(values / 3.0), first, steps=20)
    np.testing.assert_array_equal(one.scores, other.scores)
    # A constant map must not go from the top to the bottom.
    ones = np.ones((1, 4, 5))
    flat = deletion(model, image, ones, first, fill=0, steps=20)
    rows = deletion(
        model, image, -np.arange(20).reshape(1, 4, 5), first, fill=0, steps=20
    )
    assert not np.allclose(flat.scores, rows.scores)
    again = deletion(model, image, ones, first, fill=0, steps=20)
    np.testing.assert_array_equal(flat.scores, again.scores)


def test_ends_are_the_image_and_the_fill(network):
    images, labels, masks = stickers.make(2, seed=3)
    target = class_score(labels)
    down = deletion(network, images, masks.astype(float), target, fill=0)
    up = insertion(network, images, masks.astype(float), target, fill=0)
    clean = network(images).numpy()[range(2), labels]
    black = network(np.zeros_like(images)).numpy()[range(2), labels]
    for curve, begin, end in ((down, clean, black), (up, black, clean)):
        np.testing.assert_allclose(curve.scores[:, 0], begin, rtol=1e-4)
        np.testing.assert_allclose(curve.scores[:, -1], end, rtol=1e-4)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"maps": np.ones((1, 4, 4))}, "maps"),
        ({"maps": np.full((1, 4, 5), np.nan)}, "maps"),
        ({"maps": np.ones((1, 4, 5), complex)}, "maps"),
        ({"steps": 0}, "steps"),
        ({"steps": 21}, "steps"),
        ({"steps": 2.0}, "steps"),
        ({"fill": "black"}, "fill"),
        ({"fill": (1, 2)}, "fill"),
        ({"batch_size": 0}, "batch_size"),
        ({"images": np.ones(SHAPE)}, "images"),
    ],
)
def test_bad_input_is_named(wrong, message):
    given = {
        "model": linear_net(np.ones(60)),
        "images": np.ones((1, *SHAPE)),
        "maps": np.ones((1, 4, 5)),
        "target": first,
        "steps": 4,
    }
    with pytest.raises((TypeError, ValueError), match=message):
        deletion(**(given | wrong))


def nested_net():
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, name="conv", activation="relu")(x)
    base = keras.Model(
        x, layers.BatchNormalization(name="norm")(y), name="base"
    )
    x = keras.Input((8, 8, 3))
    y = layers.Flatten()(base(x))
    return keras.Model(x, layers.Dense(3, name="end")(y))


def weights_of(model):
    return {w.path: w.numpy() for w in model.weights}


@pytest.mark.parametrize("cascading", [True, False])
def test_which_layers_are_random_when(cascading):
    model = nested_net()
    before = weights_of(model)
    seen = randomised_maps(model, weights_of, cascading=cascading)
    names = ["end", "base/norm", "base/conv"]
    assert list(seen) == names
    for stage, layer in enumerate(names):
        changed = {
            path.split("/")[-2]
            for path, values in seen[layer].items()
            if not np.array_equal(values, before[path])
        }
        # A fresh norm holds ones and zeros: shuffled they are the same.
        random = names[: stage + 1] if cascading else [layer]
        assert changed == {n.split("/")[-1] for n in random} - {"norm"}
        for path, values in seen[layer].items():
            if values.ndim == 1:  # variances stay positive
                old, new = np.sort(before[path]), np.sort(values)
                np.testing.assert_array_equal(old, new)
    for path, values in weights_of(model).items():
        np.testing.assert_array_equal(values, before[path])


def test_a_layer_gets_the_same_weights_whatever_the_others():
    model = nested_net()
    together = randomised_maps(model, weights_of, ["end", "base/conv"])
    alone = randomised_maps(model, weights_of, ["base/conv"])
    other = randomised_maps(model, weights_of, ["base/conv"], seed=1)
    kernel = next(p for p in weights_of(model) if "conv/kernel" in p)
    one, two = together["base/conv"][kernel], alone["base/conv"][kernel]
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other["base/conv"][kernel])


def test_kernels_keep_their_size_and_lose_their_mean():
    model = keras.Sequential([keras.Input(SHAPE), layers.Conv2D(300, 3)])
    kernel, bias = model.get_weights()
    model.set_weights([3 + 2 * kernel, bias + np.arange(300)])
    old = model.get_weights()
    name = model.layers[0].name
    new = randomised_maps(model, lambda model: model.get_weights())[name]
    assert abs(new[0].mean()) < 0.05 * old[0].mean()
    assert new[0].std() == pytest.approx(old[0].std(), rel=0.05)
    correlation = np.corrcoef(new[0].ravel(), old[0].ravel())[0, 1]
    assert abs(correlation) < 0.05
    np.testing.assert_array_equal(np.sort(new[1]), np.arange(300))
    assert (new[1] != old[1]).mean() > 0.9


def test_layers_go_together():
    model = nested_net()
    seen = randomised_maps(model, weights_of, [["end", "base/conv"]])
    assert list(seen) == ["end"]
    before = weights_of(model)
    changed = [
        p for p in before if not np.array_equal(before[p], seen["end"][p])
    ]
    assert {p.split("/")[-2] for p in changed} == {"end", "conv"}


def test_an_exception_leaves_the_model_as_it_was():
    model = nested_net()
    before = weights_of(model)
    calls = []

    def fails(model):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 0

    with pytest.raises(KeyboardInterrupt):
        randomised_maps(model, fails)
    for path, values in weights_of(model).items():
        np.testing.assert_array_equal(values, before[path])


def test_maps_of_the_random_network_are_those_of_such_a_network(network):
    """No stale map: a network built with the shuffled weights agrees."""
    images, labels, _ = stickers.make(2, seed=5)
    target = class_score(labels)
    stored = {}

    def method(model):
        stored["weights"] = model.get_weights()
        return saliency(model, images, target)

    intact = saliency(network, images, target)
    found = randomised_maps(network, method, ["logits"])["logits"]
    fresh = networks.stickers_net(weights=None)
    fresh.set_weights(stored["weights"])
    expected = saliency(fresh, images, target)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)
    assert not np.allclose(found, intact, rtol=0.1)
    np.testing.assert_array_equal(saliency(network, images, target), intact)


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": "end"},
        {"layers": []},
        {"layers": ["flatten"]},
        {"layers": ["nowhere"]},
        {"layers": ["end", "end"]},
        {"layers": [[]]},
        {"seed": -1},
        {"seed": 0.5},
    ],
)
def test_bad_layers_are_named(wrong):
    with pytest.raises((TypeError, ValueError), match=r"layer|seed"):
        randomised_maps(nested_net(), weights_of, **wrong)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 9, (3, 8, 9)).astype(float)  # with ties
    other = one + rng.integers(0, 9, (3, 8, 9))
    expected = [
        spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other)
    ]
    np.testing.assert_allclose(rank_correlation(one, other), expected)
    assert rank_correlation(one, np.exp(one)) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert (rank_correlation(one, np.ones_like(one)) == 0).all()


def test_similarity_by_hand():
    """SSIM of one window, from its definition."""
    rng = np.random.default_rng(1)
    one, other = rng.uniform(size=(2, 1, 7, 7))
    a, b = one / one.max(), other / other.max()
    covariance = np.cov(a.ravel(), b.ravel())
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * a.mean() * b.mean() + c1) * (2 * covariance[0, 1] + c2)
    expected /= a.mean() ** 2 + b.mean() ** 2 + c1
    expected /= covariance[0, 0] + covariance[1, 1] + c2
    found = structural_similarity(one, other)
    assert found == pytest.approx(expected)
    assert structural_similarity(one, 5 * one) == pytest.approx(1)
    centred = one - one.mean()
    assert structural_similarity(centred, -centred) < -0.9
    zeros = np.zeros_like(one)
    assert structural_similarity(zeros, zeros) == pytest.approx(1)


@pytest.mark.parametrize("measure", [rank_correlation, structural_similarity])
def test_pairs_must_fit(measure):
    maps = np.ones((2, 8, 8))
    for others in (maps[:1], maps[0], np.full((2, 8, 8), np.inf)):
        with pytest.raises(ValueError, match=r"maps|others"):
            measure(maps, others)
    with pytest.raises(TypeError, match="others"):
        measure(maps, maps.astype(str))


class Hidden(keras.Model):
    """A subclassed model: its layers can't be seen from outside."""

    def __init__(self, **options):
        super().__init__(**options)
        self.convolution = layers.Conv2D(4, 3)

    def call(self, x):
        return self.convolution(x)


def test_what_can_not_be_seen_through_is_randomised_as_a_whole():
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            Hidden(name="backbone"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="end"),
        ]
    )
    before = weights_of(model)
    seen = randomised_maps(model, weights_of, cascading=False)
    assert list(seen) == ["end", "backbone"]
    changed = [p for p in before if (before[p] != seen["backbone"][p]).any()]
    assert len(changed) == 1 and changed[0].endswith("kernel")


def test_numbers_stay_and_constant_kernels_do_not_vanish():
    scale = layers.Normalization(name="scale")
    scale.adapt(np.random.default_rng(0).normal(3, 2, (5, *SHAPE)))
    ones = layers.DepthwiseConv2D(2, depthwise_initializer="ones", name="one")
    model = keras.Sequential([keras.Input(SHAPE), scale, ones])
    before = [w.numpy() for w in model.weights]
    seen = randomised_maps(model, lambda m: [w.numpy() for w in m.weights])
    for old, new in zip(before, seen["scale"]):
        assert old.shape == new.shape
        if not old.ndim:
            assert old == new
    kernel = seen["one"][-2]
    assert kernel.ndim == 4 and 0.1 < np.abs(kernel).mean() < 2
    for old, new in zip(before, model.weights):
        np.testing.assert_array_equal(old, new.numpy())


def test_layers_and_methods_of_the_wrong_kind_are_named():
    model = nested_net()
    with pytest.raises(ValueError, match="layers must be a list of names"):
        randomised_maps(model, weights_of, model.layers[-1:])
    with pytest.raises(TypeError, match="method must be a function"):
        randomised_maps(model, None)
