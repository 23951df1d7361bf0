"""How the weights are made: it learns, and a kill costs at most an epoch."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xai_utils import networks, training

SMALL = {"bodies": 448, "epochs": 3, "verbose": 0}
CHILD = f"""
import sys
from xai_utils import training
training.train_silhouettes_net("independent", folder=sys.argv[1], **{SMALL})
"""


def test_learns_from_nothing():
    """Six short epochs: above the 10 % of guessing."""
    model, curve = training.train_stickers_net(
        pictures=1_000, epochs=6, verbose=0
    )
    assert training.accuracy(model, n=500) > 0.15
    assert [row["epoch"] for row in curve] == [1, 2, 3, 4, 5, 6]
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_killed_in_mid_epoch_it_goes_on_to_the_same_weights(tmp_path):
    folder = tmp_path / "state"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, folder], cwd=Path(__file__).parents[1]
    )
    until = time.monotonic() + 120
    while not (folder / "epoch-001").exists() and child.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    child.wait()
    assert [path.name for path in folder.glob("epoch-*")] == ["epoch-001"]
    # Half of a second state, as if killed while it was written.
    (folder / "unfinished").mkdir(exist_ok=True)
    (folder / "unfinished" / "model.keras").write_bytes(b"half")
    resumed, curve = training.train_silhouettes_net(
        "independent", folder=folder, **SMALL
    )
    straight, whole = training.train_silhouettes_net("independent", **SMALL)
    assert [row["epoch"] for row in curve] == [1, 2, 3]
    assert curve == whole
    for one, other in zip(resumed.get_weights(), straight.get_weights()):
        np.testing.assert_array_equal(one, other)


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


def test_a_name_that_is_none():
    with pytest.raises(SystemExit, match="among stickers.*; got dogs"):
        training.main(["dogs"])
