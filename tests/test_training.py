"""How the weights are made: it learns, and a kill costs at most an epoch."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from xai_utils import networks, training
from xai_utils.data import silhouettes, stickers

pytestmark = pytest.mark.quick

SMALL = {"bodies": 128, "epochs": 3, "verbose": 0}
ROOT = Path(__file__).parents[1]
CHILD = "import sys, test_training as t; t.train_until_killed(sys.argv[1])"


@pytest.fixture
def double():
    """Double precision, where the order of a sum changes no weight."""
    before = keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy(before)


def tiny_net(weights=None):
    """In place of `silhouettes_net`: what is kept does not hang on it."""
    pixels = keras.Input((128, 128, 3))
    x = layers.AveragePooling2D(16)(pixels)
    x = layers.Dense(8, activation="relu")(layers.Flatten()(x))
    return keras.Model(pixels, layers.Dense(1)(x))


def train_until_killed(folder):
    """Ends at the second batch of the second epoch as a killed process does:
    at once, with nothing closed or cleaned up."""
    keras.config.set_floatx("float64")
    networks.silhouettes_net = tiny_net
    mirror, batches = training.mirror, []

    def killed(images, rng):
        if Path(folder, "epoch-001").exists():
            batches.append(len(images))
        if len(batches) == 2:
            os._exit(9)
        return mirror(images, rng)

    training.mirror = killed
    training.train_silhouettes_net("independent", folder=folder, **SMALL)


def test_learns_from_nothing(monkeypatch):
    """A batch of 64 by heart in twelve steps, seen in its own colours."""
    seen = []

    def in_own_colours(images, rng):
        seen.append(len(images))
        return images.astype(np.float32)

    monkeypatch.setattr(training, "recolour", in_own_colours)
    model, curve = training.train_stickers_net(
        pictures=64, epochs=12, verbose=0
    )
    assert seen.count(64) >= 12
    assert [row["epoch"] for row in curve] == list(range(1, 13))
    # Whoever always names the most frequent class is right on 17 %.
    _, labels, _ = stickers.make(64, seed=0, split="train")
    assert np.bincount(labels).max() / 64 < 0.18
    assert curve[0]["loss"] == pytest.approx(np.log(10), abs=0.2)
    assert curve[-1]["loss"] < 1.6 and curve[-1]["accuracy"] > 0.4
    assert {"val_loss", "val_accuracy"} <= set(curve[-1])
    images, labels, _ = stickers.make(64, seed=0, split="train")
    right = model(images.astype(np.float32)).numpy().argmax(axis=1) == labels
    assert right.mean() > 0.4


def test_killed_in_mid_epoch_it_goes_on_to_the_same_weights(
    tmp_path, monkeypatch, double
):
    folder = tmp_path / "state"
    search = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, folder],
        env={**os.environ, "PYTHONPATH": search},
    )
    monkeypatch.setattr(networks, "silhouettes_net", tiny_net)
    straight, whole = training.train_silhouettes_net("independent", **SMALL)
    assert child.wait() == 9
    assert [path.name for path in folder.iterdir()] == ["epoch-001"]
    # Half of a second state, as if killed while it was written.
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "model.keras").write_bytes(b"half")
    resumed, curve = training.train_silhouettes_net(
        "independent", folder=folder, **SMALL
    )
    assert [row["epoch"] for row in curve] == [1, 2, 3]
    for one, other in zip(curve, whole):
        assert one == pytest.approx(other, rel=1e-9)
    for one, other in zip(resumed.get_weights(), straight.get_weights()):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_the_command_ships_weights_without_optimiser_and_the_curve(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(networks, "WEIGHTS", tmp_path)
    monkeypatch.setattr(
        training.train_silhouettes_net, "__defaults__", (64, 2, 0, None, 0)
    )
    monkeypatch.setattr(training.error, "__defaults__", (8, 1))
    training.main(["silhouettes_correlated"])
    printed = capsys.readouterr().out
    assert "mean absolute error on 2,000 unseen people" in printed
    model = networks.silhouettes_net("correlated")
    values = 4 * model.count_params()
    size = (tmp_path / "silhouettes_correlated.weights.h5").stat().st_size
    assert values < size < 1.3 * values
    curve = pd.read_csv(tmp_path / "silhouettes_correlated.csv")
    assert list(curve.epoch) == [1, 2] and "val_mae" in curve
    assert not any((tmp_path / ".training").iterdir()), "all is done"


def test_accuracy_and_error_by_hand():
    model = networks.stickers_net()
    images, labels, _ = stickers.make(100, seed=7, split="test")
    logits = model(images.astype(np.float32)).numpy()
    right = sum(
        max(range(10), key=row.__getitem__) == label
        for row, label in zip(logits, labels)
    )
    assert 90 < right < 100  # some are wrong, or they would not count
    assert training.accuracy(model, n=100, seed=7) == right / 100
    model = networks.silhouettes_net("correlated")
    images, waists, _ = silhouettes.make(20, seed=7, population="correlated")
    measured = model(images.astype(np.float32)).numpy()[:, 0]
    by_hand = sum(abs(m - waist) for m, waist in zip(measured, waists)) / 20
    assert training.error(model, "correlated", n=20, seed=7) == (
        pytest.approx(by_hand, rel=2e-3)
    )


def test_people_are_drawn_in_parts_of_the_whole():
    images, waists, _ = silhouettes.make(7, seed=3, population="correlated")
    grey, same = training._grey(7, 3, "correlated", part=3)
    np.testing.assert_array_equal(training.in_colour(grey), images)
    np.testing.assert_array_equal(same, waists)


def test_each_epoch_draws_each_picture_once_in_another_order():
    numbers = np.arange(130)
    batches = training.Batches(
        numbers, 10 * numbers, lambda images, rng: images, seed=0
    )
    orders = []
    for _ in range(2):
        drawn = [batches[i] for i in range(len(batches))]
        for images, labels in drawn:
            assert len(images) == 64 and (labels == 10 * images).all()
        orders.append(np.concatenate([images for images, _ in drawn]))
        assert len(set(orders[-1])) == 128
        batches.on_epoch_end()
    assert (orders[0] != orders[1]).any() and (orders[0] != range(128)).any()


def test_recolour_keeps_the_shapes():
    """Each colour is one of the old channels, perhaps mirrored or inverted,
    with one contrast a picture."""
    images, _, _ = stickers.make(3, seed=0)
    swapped, mirrored, inverted = set(), set(), set()
    for seed in range(20):
        found = training.recolour(images, np.random.default_rng(seed))
        assert found.dtype == np.float32 and found.shape == images.shape
        # With an orientation of the picture each channel is a straight line
        # of some old channel, through (127.5, 127.5).
        for sides in (1, -1):
            old = images[:, :, ::sides].astype(float) - 127.5
            fits = [
                [
                    channel
                    for channel in range(3)
                    if abs(_correlation(old[..., channel], found[..., k]))
                    > (1 - 1e-6)
                ]
                for k in range(3)
            ]
            if all(fits):
                break
        channels = tuple(fit[0] for fit in fits)
        assert sorted(channels) == [0, 1, 2]
        old = old[..., list(channels)]
        slopes = (old * (found - 127.5)).sum(axis=(1, 2, 3)) / (old**2).sum(
            axis=(1, 2, 3)
        )
        expected = 127.5 + slopes[:, None, None, None] * old
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert len(set(np.sign(slopes))) == 1
        assert (np.abs(slopes) >= 0.5).all() and (np.abs(slopes) <= 1.2).all()
        swapped.add(channels)
        mirrored.add(sides)
        inverted.add(np.sign(slopes[0]))
    assert len(swapped) > 3 and len(mirrored) == len(inverted) == 2


def _correlation(first, second):
    """Of the first picture of both."""
    return np.corrcoef(first[0].ravel(), second[0].ravel())[0, 1]


def test_mirror_turns_half_of_the_pictures():
    grey = silhouettes.make(60, seed=0)[0][..., :1]
    found = training.mirror(grey, np.random.default_rng(0))
    assert found.dtype == np.float32 and found.shape == (60, 128, 128, 3)
    turned = 0
    for old, new in zip(grey, found):
        assert (new == new[..., :1]).all()
        same = (new[..., 0] == old[..., 0]).all()
        turned += not same
        assert same or (new[:, ::-1, 0] == old[..., 0]).all()
    assert 18 < turned < 42


def test_a_name_that_is_none():
    with pytest.raises(SystemExit, match="among stickers.*; got dogs"):
        training.main(["dogs"])
