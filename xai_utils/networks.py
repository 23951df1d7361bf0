"""The networks of the notebooks: RGB pixels in [0, 255] in, logits out (from
the one that measures: centimetres)."""

import inspect
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from keras import layers

from . import silhouettes, stickers

WEIGHTS = Path(__file__).parent / "weights"


def stickers_net(weights=WEIGHTS / "stickers.weights.h5"):
    """The network that names the pictogram on a sticker picture.

    Four blocks of convolution, ReLU and max-pooling, as in the networks of
    both papers, then one hidden layer. `training.py` made the weights.

    Args:
        weights: a weights file, or None for an untrained network.

    Returns:
        keras.Model: float32 `(n, 96, 96, 3)` in [0, 255] -> logits `(n, 10)`,
        in the order of `stickers.CLASSES`.
    """
    pixels = keras.Input((stickers.SIZE, stickers.SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(pixels)
    x = _blocks(x, (16, 32, 64, 96))
    x = layers.Dense(64, activation="relu", name="hidden")(x)
    logits = layers.Dense(len(stickers.CLASSES), name="logits")(x)
    model = keras.Model(pixels, logits, name="stickers_net")
    if weights is not None:
        model.load_weights(weights)
    return model


def silhouettes_net(weights="independent"):
    """The network that measures the waist on a silhouette.

    Five blocks of convolution, ReLU and max-pooling, one hidden layer, one
    output. `training.py` made the weights.

    Args:
        weights: the population of `silhouettes` that it was trained on,
            ``"independent"`` or ``"correlated"``; None for an untrained
            network.

    Returns:
        keras.Model: float32 `(n, 128, 128, 3)` in [0, 255] -> `(n, 1)`, the
        waist in cm.
    """
    if weights not in ("independent", "correlated", None):
        raise ValueError(
            "weights must be 'independent', 'correlated' or "
            f"None; got {weights!r}"
        )
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
    model = keras.Model(pixels, waist, name="silhouettes_net")
    if weights is not None:
        model.load_weights(WEIGHTS / f"silhouettes_{weights}.weights.h5")
    return model


def _blocks(x, filters):
    """Convolution, ReLU and max-pooling, once for each number of filters."""
    for block, count in enumerate(filters, start=1):
        x = layers.Conv2D(
            count, 3, padding="same", activation="relu", name=f"conv{block}"
        )(x)
        x = layers.MaxPooling2D(name=f"pool{block}")(x)
    return layers.Flatten(name="flatten")(x)


def photos_net(name="MobileNet", weights="imagenet"):
    """A network of `keras.applications` that takes pixels and gives logits.

    Its own preprocessing comes first, in the same flat graph; the soft-max
    at its end is left out. MobileNet comes with α = 0.75. Keras fetches the
    weights once and keeps them in its home folder.

    Args:
        name: a model of `keras.applications`, such as ``"ResNet50V2"``.
        weights: ``"imagenet"``, or None for an untrained network.

    Returns:
        keras.Model: float32 `(n, size, size, 3)` in [0, 255] -> logits
        `(n, 1000)`.

    Raises:
        ValueError: `keras.applications` has no model of that name.
        RuntimeError: the weights can't be had; the message says what to do.
    """
    build = getattr(keras.applications, str(name), None)
    if not inspect.isfunction(build):
        raise ValueError(
            "name must be a model of keras.applications, such "
            f"as 'MobileNet' or 'ResNet50V2'; got {name!r}"
        )
    options = {"alpha": 0.75} if name == "MobileNet" else {}
    # Each model prepares its pixels in its own way and wants its own size.
    prepare = inspect.getmodule(build).preprocess_input
    side = build(weights=None, **options).input_shape[1] or 224
    pixels = keras.Input((side, side, 3), name="pixels")
    with _say_what_to_do(f"The ImageNet weights of {name}"):
        built = build(
            input_tensor=prepare(pixels),
            weights=weights,
            classifier_activation=None,
            **options,
        )
    return keras.Model(pixels, built.output, name=built.name)


def labels(model):
    """The class names of a network of this module.

    Args:
        model: what `stickers_net`, `silhouettes_net` or `photos_net` returned.

    Returns:
        list of str, in the order of the model's outputs.

    Raises:
        ValueError: another network.
        RuntimeError: Keras's list of the ImageNet classes can't be had.
    """
    outputs = model.output_shape[-1]
    if model.name == "stickers_net":
        return list(stickers.CLASSES)
    if model.name == "silhouettes_net":
        return ["waist in cm"]
    if outputs == 1000:
        decode = keras.applications.imagenet_utils.decode_predictions
        with _say_what_to_do("The names of the ImageNet classes"):
            return [
                top[0][1].replace("_", " ")
                for top in decode(np.eye(1000), top=1)
            ]
    raise ValueError(
        "labels are known for the networks of this module "
        f"only; got {model.name!r} with {outputs} outputs"
    )


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
            "KERAS_HOME at a copy of ~/.keras). Everything but the "
            "photographs works without."
        ) from error
