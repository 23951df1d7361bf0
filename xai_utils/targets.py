"""Targets: which number of a network a map explains.

A target is any callable from the model's outputs `(n, …)` to `(n,)`, one
number an image. The four below cover the notebooks; for anything else write a
function, for example ``lambda outputs: outputs[0][:, 2]``. Define it once and
pass the same function again: for each new function TensorFlow compiles anew.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ._core.runner import spread


class Target(NamedTuple):
    """A target whose numbers (class, truth) are arguments, not constants.

    So one compiled function serves every class and every truth.
    """

    function: Callable  # (outputs, *arguments) -> (n,)
    arguments: tuple = ()  # arrays: () for all images, or (n, …) one an image
    layer: str | None = None  # read this layer's output, not the model's
    check: Callable | None = None  # (outputs, *arguments), may raise

    def __call__(self, outputs):
        arguments = spread(self.arguments, len(outputs))
        return self.function(outputs, *map(tf.constant, arguments))


def class_score(index):
    """The score (logit) of a class, before the soft-max; S_c in the papers.

    For a model that ends in sigmoids, one for each label, write
    ``lambda outputs: outputs[:, k]``.

    Args:
        index: the class, an integer, or one integer for each image `(n,)`.

    Raises:
        TypeError, ValueError: `index` is no class. A model that ends in a
        soft-max is refused when the target is used: its outputs are
        probabilities, not scores.
    """
    return Target(_score, (_class_index(index),), check=_check_scores)


def class_probability(index):
    """The probability of a class, in 0–1.

    Outputs that are probabilities (none negative, sum one) are taken as they
    are; others are scores and go through the soft-max.

    Args:
        index: the class, an integer, or one integer for each image `(n,)`.
    """
    return Target(_probability, (_class_index(index),), check=_check_classes)


def loss(function, y_true):
    """The loss of each image, not averaged: what the seed differentiates.

    Args:
        function: a Keras loss, its name (``"mse"``), or a function
            `(y_true, y_pred) -> (n,)`.
        y_true: the truth: one number for all images, or `(n, …)`.
    """
    y_true = np.asarray(y_true)
    if y_true.dtype.kind not in "uif" or not np.isfinite(y_true).all():
        raise ValueError(f"y_true must be finite numbers; got {y_true!r}")
    return Target(_loss_of(function), (y_true,))


def unit(layer, channel, position=None):
    """The activity of a feature map, or of one unit in it.

    Args:
        layer: the name of a layer of the model.
        channel: which feature map (for a dense layer: which unit).
        position: `(row, column)` in the map; None sums over the whole map,
            as in Fig. 7b of Zeiler & Fergus.
    """
    if not isinstance(layer, str):
        raise TypeError(f"layer must be a layer's name; got {layer!r}")
    channel = _class_index(channel, "channel")
    if position is None:
        return Target(_activity, (channel,), layer, _check_channel)
    row, column = (_class_index(p, "position") for p in position)
    return Target(_unit_at, (channel, row, column), layer, _check_unit)


def predicted_class(outputs):
    """The index of the most probable class, `(n,)`: Fig. 7e, a target too."""
    return tf.argmax(_one_output(outputs), axis=-1)


def as_target(target):
    """A `Target` from any callable."""
    if isinstance(target, Target):
        return target
    if not callable(target):
        raise TypeError(
            "target must be a callable from the model's outputs "
            f"to (n,), such as class_score(3); got {target!r}"
        )
    return Target(target)


def _score(outputs, index):
    return _pick(_one_output(outputs), index)


def _probability(outputs, index):
    outputs = _one_output(outputs)
    total = tf.reduce_sum(tf.cast(outputs, tf.float32), 1, keepdims=True)
    given = _is_distribution(tf.reduce_min(outputs, 1, keepdims=True), total)
    return _pick(tf.where(given, outputs, tf.nn.softmax(outputs)), index)


def _activity(features, channel):
    axes = list(range(1, features.shape.rank - 1))
    return _pick(tf.reduce_sum(features, axis=axes), channel)


def _unit_at(features, channel, row, column):
    rows, columns = (tf.range(n) for n in features.shape[1:3])
    here = (rows[:, None] == row[:, None, None]) & (
        columns == column[:, None, None]
    )
    return _pick(
        tf.reduce_sum(tf.where(here[..., None], features, 0), axis=[1, 2]),
        channel,
    )


@lru_cache
def _loss_of(function):
    function = keras.losses.get(function)
    if isinstance(function, keras.losses.Loss):
        function = function.call  # the loss itself, before it is averaged

    def each(outputs, y_true):
        outputs = _one_output(outputs)
        if y_true.dtype.is_floating:
            y_true = tf.cast(y_true, outputs.dtype)
        return function(y_true, outputs)

    return each


def _pick(values, index):
    """`values[i, index[i]]`; zero, not an error, where there is no such
    entry: the check after the pass says it in words."""
    chosen = tf.range(values.shape[-1]) == tf.cast(index, tf.int32)[:, None]
    return tf.reduce_sum(tf.where(chosen, values, 0), axis=1)


def _one_output(outputs):
    if not tf.is_tensor(outputs):
        raise ValueError(
            f"the model has {len(outputs)} outputs: give a target that picks "
            "one, such as lambda outputs: outputs[0][:, 3]"
        )
    return outputs


def _is_distribution(lowest, total):
    """Are these the smallest entry and the sum of a probability
    distribution? Half precision sums to one only within a thousandth."""
    return (lowest >= 0) & (abs(total - 1) < 2e-3)


def _check_classes(outputs, index):
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            "the model must return (n, classes) with at least "
            f"two classes; it returns {outputs.shape}. For one "
            "number use lambda outputs: outputs[:, 0]"
        )
    _check_below(index, outputs.shape[1], "class index")


def _check_scores(outputs, index):
    _check_classes(outputs, index)
    outputs = np.asarray(outputs, np.float32)
    if _is_distribution(outputs.min(1), outputs.sum(1)).all():
        raise ValueError(
            "class_score needs scores (logits), but this model ends in a "
            "soft-max. Build it without (activation=None in the last layer, "
            "classifier_activation=None in keras.applications), or explain "
            "class_probability"
        )


def _check_channel(features, channel):
    _check_below(channel, features.shape[-1], "channel")


def _check_unit(features, channel, row, column):
    _check_channel(features, channel)
    if features.ndim != 4:
        raise ValueError(
            "position must be None for a layer whose output is "
            f"not (n, h, w, c); it is {features.shape}"
        )
    _check_below(row, features.shape[1], "row")
    _check_below(column, features.shape[2], "column")


def _class_index(index, name="index"):
    index = np.asarray(index)
    if index.dtype.kind not in "ui":
        raise TypeError(f"{name} must be a whole number; got {index!r}")
    if index.ndim > 1 or index.size == 0 or index.min() < 0:
        raise ValueError(
            f"{name} must be one whole number from 0, or one for "
            f"each image; got {index!r}"
        )
    return index.astype(np.int32)


def _check_below(index, count, name):
    if np.max(index) >= count:
        raise ValueError(f"{name} must be below {count}; got {np.max(index)}")
