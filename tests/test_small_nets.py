"""The small networks of notebooks 06 and 07."""

from pathlib import Path

import keras
import numpy as np
import pytest

from xai_utils import small_nets
from xai_utils.data import stickers
from xai_utils.small_nets import (
    MOMENTS,
    STARTS,
    STEMS,
    VARIANTS,
    ablated,
    ablation_net,
    from_few,
    half_size,
    stem,
    stem_net,
    train,
    training_error,
)

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def unseen():
    images, labels, _ = stickers.make(150, seed=71)
    return half_size(images), labels


def share_right(model, unseen):
    images, labels = unseen
    return np.mean(model(images).numpy().argmax(axis=1) == labels)


def test_half_size_is_the_mean_of_four_pixels():
    images, _, _ = stickers.make(2, seed=0)
    small = half_size(images)
    assert small.shape == (2, 48, 48, 3) and small.dtype == np.float32
    four = images[1, 20:22, 62:64].astype(float)
    np.testing.assert_allclose(small[1, 10, 31], four.mean((0, 1)))


def test_layers_are_taken_away_and_no_others():
    def names(model):
        return {layer.name for layer in model.layers if layer.weights}

    complete = names(ablation_net())
    numbered = {int(name[-1]) for name in complete - {"logits"}}
    assert numbered == {1, 2, 3, 4, 5, 6, 7}
    for without in VARIANTS.values():
        gone = complete - names(ablation_net(without))
        assert {int(name[-1]) for name in gone} == set(without)


def test_each_stem_hands_on_a_map_of_the_same_size():
    for size, stride, pool in STEMS.values():
        model = stem_net((size, stride, pool))
        first = model.get_layer("conv1")
        assert first.kernel.shape[:2] == (size, size)
        assert first.strides == (stride, stride)
        assert model.get_layer("conv2").input.shape[1:] == (12, 12, 8)
        assert model.output_shape == (None, 10)


@pytest.mark.parametrize("name", STEMS)
def test_the_stored_stems_learned_in_between(name, unseen):
    shares = [share_right(stem(name, step), unseen) for step in MOMENTS]
    assert shares[0] < 0.25 and shares[-1] > 0.7
    assert shares == sorted(shares)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_stored_variants_name_unseen_pictures(name, unseen):
    models = [ablated(name, start) for start in range(STARTS)]
    assert all(share_right(model, unseen) > 0.8 for model in models)
    first = [model.get_weights()[0] for model in models]
    assert not np.allclose(first[0], first[1])


def test_from_few_knows_its_own_pictures_only():
    images, labels, _ = stickers.make(
        200, seed=5, split="train", classes=small_nets.NEW_CLASSES
    )
    assert share_right(from_few(), (half_size(images), labels)) > 0.95
    images, labels, _ = stickers.make(
        100, seed=71, classes=small_nets.NEW_CLASSES
    )
    assert share_right(from_few(), (half_size(images), labels)) < 0.5


def test_double_precision_says_the_same(unseen):
    images = unseen[0][:20]
    single, double = (
        ablated("complete", 1, dtype)(images).numpy()
        for dtype in (None, "float64")
    )
    assert (single.dtype, double.dtype) == ("float32", "float64")
    np.testing.assert_allclose(single, double, atol=0.01 * double.max())


def test_training_learns_and_keeps_the_moments():
    images, labels, _ = stickers.make(16, seed=3, split="train")
    keras.utils.set_random_seed(0)
    model = ablation_net((3, 4, 6, 7))
    before = model.get_weights()
    kept = train(model, half_size(images), labels, (0, 10, 40), seed=1)
    assert list(kept) == [0, 10, 40]
    for step, weights in ((0, before), (40, model.get_weights())):
        for a, b in zip(kept[step], weights):
            np.testing.assert_array_equal(a, b)
    assert not np.allclose(kept[10][0], kept[40][0])
    assert share_right(model, (half_size(images), labels)) > 0.8


@pytest.fixture
def untrained(monkeypatch, tmp_path):
    """No training: all is named class 0, and the seed stands in its bias. The
    weights go to a folder of the test's own."""

    def train_not(model, images, labels, steps, seed=0):
        model.layers[-1].bias.assign([seed + 0.5] + [-100] * 9)
        assert images.shape[1:] == (48, 48, 3) and len(labels) == len(images)
        return {step: model.get_weights() for step in steps}

    def draw(n, **_):
        return np.zeros((4, 96, 96, 3), np.uint8), np.array([0, 0, 0, 1]), None

    two = {"complete": (), "without all four": (3, 4, 6, 7)}
    monkeypatch.setattr(small_nets, "VARIANTS", two)
    monkeypatch.setattr(small_nets, "train", train_not)
    monkeypatch.setattr(small_nets, "WEIGHTS", tmp_path)
    monkeypatch.setattr(stickers, "make", draw)
    return tmp_path


def test_what_the_command_trains_is_what_the_loaders_read(untrained):
    def bias(model):
        return model.layers[-1].bias.numpy()[0]

    small_nets.main()
    for name in STEMS:
        assert [bias(stem(name, step)) for step in MOMENTS] == [0.5] * 4
    for name in small_nets.VARIANTS:
        biases = [bias(ablated(name, start)) for start in range(STARTS)]
        assert biases == [0.5, 1.5, 2.5]
        assert training_error(name, STARTS - 1) == 0.25
    assert bias(from_few()) == 0.5
    names = {path.name for path in untrained.iterdir()}
    assert names == {"stems.npz", "ablation.npz"}


def test_shipped_weights_are_not_written_over(untrained, monkeypatch):
    def fails_half_way(path, **_):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    old = untrained / "stems.npz"
    old.write_bytes(b"the old one")
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", fails_half_way)
        with pytest.raises(OSError, match="disk full"):
            small_nets.main()
    assert old.read_bytes() == b"the old one"
    assert list(untrained.iterdir()) == [old]
    small_nets.main()
    assert stem(next(iter(STEMS))).output_shape == (None, 10)


def test_weights_are_small():
    for name, most in (("stems", 1.1), ("ablation", 1.2)):
        path = small_nets.WEIGHTS / f"{name}.npz"
        assert path.stat().st_size < most * 1e6


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: stem("7 x 7"), "name must be one of 11 × 11, stride 4, "),
        (lambda: stem("7 × 7, stride 1", 7), "step must be one of 0, 100"),
        (lambda: ablated("all"), "name must be one of complete, "),
        (lambda: training_error("all"), "name must be one of complete, "),
        (lambda: ablated("complete", 3), "start must be one of 0, 1, 2;"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
