"""Training that goes on where it was killed, to the very same weights."""

import os
import pickle
import random
import shutil
from pathlib import Path

import keras


def fit(model, batches, epochs, unseen, folder, verbose):
    """Train to the last epoch, from the state in `folder` if there is one.

    Args:
        model: a compiled keras.Model.
        batches: a keras.utils.PyDataset with its random generator in `rng`
            and the order of its examples in `order`.
        epochs: how often to go through the batches, in all.
        unseen: images and labels to measure on after each epoch.
        folder: where to keep the state after each epoch; None: nowhere.
        verbose: as in `keras.Model.fit`.

    Returns:
        The trained model, and the learning curve: a list with a dict of
        numbers for each epoch.
    """
    state = _State(batches, folder and Path(folder))
    model = state.restore() or model
    model.fit(
        batches,
        epochs=epochs,
        initial_epoch=len(state.curve),
        validation_data=unseen,
        callbacks=[state],
        verbose=verbose,
    )
    return model, state.curve


class _State(keras.callbacks.Callback):
    """Keeps all that the next epoch depends on: weights, optimiser, and both
    random generators, that of the batches and Python's own, by which Keras
    shuffles them."""

    def __init__(self, batches, folder):
        super().__init__()
        self.batches, self.folder, self.curve = batches, folder, []
        self.draws = None  # the random generators after the last saved epoch

    def on_train_begin(self, logs=None):
        # Not earlier: Keras draws two batches before, to see what they are.
        if self.draws:
            self.batches.rng, self.batches.order, shuffles = self.draws
            random.setstate(shuffles)

    def on_epoch_end(self, epoch, logs=None):
        self.curve.append({"epoch": epoch + 1, **logs})
        if self.folder is None:
            return
        unfinished = self.folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        self.model.save(unfinished / "model.keras")
        draws = self.batches.rng, self.batches.order, random.getstate()
        (unfinished / "rest.pickle").write_bytes(
            pickle.dumps((draws, self.curve))
        )
        older = self._saved()
        # To rename takes no time in which a kill could leave half a state.
        os.replace(unfinished, self.folder / f"epoch-{epoch + 1:03}")
        for path in older:
            shutil.rmtree(path)

    def restore(self):
        """The model after the last epoch that was saved, or None."""
        if self.folder is None or not self._saved():
            return None
        path = self._saved()[-1]
        self.draws, self.curve = pickle.loads(
            (path / "rest.pickle").read_bytes()
        )
        print(f"going on after {path}")
        return keras.saving.load_model(path / "model.keras")

    def _saved(self):
        return sorted(self.folder.glob("epoch-*"))
