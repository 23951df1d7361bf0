"""Networks that notebooks 06 and 07 use, trained beforehand.

06 compares first layers, 07 takes layers away. All of them name stickers of
half the size. ``python -m xai_utils.small_nets`` trains them again and writes
their weights; on another processor they come out a little different, because
training amplifies the last bits.
"""

from collections.abc import Collection, Sequence
from functools import partial

import keras
import numpy as np
from keras import layers

from ._core.progress import bar
from ._core.resume import replacing
from .data import stickers
from .networks import WEIGHTS

#: First layers of 06: size of the filters, stride, side of the max-pool.
STEMS = {
    "11 × 11, stride 4": (11, 4, 1),
    "7 × 7, stride 4": (7, 4, 1),
    "7 × 7, stride 2": (7, 2, 2),
    "7 × 7, stride 1": (7, 1, 4),
}
#: The steps of their training whose weights are kept.
MOMENTS = (0, 100, 500, 3000)

#: Networks of 07: the layers that are taken away. Each is trained from
#: several starts.
VARIANTS = {
    "complete": (),
    "without 6–7": (6, 7),
    "without 3–4": (3, 4),
    "without all four": (3, 4, 6, 7),
}
STARTS = 3

#: Ten more pictograms, for the transfer of 07.
NEW_CLASSES = {
    "sun": "☀",
    "cloud": "☁",
    "club": "♣",
    "spade": "♠",
    "diamond": "♦",
    "taiji": "☯",
    "notes": "♫",
    "flower": "✿",
    "cup": "☕",
    "peace": "☮",
}


def half_size(images: np.ndarray) -> np.ndarray:
    """The mean of each 2 × 2 pixels: float32 `(n, 48, 48, 3)`."""
    return images.reshape(-1, 48, 2, 48, 2, 3).mean((2, 4), np.float32)


def stem_net(
    stem: tuple[int, int, int],
    filters: Sequence[int] = (8, 24, 48),
    dtype: str | None = None,
) -> keras.Model:
    """Blocks of convolution, ReLU and max-pooling, then one hidden layer.

    Args:
        stem: of the first block the side of the filters, the stride, and the
            side of the max-pool (1: none).
        filters: how many each convolution has.
        dtype: as for `networks.stickers_net`.

    Returns:
        keras.Model, untrained: `(n, 48, 48, 3)` in [0, 255] -> logits
        `(n, 10)`.
    """
    size, stride, pool = stem
    pixels = keras.Input((48, 48, 3), dtype=dtype, name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1, dtype=dtype)(pixels)
    for block, count in enumerate(filters, start=1):
        x = layers.Conv2D(
            count,
            size,
            stride,
            padding="same",
            activation="relu",
            dtype=dtype,
            name=f"conv{block}",
        )(x)
        if pool > 1:
            x = layers.MaxPooling2D(pool, name=f"pool{block}", dtype=dtype)(x)
        size, stride, pool = 3, 1, 2
    x = layers.Flatten(dtype=dtype)(x)
    x = layers.Dense(48, activation="relu", dtype=dtype, name="hidden")(x)
    return keras.Model(pixels, layers.Dense(10, dtype=dtype, name="logits")(x))


def ablation_net(
    without: Collection[int] = (), dtype: str | None = None
) -> keras.Model:
    """Five convolutions and two hidden layers, less those taken away.

    The same kinds of layers as in the paper's network, much narrower. Layers 1
    to 5 are convolutions, 6 and 7 are dense.

    Args:
        without: the numbers of the layers that are taken away, of 2 to 7.
        dtype: as for `networks.stickers_net`.

    Returns:
        keras.Model, untrained, as `stem_net`.
    """
    options = {
        "activation": "relu",
        "kernel_initializer": "he_normal",
        "dtype": dtype,
    }
    conv = partial(layers.Conv2D, padding="same", **options)
    pool = partial(layers.MaxPooling2D, dtype=dtype)
    pixels = keras.Input((48, 48, 3), dtype=dtype, name="pixels")
    x = layers.Rescaling(1 / 64, offset=-2, dtype=dtype)(pixels)
    x = conv(16, 5, strides=2, name="conv1")(x)
    x = pool(name="pool1")(x)
    for number, filters in ((2, 24), (3, 32), (4, 32), (5, 32)):
        if number not in without:
            x = conv(filters, 3, name=f"conv{number}")(x)
        if number in (2, 5):
            x = pool(name=f"pool{number}")(x)
    x = layers.Flatten(dtype=dtype)(x)
    for number in (6, 7):
        if number not in without:
            x = layers.Dense(64, name=f"dense{number}", **options)(x)
    return keras.Model(pixels, layers.Dense(10, dtype=dtype, name="logits")(x))


def train(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    steps: Sequence[int],
    seed: int = 0,
) -> dict[int, list[np.ndarray]]:
    """Train a network of this module on random batches of 32.

    The rate of Adam falls from 0.003 to 0 along half a cosine.

    Args:
        model: untrained.
        images: float32 `(n, 48, 48, 3)`.
        labels: `(n,)`.
        steps: those after which weights are kept; the last one is the end.
        seed: of the batches.

    Returns:
        dict, step -> list of arrays as `keras.Model.get_weights`.
    """
    last = steps[-1]
    rate = keras.optimizers.schedules.CosineDecay(3e-3, last)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    rng = np.random.default_rng(seed)
    kept = {0: model.get_weights()} if 0 in steps else {}
    with bar(last) as progress:
        for step in range(1, last + 1):
            batch = rng.integers(len(images), size=32)
            model.train_on_batch(images[batch], labels[batch])
            if step in steps:
                kept[step] = model.get_weights()
            progress.update()
    return kept


def stem(
    name: str, step: int = MOMENTS[-1], dtype: str | None = None
) -> keras.Model:
    """A network with one of the `STEMS`, as it was at a step of training.

    Args:
        name: a key of `STEMS`.
        step: one of `MOMENTS`.
        dtype: as for `networks.stickers_net`.

    Returns:
        keras.Model, see `stem_net`.

    Raises:
        ValueError: no such name or step.
    """
    _check("name", name, STEMS)
    _check("step", step, MOMENTS)
    return _load(stem_net(STEMS[name], dtype=dtype), "stems", f"{name}/{step}")


def ablated(
    name: str, start: int = 0, dtype: str | None = None
) -> keras.Model:
    """One of the `VARIANTS`, trained from one of the starts.

    Args:
        name: a key of `VARIANTS`.
        start: 0 to `STARTS` − 1.
        dtype: as for `networks.stickers_net`.

    Returns:
        keras.Model, see `ablation_net`.

    Raises:
        ValueError: no such name or start.
    """
    _check("name", name, VARIANTS)
    _check("start", start, range(STARTS))
    model = ablation_net(VARIANTS[name], dtype)
    return _load(model, "ablation", f"{name}/{start}")


def training_error(name: str, start: int = 0) -> float:
    """What one of the `VARIANTS` gets wrong of its own training pictures.

    Measured after the training: to draw the 8,000 pictures takes longer than
    a notebook may.

    Args:
        name, start: as for `ablated`.

    Returns:
        A share, 0–1.

    Raises:
        ValueError: no such name or start.
    """
    _check("name", name, VARIANTS)
    _check("start", start, range(STARTS))
    with np.load(WEIGHTS / "ablation.npz") as stored:
        return float(stored[f"{name}/{start}/wrong/0"])


def from_few(dtype: str | None = None) -> keras.Model:
    """The complete network, trained on 200 pictures of `NEW_CLASSES`.

    Args:
        dtype: as for `networks.stickers_net`.

    Returns:
        keras.Model, see `ablation_net`.
    """
    return _load(ablation_net(dtype=dtype), "ablation", "few")


def train_stems(
    pictures: int = 8000, steps: Sequence[int] = MOMENTS
) -> dict[str, list[np.ndarray]]:
    """Train a network with each of the `STEMS`.

    Args:
        pictures: how many to draw for training.
        steps: which to keep, the last one in the end.

    Returns:
        dict, name and step -> list of arrays as `keras.Model.get_weights`.
    """
    images, labels = _draw(pictures, seed=60)
    weights = {}
    for name, stem in STEMS.items():
        keras.utils.set_random_seed(0)
        kept = train(stem_net(stem), images, labels, steps)
        weights |= {f"{name}/{step}": arrays for step, arrays in kept.items()}
    return weights


def train_ablation(
    pictures: int = 8000,
    few: int = 200,
    steps: int = 3000,
    starts: int = STARTS,
) -> dict[str, list[np.ndarray]]:
    """Train the `VARIANTS`, and the complete one from few pictures.

    Args:
        pictures: how many to draw for training.
        few: how many of `NEW_CLASSES`.
        steps: of training; a tenth of them with few pictures.
        starts: how many of each variant.

    Returns:
        dict, as `train_stems`: name and start, or ``"few"``; and under name,
        start and ``wrong`` what `training_error` returns.
    """
    images, labels = _draw(pictures, seed=1)
    weights = {}
    for name, without in VARIANTS.items():
        for start in range(starts):
            keras.utils.set_random_seed(start)
            model = ablation_net(without)
            kept = train(model, images, labels, [steps], start)
            weights[f"{name}/{start}"] = kept[steps]
            said = model.predict(images, verbose=0).argmax(axis=1)
            weights[f"{name}/{start}/wrong"] = [np.mean(said != labels)]
    images, labels = _draw(few, seed=5, classes=NEW_CLASSES)
    keras.utils.set_random_seed(0)
    kept = train(ablation_net(), images, labels, [steps // 10])
    return weights | {"few": kept[steps // 10]}


def _draw(n, seed, classes=stickers.CLASSES):
    """Training pictures of half the size, and their labels."""
    images, labels, _ = stickers.make(
        n, seed=seed, split="train", classes=classes
    )
    return half_size(images), labels


def _check(argument, given, known):
    if given not in known:
        raise ValueError(
            f"{argument} must be one of {', '.join(map(str, known))}; "
            f"got {given!r}"
        )


def _load(model, file, key):
    with np.load(WEIGHTS / f"{file}.npz") as stored:
        model.set_weights(
            [stored[f"{key}/{i}"] for i in range(len(model.weights))]
        )
    return model


def _store(file, weights):
    """In half precision: what these networks say is the same."""
    halves = {
        f"{key}/{i}": np.asarray(array, np.float16)
        for key, arrays in weights.items()
        for i, array in enumerate(arrays)
    }
    with replacing(WEIGHTS / f"{file}.npz") as path:
        np.savez_compressed(path, **halves)


def main() -> None:
    """Train all of them and write their weights."""
    _store("stems", train_stems())
    _store("ablation", train_ablation())


if __name__ == "__main__":
    main()
