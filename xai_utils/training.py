"""How the shipped weights were made: ``python -m xai_utils.training``.

Names of networks (`stickers`, `silhouettes_independent`,
`silhouettes_correlated`) train only these. The state after each epoch lies in
the folder `.training`. If the command is killed, the same command goes on
from there, and ends with the very same weights.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from . import networks
from ._core.resume import fit, forget, replacing
from .data import silhouettes, stickers

NAMES = ("stickers", "silhouettes_independent", "silhouettes_correlated")

BATCH = 64

#: People are drawn in parts of so many: in colour they need three times as
#: much memory as in grey.
PART = 1_000


def train_stickers_net(
    pictures: int = 40_000,
    epochs: int = 12,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
    verbose: str | int = "auto",
) -> tuple[keras.Model, list[dict]]:
    """Train `networks.stickers_net` from nothing.

    Args:
        pictures: how many training pictures to draw, at least 64.
        epochs: how often the network sees each of them, at least once.
        seed: seed of the pictures, the first weights and the order.
        folder: where to keep the state after each epoch, None: nowhere. If it
            has one, of a run with the same arguments, training goes on there.
        verbose: as in `keras.Model.fit`.

    Returns:
        The trained network, and the learning curve: a dict of numbers for
        each epoch.

    Raises:
        ValueError: too few pictures or epochs; the folder has the state of a
            training with other arguments.
        RuntimeError: the state can't be read, or another run is at work in
            the folder.
    """
    _check("pictures", pictures, BATCH)
    _check("epochs", epochs, 1)
    keras.utils.set_random_seed(seed)
    images, labels, _ = stickers.make(pictures, seed=seed, split="train")
    model = networks.stickers_net(weights=None)
    _compile(
        model,
        epochs * (pictures // BATCH),
        "accuracy",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    unseen, truth, _ = stickers.make(pictures // 40, seed=2, split="test")
    return fit(
        model,
        Batches(images, labels, recolour, seed),
        epochs,
        (unseen.astype(np.float32), truth),
        folder,
        verbose,
        {
            "network": "stickers",
            "pictures": pictures,
            "epochs": epochs,
            "seed": seed,
        },
    )


def train_silhouettes_net(
    population: str,
    bodies: int = 20_000,
    epochs: int = 16,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
    verbose: str | int = "auto",
) -> tuple[keras.Model, list[dict]]:
    """Train `networks.silhouettes_net` from nothing.

    Args:
        population: ``"independent"`` or ``"correlated"``, see `silhouettes`.
        bodies: how many people to draw, at least 64.
        epochs, seed, folder, verbose: as in `train_stickers_net`.

    Returns:
        The trained network and the learning curve, as `train_stickers_net`.

    Raises:
        ValueError, RuntimeError: as `train_stickers_net`.
    """
    _check("bodies", bodies, BATCH)
    _check("epochs", epochs, 1)
    keras.utils.set_random_seed(seed)
    images, waists = _grey(bodies, seed, population)
    model = networks.silhouettes_net(weights=None)
    _compile(model, epochs * (bodies // BATCH), "mae", "mse")
    unseen, truth = _grey(bodies // 20, 2, population)
    return fit(
        model,
        Batches(images, waists, mirror, seed),
        epochs,
        (in_colour(unseen), truth),
        folder,
        verbose,
        {
            "network": "silhouettes",
            "population": population,
            "bodies": bodies,
            "epochs": epochs,
            "seed": seed,
        },
    )


def _check(argument, given, least):
    if given < least:
        raise ValueError(f"{argument} must be at least {least}; got {given}")


def accuracy(model: keras.Model, n: int = 5_000, seed: int = 1) -> float:
    """Share of `n` unseen pictures (split ``"test"``) that `model` names."""
    images, labels, _ = stickers.make(n, seed=seed, split="test")
    logits = model.predict(images.astype(np.float32), verbose=0)
    return float(np.mean(logits.argmax(axis=1) == labels))


def error(
    model: keras.Model, population: str, n: int = 2_000, seed: int = 1
) -> float:
    """Mean absolute error in cm of the waists of `n` unseen people."""
    images, waists = _grey(n, seed, population)
    measured = model.predict(in_colour(images), verbose=0)[:, 0]
    return float(np.mean(np.abs(measured - waists)))


class Batches(keras.utils.PyDataset):
    """Batches of 64 in random order, changed at random from epoch to epoch.

    `change(images, rng)` returns float32 RGB images with the same labels.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        change: Callable[[np.ndarray, np.random.Generator], np.ndarray],
        seed: int,
    ):
        super().__init__()
        self.images, self.labels, self.change = images, labels, change
        self.rng = np.random.default_rng(seed)
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        self.order = self.rng.permutation(len(self.images))

    def __len__(self) -> int:
        return len(self.images) // BATCH

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch = self.order[BATCH * index : BATCH * (index + 1)]
        return self.change(self.images[batch], self.rng), self.labels[batch]


def recolour(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stickers in other colours, half of the batches mirrored.

    The few photographs behind the training pictures have few colours. To
    mirror a batch, swap its colour channels, invert it or change the contrast
    leaves the labels as they are, and makes the network look at the shape.
    """
    images = images[..., rng.permutation(3)]
    if rng.random() < 0.5:
        images = images[:, :, ::-1]
    if rng.random() < 0.5:
        images = 255 - images
    contrast = rng.uniform(0.5, 1.2, (len(images), 1, 1, 1))
    return (127.5 + contrast * (images - 127.5)).astype(np.float32)


def mirror(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the silhouettes mirrored: a waist has no left and right."""
    flip = rng.random((len(images), 1, 1, 1)) < 0.5
    return in_colour(np.where(flip, images[:, :, ::-1], images))


def in_colour(grey: np.ndarray) -> np.ndarray:
    """uint8 `(n, h, w, 1)` -> float32 RGB `(n, h, w, 3)`."""
    return np.repeat(grey.astype(np.float32), 3, axis=-1)


def _grey(n, seed, population):
    """People as `(n, 128, 128, 1)`, and their waists."""
    people = silhouettes.measures(n, seed=seed, population=population)
    images = np.empty((n, silhouettes.SIZE, silhouettes.SIZE, 1), np.uint8)
    for start in range(0, n, PART):
        part = slice(start, start + PART)
        images[part] = silhouettes.draw(
            {name: values[part] for name, values in people.items()}
        )[0][..., :1]
    return images, people["waist"]


def _compile(model, steps, metric, loss):
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01), loss, metrics=[metric]
    )


def _ship(name, model, plain, curve):
    """Write the weights, without the optimiser, and the learning curve.

    `plain` is an untrained network of the same kind.
    """
    plain.set_weights(model.get_weights())
    with replacing(networks.WEIGHTS / f"{name}.weights.h5") as path:
        plain.save_weights(path)
    with replacing(networks.WEIGHTS / f"{name}.csv") as path:
        pd.DataFrame(curve).to_csv(path, index=False, float_format="%.6g")


def main(names: Sequence[str]) -> None:
    """Train and ship these networks; all where none is named."""
    if not set(names) <= set(NAMES):
        sys.exit(
            f"names must be among {', '.join(NAMES)}; got {', '.join(names)}"
        )
    for name in names or NAMES:
        folder = Path(".training", name)
        print(f"{name}: the state after each epoch is kept in {folder}")
        kind, _, population = name.partition("_")
        if kind == "stickers":
            model, curve = train_stickers_net(folder=folder)
            _ship(name, model, networks.stickers_net(None), curve)
            print(f"accuracy on 5,000 unseen pictures: {accuracy(model):.4f}")
        else:
            model, curve = train_silhouettes_net(population, folder=folder)
            _ship(name, model, networks.silhouettes_net(None), curve)
            print(
                "mean absolute error on 2,000 unseen people: "
                f"{error(model, population):.2f} cm"
            )
        forget(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
