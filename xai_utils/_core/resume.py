"""Training that goes on where it was killed, to the very same weights."""

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

UNFINISHED = "unfinished"


def fit(
    model: keras.Model,
    batches: keras.utils.PyDataset,
    epochs: int,
    unseen: tuple[np.ndarray, np.ndarray],
    folder: str | os.PathLike | None,
    verbose: str | int,
    identity: dict,
) -> tuple[keras.Model, list[dict]]:
    """Train to the last epoch, from the state in `folder` if there is one.

    An empty file beside the folder, with its name and ``.lock``, keeps a
    second run out of it; it stays.

    Args:
        model: compiled.
        batches: with their random generator in `rng` and the order of the
            examples, an array of integers, in `order`.
        epochs: how often to go through the batches, in all.
        unseen: images and labels to measure on after each epoch.
        folder: where to keep the state after each epoch; None: nowhere.
        verbose: as in `keras.Model.fit`.
        identity: all arguments that determine the result, by name.

    Returns:
        The trained model, and the learning curve: a dict of numbers for each
        epoch.

    Raises:
        ValueError: the folder has the state of a training with another
            identity.
        RuntimeError: the state can't be read, or another run is at work in
            the folder.
    """
    if folder is None:
        return _fit(model, batches, epochs, unseen, verbose, _Curve())
    identity = {**identity, "floatx": keras.config.floatx()}
    with _alone(folder):
        state = _State(batches, Path(folder), _plain(identity))
        model = state.restore() or model
        return _fit(model, batches, epochs, unseen, verbose, state)


def forget(folder: str | os.PathLike) -> None:
    """Delete the state that `fit` kept in a folder.

    Raises:
        RuntimeError: another run is at work in the folder.
    """
    with _alone(folder):
        for path in _saved(Path(folder)):
            _delete(path)
        if Path(folder).exists():
            shutil.rmtree(folder)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path`, to write to, that then takes its place.

    Whoever is killed while writing leaves the old file as it was.
    """
    beside = path.with_name(f"{UNFINISHED}_{path.name}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _fit(model, batches, epochs, unseen, verbose, curve):
    model.fit(
        batches,
        epochs=epochs,
        initial_epoch=len(curve.rows),
        validation_data=unseen,
        callbacks=[curve],
        verbose=verbose,
    )
    return model, curve.rows


class _Curve(keras.callbacks.Callback):
    """Keeps the learning curve."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        numbers = {name: float(value) for name, value in logs.items()}
        self.rows.append({"epoch": epoch + 1, **numbers})


class _State(_Curve):
    """Keeps all that the next epoch depends on: weights, optimiser, and both
    random generators, that of the batches and Python's own, by which Keras
    shuffles them."""

    def __init__(self, batches, folder, identity):
        super().__init__()
        self.batches, self.folder, self.identity = batches, folder, identity
        self.draws = None  # the random generators after the last saved epoch

    def on_train_begin(self, logs=None):
        # Not earlier: Keras draws two batches before, to see what they are.
        if self.draws:
            generator, self.batches.order, shuffles = self.draws
            self.batches.rng.bit_generator.state = generator
            random.setstate(shuffles)

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        unfinished = self.folder / UNFINISHED
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(parents=True)
        self.model.save(unfinished / "model.keras")
        (unfinished / "state.json").write_text(
            json.dumps(self._to_json()), encoding="utf-8"
        )
        older = _saved(self.folder)
        # To rename takes no time in which a kill could leave half a state.
        os.replace(unfinished, self.folder / f"epoch-{epoch + 1:03}")
        for path in older:
            _delete(path)

    def restore(self):
        """The model after the last epoch that was saved, or None."""
        saved = _saved(self.folder)
        if not saved:
            return None
        with _say_what_to_delete(saved[-1]):
            text = (saved[-1] / "state.json").read_text("utf-8")
            identity = self._from_json(json.loads(text))
        self._check(identity)
        with _say_what_to_delete(saved[-1]):
            model = keras.saving.load_model(saved[-1] / "model.keras")
        print(f"going on after {saved[-1]}")
        return model

    def _to_json(self):
        return {
            "identity": self.identity,
            "curve": self.rows,
            "generator": self.batches.rng.bit_generator.state,
            "order": self.batches.order.tolist(),
            "shuffles": random.getstate(),
        }

    def _from_json(self, state):
        version, internal, gauss = state["shuffles"]
        self.draws = (
            state["generator"],
            np.array(state["order"]),
            (version, tuple(internal), gauss),
        )
        self.rows = state["curve"]
        return dict(state["identity"])

    def _check(self, stored):
        """Raise a ValueError unless the state is of the same training."""
        if stored == self.identity:
            return
        now = self.identity
        others = [
            f"{name} was {stored.get(name)!r} and is {now.get(name)!r}"
            for name in {**stored, **now}
            if stored.get(name) != now.get(name)
        ]
        raise ValueError(
            f"folder has the state of another training: {', '.join(others)}. "
            f"Delete the folder {self.folder} to train from nothing, or name "
            "another one"
        )


def _saved(folder):
    """The states in a folder, the last one at the end."""
    return sorted(
        folder.glob("epoch-[0-9]*"),
        key=lambda path: int(path.name.removeprefix("epoch-")),
    )


def _delete(path):
    """Delete a state. A kill leaves none of that name that is not whole."""
    unfinished = path.with_name(UNFINISHED)
    if unfinished.exists():
        shutil.rmtree(unfinished)
    os.replace(path, unfinished)
    shutil.rmtree(unfinished)


def _plain(values):
    """As JSON would give them back: Python's own numbers for NumPy's."""
    return json.loads(json.dumps(values, default=lambda value: value.item()))


@contextmanager
def _say_what_to_delete(path):
    """One error that helps, for whatever a state may suffer from."""
    try:
        yield
    except Exception as error:  # Keras has no one error for a broken file
        raise RuntimeError(
            f"the state {path} can't be read ({type(error).__name__}: "
            f"{error}). Delete the folder {path}: the same command then goes "
            "on from the epoch before, if there is one, or from nothing"
        ) from error


@contextmanager
def _alone(folder):
    """No other run is at work in the folder meanwhile.

    The system holds the lock and drops it when a process ends, in whatever
    way: the file may stay, it says nothing.
    """
    path = Path(folder).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f"{path.name}.lock"), "a+b") as file:
        try:
            _lock(file)
        except (BlockingIOError, PermissionError) as error:
            raise RuntimeError(
                f"another run is at work in the folder {folder}: wait for its "
                "end, or name another folder"
            ) from error
        yield


def _lock(file):
    """Until the file is closed; an error at once if it is locked."""
    if os.name == "nt":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
