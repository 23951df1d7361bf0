"""The networks of the notebooks: RGB pixels in [0, 255] in, logits out (from
the one that measures: centimetres)."""

import inspect
import os
import zlib
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from keras import layers

from .data import silhouettes, stickers

WEIGHTS = Path(__file__).parent / "weights"


def stickers_net(
    weights: str | os.PathLike | None = WEIGHTS / "stickers.weights.h5",
    dtype: str | None = None,
) -> keras.Model:
    """The network that names the pictogram on a sticker picture.

    Four blocks of convolution, ReLU and max-pooling, as in the networks of
    both papers, then one hidden layer. `training.py` made the weights.

    Args:
        weights: a weights file, or None for an untrained network.
        dtype: ``"float64"`` for maps that are the same on every processor;
            None: Keras's default, float32. A gradient jumps where a ReLU
            opens, and in float32 the last bit may open one.

    Returns:
        keras.Model: `(n, 96, 96, 3)` in [0, 255] -> logits `(n, 10)`,
        in the order of `stickers.CLASSES`.
    """
    with _precision(dtype):
        pixels = keras.Input((stickers.SIZE, stickers.SIZE, 3), name="pixels")
        x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(pixels)
        x = _blocks(x, (16, 32, 64, 96))
        x = layers.Dense(64, activation="relu", name="hidden")(x)
        logits = layers.Dense(len(stickers.CLASSES), name="logits")(x)
        model = _named("stickers_net", pixels, logits)
    if weights is not None:
        model.load_weights(weights)
    return model


def silhouettes_net(
    weights: str | None = "independent", dtype: str | None = None
) -> keras.Model:
    """The network that measures the waist on a silhouette.

    Five blocks of convolution, ReLU and max-pooling, one hidden layer, one
    output. `training.py` made the weights.

    Args:
        weights: the population of `silhouettes` that it was trained on,
            ``"independent"`` or ``"correlated"``; None for an untrained
            network.
        dtype: as for `stickers_net`.

    Returns:
        keras.Model: `(n, 128, 128, 3)` in [0, 255] -> `(n, 1)`, the
        waist in cm.

    Raises:
        ValueError: there is no such population.
    """
    if weights not in ("independent", "correlated", None):
        raise ValueError(
            "weights must be 'independent', 'correlated' or "
            f"None; got {weights!r}"
        )
    with _precision(dtype):
        pixels = keras.Input(
            (silhouettes.SIZE, silhouettes.SIZE, 3), name="pixels"
        )
        x = layers.Rescaling(1 / 255, name="rescale")(pixels)
        x = _blocks(x, (8, 16, 32, 64, 64))
        x = layers.Dense(64, activation="relu", name="hidden")(x)
        x = layers.Dense(1, name="standard")(x)
        # The hidden layers need not learn how large a centimetre is.
        low, high = silhouettes.RANGES["waist"]
        waist = layers.Rescaling(
            (high - low) / 4, offset=(low + high) / 2, name="waist"
        )(x)
        model = _named("silhouettes_net", pixels, waist)
    if weights is not None:
        model.load_weights(WEIGHTS / f"silhouettes_{weights}.weights.h5")
    return model


def _blocks(x, filters):
    """Convolution, ReLU and max-pooling, once for each number of filters,
    and flattened."""
    for block, count in enumerate(filters, start=1):
        x = layers.Conv2D(
            count, 3, padding="same", activation="relu", name=f"conv{block}"
        )(x)
        x = layers.MaxPooling2D(name=f"pool{block}")(x)
    return layers.Flatten(name="flatten")(x)


def photos_net(
    name: str = "SqueezeNet",
    weights: str | None = "imagenet",
    dtype: str | None = None,
) -> keras.Model:
    """A network that names photographs: one of ImageNet's 1,000 classes.

    SqueezeNet v1.1 (Iandola et al. 2016) is convolution, ReLU and max-pooling,
    as in both papers. Its weights ship with this package; their origin and
    licence are in ``weights/SQUEEZENET.md``. Any other name builds a model of
    `keras.applications` whose weights Keras fetches once and keeps in its home
    folder: its own preprocessing comes first, in the same flat graph, and the
    soft-max at its end is left out. MobileNet comes with α = 0.75.

    Args:
        name: ``"SqueezeNet"``, or a model of `keras.applications`, such as
            ``"ResNet50V2"``.
        weights: ``"imagenet"``, or None for an untrained network.
        dtype: as for `stickers_net`.

    Returns:
        keras.Model: `(n, size, size, 3)` in [0, 255] -> logits
        `(n, 1000)`, in the order of `labels`. SqueezeNet takes 224 × 224.

    Raises:
        ValueError: there is no model of that name, or no such weights.
        RuntimeError: the weights can't be had; the message says what to do.
    """
    if weights not in ("imagenet", None):
        raise ValueError(
            f"weights must be 'imagenet' or None; got {weights!r}"
        )
    if name == "SqueezeNet":
        with _precision(dtype):
            return _squeezenet(weights)
    build = getattr(keras.applications, str(name), None)
    if not inspect.isfunction(build):
        raise ValueError(
            "name must be 'SqueezeNet' or a model of keras.applications, such "
            f"as 'MobileNet' or 'ResNet50V2'; got {name!r}"
        )
    options = {"alpha": 0.75} if name == "MobileNet" else {}
    # Each model prepares its pixels in its own way and wants its own size.
    prepare = inspect.getmodule(build).preprocess_input
    side = build(weights=None, **options).input_shape[1] or 224
    with _precision(dtype), _say_what_to_do(f"The ImageNet weights of {name}"):
        pixels = keras.Input((side, side, 3), name="pixels")
        built = build(
            input_tensor=prepare(pixels),
            weights=weights,
            classifier_activation=None,
            **options,
        )
    return _named(f"photos_net_{name}", pixels, built.output)


def _squeezenet(weights):
    """SqueezeNet v1.1, with the shipped weights or (None) untrained."""
    pixels = keras.Input((224, 224, 3), name="pixels")
    mean = [-123.68, -116.779, -103.939]  # of ImageNet's pixels
    x = layers.Rescaling(1.0, offset=mean, name="subtract_mean")(pixels)
    x = layers.Conv2D(64, 3, strides=2, activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    for number, squeeze, expand in (
        (2, 16, 64),
        (3, 16, 64),
        (4, 32, 128),
        (5, 32, 128),
        (6, 48, 192),
        (7, 48, 192),
        (8, 64, 256),
        (9, 64, 256),
    ):
        x = _fire(x, f"fire{number}", squeeze, expand)
        if number in (3, 5):
            x = layers.MaxPooling2D(3, 2, name=f"pool{number}")(x)
    x = layers.Conv2D(1000, 1, name="conv10")(x)
    logits = layers.GlobalAveragePooling2D(name="logits")(x)
    model = _named("photos_net_SqueezeNet", pixels, logits)
    if weights is not None:
        with np.load(WEIGHTS / "squeezenet.npz") as stored:
            for layer in model.layers:
                if layer.weights:
                    layer.set_weights(
                        [
                            stored[f"{layer.name}/{w.name}"]
                            for w in layer.weights
                        ]
                    )
    return model


def _fire(x, name, squeeze, expand):
    """A fire module: few channels in between, then many, of two kinds."""
    x = layers.Conv2D(squeeze, 1, activation="relu", name=f"{name}_squeeze")(x)
    sides = [
        layers.Conv2D(
            expand,
            side,
            padding="same",
            activation="relu",
            name=f"{name}_expand{side}",
        )(x)
        for side in (1, 3)
    ]
    return layers.Concatenate(name=name)(sides)


def labels(model: keras.Model) -> list[str]:
    """The class names of a network of this module.

    Copies have them, too: from `keras.models.clone_model` or `copy.deepcopy`,
    or saved and loaded again. The names are those of the classes for which
    the weights were made that ship; of a network that you trained for other
    classes it can't know.

    Args:
        model: what `stickers_net`, `silhouettes_net` or `photos_net` returned.

    Returns:
        list of str, in the order of the model's outputs.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: another network.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model must be a keras.Model; got {type(model).__name__}"
        )
    name, _, checksum = model.name.rpartition("-")
    if not name or checksum != _checksum(model):
        raise ValueError(
            "labels are known for the networks of this module only; "
            f"{model.name!r} is none, or its layers were changed. If it was "
            "made of one of them and has the same outputs, ask that one: "
            "labels(photos_net()), for example"
        )
    if name == "stickers_net":
        return list(stickers.CLASSES)
    if name == "silhouettes_net":
        return ["waist in cm"]
    text = (WEIGHTS / "imagenet_classes.txt").read_text(encoding="utf-8")
    return text.splitlines()


def _named(name, pixels, outputs):
    """The model, with a checksum of its layers at the end of its name.

    Of all that could say who built a model, a copy keeps only names; and the
    checksum tells whether the layers are still those that the name means.
    """
    model = keras.Model(pixels, outputs, name=name)
    full = f"{name}-{_checksum(model)}"
    return keras.Model(pixels, outputs, name=full)


def _checksum(model):
    """Eight digits for the kinds, names and weights' shapes of all layers."""
    parts = sorted(
        (
            type(layer).__name__,
            layer.name,
            [tuple(weight.shape) for weight in layer.weights],
        )
        for layer in model.layers
    )
    return f"{zlib.crc32(repr(parts).encode()):08x}"


@contextmanager
def _precision(dtype):
    """Layers made inside compute in `dtype`; None leaves Keras's default."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


@contextmanager
def _say_what_to_do(what):
    """One error that helps, for whatever kept Keras from a download."""
    try:
        yield
    except Exception as error:  # offline, Keras raises a bare Exception
        raise RuntimeError(
            f"{what} can't be had ({error}). Connect to the internet once, so "
            "that Keras can fetch them, or copy the folder ~/.keras/models "
            "from a machine that has them (or point the environment variable "
            "KERAS_HOME at a copy of ~/.keras). photos_net() works without "
            "any download."
        ) from error
