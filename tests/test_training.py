"""How the weights are made: it learns, and a kill costs at most an epoch."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from xai_utils import networks, training
from xai_utils._core import resume
from xai_utils.data import silhouettes, stickers

SMALL = {"bodies": 128, "epochs": 3, "verbose": 0}
TINY = {"bodies": 64, "epochs": 2, "verbose": 0}
ROOT = Path(__file__).parents[1]
SEARCH = os.pathsep.join([str(ROOT), str(ROOT / "tests")])


@pytest.fixture
def double():
    with double_precision():
        yield


@contextmanager
def double_precision():
    """Where the order of a sum changes no weight."""
    before = keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy(before)


def tiny_net(weights=None):
    """In place of `silhouettes_net`: what is kept does not hang on it."""
    pixels = keras.Input((128, 128, 3))
    x = layers.AveragePooling2D(16)(pixels)
    x = layers.Dense(8, activation="relu")(layers.Flatten()(x))
    return keras.Model(pixels, layers.Dense(1)(x))


def child(function, folder):
    """A process of its own that calls a function of this file."""
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys, test_training as t; t.{function}(sys.argv[1])",
            folder,
        ],
        env={**os.environ, "PYTHONPATH": SEARCH},
    )


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
    killed = child("train_until_killed", folder)
    monkeypatch.setattr(networks, "silhouettes_net", tiny_net)
    straight, whole = training.train_silhouettes_net("independent", **SMALL)
    assert killed.wait() == 9
    assert [path.name for path in folder.iterdir()] == ["epoch-001"]
    # Half of a second state, as if killed while it was written.
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "model.keras").write_bytes(b"half")
    resumed, curve = training.train_silhouettes_net(
        "independent", folder=folder, **SMALL
    )
    assert [row["epoch"] for row in curve] == [1, 2, 3]
    for row, same in zip(curve, whole):
        assert row == pytest.approx(same, rel=1e-9)
    assert all(w.dtype == np.float64 for w in resumed.get_weights())
    assert_same_weights(resumed, straight)


def assert_same_weights(model, other):
    for weights, same in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_allclose(weights, same, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the state after both epochs, and the model's weights."""
    folder = tmp_path_factory.mktemp("finished") / "state"
    with pytest.MonkeyPatch.context() as patch, double_precision():
        patch.setattr(networks, "silhouettes_net", tiny_net)
        model, _ = training.train_silhouettes_net(
            "independent", folder=folder, **TINY
        )
    return folder, model


@pytest.fixture
def trained(finished, tmp_path, monkeypatch, double):
    """A copy of the folder, and the model."""
    monkeypatch.setattr(networks, "silhouettes_net", tiny_net)
    folder, model = finished
    return Path(shutil.copytree(folder, tmp_path / "state")), model


def train_in(folder, **arguments):
    model, _ = training.train_silhouettes_net(
        **{"population": "independent", **TINY, **arguments}, folder=folder
    )
    return model


def test_a_finished_training_is_read_and_not_repeated(trained):
    folder, model = trained
    again, curve = training.train_silhouettes_net(
        "independent", folder=folder, **TINY
    )
    assert_same_weights(again, model)
    assert [row["epoch"] for row in curve] == [1, 2]


@pytest.mark.parametrize(
    "changed, says",
    [
        (
            {"population": "correlated"},
            "population was 'independent' and is 'correlated'.",
        ),
        ({"seed": 1}, "seed was 0 and is 1."),
        ({"epochs": 1}, "epochs was 2 and is 1."),
        ({"epochs": np.int64(3)}, "epochs was 2 and is 3."),
        ({"bodies": 65}, "bodies was 64 and is 65."),
        ({"bodies": 65, "seed": 7}, "bodies was 64 and is 65, seed was 0 and"),
    ],
)
def test_a_state_of_other_arguments_is_an_error(trained, changed, says):
    folder, _ = trained
    with pytest.raises(ValueError, match="another training") as caught:
        train_in(folder, **changed)
    assert says in str(caught.value)


def follow_the_advice(error):
    """Delete the folder that an error message says to delete."""
    text = str(error)
    (name,) = re.findall("Delete the folder (.*?)(?:: the same| to tra)", text)
    shutil.rmtree(name)
    return Path(name)


def test_without_the_state_other_arguments_train_from_nothing(trained):
    folder, _ = trained
    with pytest.raises(ValueError, match="or name another one") as caught:
        train_in(folder, population="correlated")
    elsewhere = train_in(folder.with_name("other"), population="correlated")
    assert follow_the_advice(caught.value) == folder
    assert_same_weights(train_in(folder, population="correlated"), elsewhere)


def test_a_state_of_another_network_or_precision_is_an_error(trained):
    folder, _ = trained
    with pytest.raises(
        ValueError,
        match="network was 'silhouettes' and is 'stickers', "
        "population was 'independent' and is None",
    ):
        training.train_stickers_net(64, 2, folder=folder, verbose=0)
    keras.config.set_floatx("float32")
    with pytest.raises(ValueError, match="floatx was 'float64' and is 'floa"):
        train_in(folder)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: cut(state / "state.json", 0),
        lambda state: cut(state / "state.json", 1_000),
        lambda state: (state / "state.json").write_text("{}"),
        lambda state: (state / "state.json").write_text("[1]"),
        lambda state: (state / "state.json").unlink(),
        lambda state: cut(state / "model.keras", 0),
        lambda state: cut(state / "model.keras", 2_000),
        lambda state: (state / "model.keras").unlink(),
    ],
)
def test_a_state_that_cannot_be_read_says_what_to_delete(trained, spoil):
    folder, _ = trained
    spoil(folder / "epoch-002")
    with pytest.raises(RuntimeError, match="can't be read") as caught:
        train_in(folder)
    assert follow_the_advice(caught.value) == folder / "epoch-002"


def test_without_a_broken_state_training_goes_on_from_the_one_before(
    trained, capsys
):
    folder, model = trained
    (folder / "epoch-1000").mkdir()  # by the alphabet it comes before 999
    (folder / "epoch-002").rename(folder / "epoch-999")
    with pytest.raises(RuntimeError, match="epoch-1000 can't") as caught:
        train_in(folder)
    follow_the_advice(caught.value)
    assert_same_weights(train_in(folder), model)
    assert "epoch-999" in capsys.readouterr().out
    cut(folder / "epoch-999" / "state.json", 1_000)
    with pytest.raises(RuntimeError, match="or from nothing") as caught:
        train_in(folder)
    follow_the_advice(caught.value)
    assert_same_weights(train_in(folder), model)


class Harmful:
    """A pickle that leaves a file behind where it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_code_is_run_from_the_folder(trained, tmp_path):
    folder, _ = trained
    state, mark = folder / "epoch-002", tmp_path / "mark"
    (state / "rest.pickle").write_bytes(pickle.dumps(Harmful(mark)))
    text = (state / "state.json").read_text()
    (state / "state.json").write_bytes(pickle.dumps(Harmful(mark)))
    with pytest.raises(RuntimeError, match="state.*can't be read"):
        train_in(folder)
    (state / "state.json").write_text(text)
    pixels = keras.Input((128, 128, 3))
    code = layers.Lambda(lambda x: x[:, 0, 0])(pixels)
    keras.Model(pixels, code).save(state / "model.keras")
    with pytest.raises(RuntimeError, match="can't be read.*safe_mode"):
        train_in(folder)
    assert not mark.exists()


def train_until_told(folder):
    """Waits in the first batch of the second epoch."""
    keras.config.set_floatx("float64")
    networks.silhouettes_net = tiny_net
    mirror = training.mirror

    def waiting(images, rng):
        if Path(folder, "epoch-001").exists():
            Path(folder, "waiting").touch()
            time.sleep(600)
        return mirror(images, rng)

    training.mirror = waiting
    training.train_silhouettes_net("independent", folder=folder, **TINY)


def test_two_runs_in_one_folder(trained, tmp_path):
    _, straight = trained
    folder = tmp_path / "shared"
    running = child("train_until_told", folder)
    try:
        while running.poll() is None and not (folder / "waiting").exists():
            time.sleep(0.1)
        with pytest.raises(RuntimeError, match="another run is .*shared: "):
            train_in(folder)
        with pytest.raises(RuntimeError, match="or name another folder"):
            resume.forget(folder)
        assert (folder / "epoch-001").exists()
        assert_same_weights(train_in(tmp_path / "other"), straight)
    finally:
        running.kill()
        running.wait()
    assert_same_weights(train_in(folder), straight)


def test_killed_while_the_state_is_deleted(trained, monkeypatch):
    folder, model = trained

    def killed(path):
        (Path(path) / "state.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            resume.forget(folder)
    assert_same_weights(train_in(folder), model)
    resume.forget(folder)
    assert not folder.exists()
    resume.forget(folder)  # by the second of two runs


def test_the_state_is_of_this_format(trained):
    """Numbers that a person can read, and exactly the generator's."""
    folder, _ = trained
    state = json.loads((folder / "epoch-002" / "state.json").read_text())
    rng = np.random.default_rng()
    rng.bit_generator.state = state["generator"]
    assert state["identity"]["population"] == "independent"
    assert sorted(state["order"]) == list(range(64))
    assert {path.name for path in (folder / "epoch-002").iterdir()} == {
        "state.json",
        "model.keras",
    }


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
    state = tmp_path / ".training" / "silhouettes_correlated"
    assert not state.exists(), "all is done"
    names = {path.name for path in tmp_path.iterdir()}
    assert not any("unfinished" in name for name in names)


def fails_half_way(path, *_, **__):
    Path(path).write_bytes(b"half")
    raise OSError("disk full")


@pytest.mark.parametrize(
    "owner, method, file",
    [
        (keras.Model, "save_weights", "silhouettes_correlated.weights.h5"),
        (pd.DataFrame, "to_csv", "silhouettes_correlated.csv"),
    ],
)
def test_shipped_files_are_not_written_over(
    owner, method, file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(networks, "WEIGHTS", tmp_path)
    monkeypatch.setattr(networks, "silhouettes_net", tiny_net)
    monkeypatch.setattr(
        training.train_silhouettes_net, "__defaults__", (64, 1, 0, None, 0)
    )
    monkeypatch.setattr(training.error, "__defaults__", (8, 1))
    (tmp_path / file).write_bytes(b"the old one")
    write = getattr(owner, method)
    monkeypatch.setattr(
        owner, method, lambda self, path, **_: fails_half_way(path)
    )
    with pytest.raises(OSError, match="disk full"):
        training.main(["silhouettes_correlated"])
    assert (tmp_path / file).read_bytes() == b"the old one"
    assert not list(tmp_path.glob("unfinished*"))
    monkeypatch.setattr(owner, method, write)
    training.main(["silhouettes_correlated"])
    assert len((tmp_path / file).read_bytes()) > 50


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


def test_people_are_drawn_in_parts_of_the_whole(monkeypatch):
    """What the training hands on, with parts of 64 people and a rest."""
    monkeypatch.setattr(training, "PART", 25)
    handed = []
    monkeypatch.setattr(training, "fit", lambda *args: handed.extend(args))
    training.train_silhouettes_net("correlated", bodies=64, seed=3)
    batches = handed[1]
    images, waists, _ = silhouettes.make(64, seed=3, population="correlated")
    np.testing.assert_array_equal(training.in_colour(batches.images), images)
    np.testing.assert_array_equal(batches.labels, waists)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"bodies": 63}, "bodies must be at least 64; got 63"),
        ({"bodies": 64, "epochs": 0}, "epochs must be at least 1; got 0"),
    ],
)
def test_too_few_pictures_or_epochs(arguments, message):
    with pytest.raises(ValueError, match=message):
        training.train_silhouettes_net("independent", **arguments)
    arguments["pictures"] = arguments.pop("bodies")
    with pytest.raises(ValueError, match=message.replace("bodie", "picture")):
        training.train_stickers_net(**arguments)


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
        changed = training.recolour(images, np.random.default_rng(seed))
        assert changed.dtype == np.float32 and changed.shape == images.shape
        # With an orientation of the picture each channel is a straight line
        # of some old channel, through (127.5, 127.5).
        for sides in (1, -1):
            old = images[:, :, ::sides].astype(float) - 127.5
            fits = [
                [
                    channel
                    for channel in range(3)
                    if abs(_correlation(old[..., channel], changed[..., k]))
                    > (1 - 1e-6)
                ]
                for k in range(3)
            ]
            if all(fits):
                break
        channels = tuple(fit[0] for fit in fits)
        assert sorted(channels) == [0, 1, 2]
        old = old[..., list(channels)]
        slopes = (old * (changed - 127.5)).sum(axis=(1, 2, 3)) / (old**2).sum(
            axis=(1, 2, 3)
        )
        expected = 127.5 + slopes[:, None, None, None] * old
        np.testing.assert_allclose(changed, expected, atol=1e-3)
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
    mirrored = training.mirror(grey, np.random.default_rng(0))
    assert mirrored.dtype == np.float32
    assert mirrored.shape == (60, 128, 128, 3)
    turned = 0
    for old, new in zip(grey, mirrored):
        assert (new == new[..., :1]).all()
        same = (new[..., 0] == old[..., 0]).all()
        turned += not same
        assert same or (new[:, ::-1, 0] == old[..., 0]).all()
    assert 18 < turned < 42


def test_a_name_that_is_none():
    with pytest.raises(SystemExit, match="among stickers.*; got dogs"):
        training.main(["dogs"])
