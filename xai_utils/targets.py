"""Targets: which number of a network a map explains.

A target is any callable from the model's outputs `(n, …)` to `(n,)`, one
number an image, which depends on this image alone. Those below cover the
notebooks; for anything else write a function in TensorFlow, for example
``lambda outputs: outputs[0][:, 2]``. One that reads nothing but its argument
is compiled once; one that reads a variable from outside is compiled anew in
each call, because that may have changed.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ._core.ending import ending, is_distribution
from ._core.layers import check_name
from ._core.runner import demand, spread


class Target(NamedTuple):
    """A target whose numbers (class, truth) are arguments, not constants.

    So one compiled function serves every class and every truth.
    """

    function: Callable  # (outputs, *arguments) -> (n,)
    arguments: tuple = ()  # arrays: () for all images, or (n, …) one an image
    layer: str = ""  # read this layer's output; "": the model's own

    def __call__(self, outputs):
        """The target of outputs that are at hand: those of `layer`, if any.

        So a target can be used inside another one:
        ``lambda outputs: class_score(3)(outputs["head"])``.
        """
        outputs = tf.nest.map_structure(tf.convert_to_tensor, outputs)
        n = tf.shape(tf.nest.flatten(outputs)[0])[0]
        arguments = [_for_each(np.asarray(a), n) for a in self.arguments]
        return self.function(outputs, *arguments)


AnyTarget = Target | Callable


def class_score(index: int | np.ndarray) -> Target:
    """The score (logit) of a class, before the soft-max; S_c in the papers.

    Args:
        index: the class, an integer, or one integer for each image `(n,)`.

    Raises:
        TypeError, ValueError: `index` is no class. A model that ends in a
        soft-max or in sigmoids is refused when the target is used: its
        outputs are probabilities, not scores. Where it can't be seen what a
        model ends in, outputs that are not negative and sum to one are.
    """
    return Target(_score, (_whole_numbers(index, "index"),))


def class_probability(index: int | np.ndarray) -> Target:
    """The probability of a class, in 0–1.

    The outputs of a model that ends in a soft-max or in sigmoids, or in means
    or the like of these, are taken as they are; scores go through the
    soft-max. Where it can't be seen what a model ends in, outputs that are
    not negative and sum to one are taken for probabilities, and others
    between 0 and 1 are refused.

    Args:
        index: the class, an integer, or one integer for each image `(n,)`.
    """
    return Target(_probability, (_whole_numbers(index, "index"),))


def loss(function: Callable | str, y_true) -> Target:
    """The loss of each image, not averaged.

    Args:
        function: a Keras loss, its name (``"mse"``), or a function
            `(y_true, y_pred) -> (n,)`.
        y_true: the truth, in the shape of the outputs, `(n, …)`, or one for
            all images, `(1, …)`; a number where the model puts out one. For
            the sparse cross-entropy class indices.
    """
    y_true = np.asarray(y_true)
    if y_true.dtype.kind not in "buif" or not np.isfinite(y_true).all():
        raise ValueError(f"y_true must be finite numbers; got {y_true!r}")
    try:
        function = keras.losses.get(function)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "function must be a loss of Keras, its name, such as 'mse', or a "
            f"function (y_true, y_pred) -> (n,); got {function!r}"
        ) from error
    if not callable(function):
        raise TypeError(f"function must be a loss; got {function!r}")
    return Target(partial(_loss, function), (y_true,))


def unit(
    layer: str,
    channel: int | np.ndarray,
    position: tuple[int, int] | None = None,
) -> Target:
    """The activity of a feature map, or of one unit in it.

    Args:
        layer: the name of a layer of the model; of one in a nested model its
            path, ``"base/conv3"``. Of a layer that is called several times
            the last call counts.
        channel: which feature map (for a dense layer: which unit).
        position: `(row, column)` in the map, each one number or one for each
            image; None sums over the whole map, as in Fig. 7b of Zeiler &
            Fergus.
    """
    check_name(layer)
    channel = _whole_numbers(channel, "channel")
    if position is None:
        return Target(_activity, (channel,), layer)
    if np.ndim(position) == 0 or len(position) != 2:
        raise ValueError(
            f"position must be (row, column) or None; got {position!r}"
        )
    row, column = (_whole_numbers(side, "position") for side in position)
    return Target(_unit_at, (channel, row, column), layer)


def predicted_class(outputs) -> tf.Tensor:
    """The index of the most probable class, `(n,)`: Fig. 7e.

    A target for `occlusion`; it has no gradient.
    """
    return tf.argmax(_classes(outputs), axis=-1)


def as_target(target: AnyTarget) -> Target:
    """A `Target` from any callable."""
    if isinstance(target, Target):
        return target
    factories = (class_score, class_probability, loss, unit)
    if not callable(target) or target in factories:
        raise TypeError(
            "target must be a callable from the model's outputs to (n,), such "
            f"as class_score(3); got {target!r}"
        )
    return Target(target)


def _score(outputs, index):
    outputs = _classes(outputs)
    end = ending(outputs)
    refusal = (
        "class_score needs scores (logits), but this model ends in a "
        f"{end or 'soft-max'}. Build it without (activation=None in the "
        "last layer, classifier_activation=None in keras.applications), or "
        "explain class_probability, or name the number, lambda outputs: "
        "outputs[:, 3]"
    )
    if end in ("soft-max", "sigmoid"):
        raise ValueError(refusal)
    if end is None:
        demand(~is_distribution(outputs), refusal)
    return _pick(outputs, index, "class index")


def _probability(outputs, index):
    outputs = _classes(outputs)
    end = ending(outputs)
    if end is None:
        given = is_distribution(outputs)
        inside = tf.reduce_all((outputs >= 0) & (outputs <= 1), axis=1)
        demand(given | ~inside, _IN_DOUBT)
        outputs = tf.where(given[:, None], outputs, tf.nn.softmax(outputs))
    elif end == "scores":
        outputs = tf.nn.softmax(outputs)
    share = tf.reduce_all((outputs > -1e-3) & (outputs < 1.001), axis=1)
    demand(
        share,
        "the model's outputs are made of probabilities, but not in 0–1. Say "
        "which number you mean: lambda outputs: outputs[:, 3]",
    )
    return _pick(outputs, index, "class index")


_IN_DOUBT = (
    "it can't be seen whether this model puts out scores or probabilities, "
    "and all are between 0 and 1. Say which number you mean: lambda outputs: "
    "outputs[:, 3]"
)


def _activity(features, channel):
    features = _one_tensor(features, "layer")
    axes = list(range(1, features.shape.rank - 1))
    return _pick(tf.reduce_sum(features, axis=axes), channel, "channel")


def _unit_at(features, channel, row, column):
    features = _one_tensor(features, "layer")
    if features.shape.rank != 4:
        raise ValueError(
            "position must be None for a layer whose output is not "
            f"(n, h, w, c); it is {tuple(features.shape)}"
        )
    in_row = _pick(features, row, "row")
    return _pick(_pick(in_row, column, "column"), channel, "channel")


def _loss(function, outputs, y_true):
    outputs = _one_tensor(outputs, "model")
    each = function
    if isinstance(function, keras.losses.Loss):
        each = function.call  # the loss itself, before it is averaged
    if function is keras.losses.sparse_categorical_crossentropy or isinstance(
        function, keras.losses.SparseCategoricalCrossentropy
    ):
        if y_true.dtype.is_floating:
            raise ValueError(
                f"y_true must be class indices; got {y_true.dtype.name}"
            )
        classes = tf.cast(outputs.shape[-1], y_true.dtype)
        known = (y_true >= 0) & (y_true < classes)
        ignored = getattr(function, "ignore_class", None)
        if ignored is not None:
            known |= y_true == tf.cast(ignored, y_true.dtype)
        wanted = f"y_true must be class indices below {outputs.shape[-1]}"
        wrong = tf.boolean_mask(y_true, ~known)
        demand(known, wanted + "; got {}", wrong)
        y_true = tf.where(known, y_true, 0)  # reported by `demand`
    else:
        y_true = tf.cast(_like_outputs(y_true, outputs), outputs.dtype)
    return each(y_true, outputs)


def _like_outputs(y_true, outputs):
    """The truth in the shape of the outputs: one number for each of theirs.

    So no loss can spread one image's truth over a batch.
    """
    got, wanted = y_true.shape[1:], outputs.shape[1:]
    if got.num_elements() != wanted.num_elements() or (
        got.rank == wanted.rank and got != wanted
    ):
        raise ValueError(
            f"y_true must have the outputs' shape, {_sizes(wanted)}; got "
            f"{_sizes(got)}. For class indices take "
            "'sparse_categorical_crossentropy'; for a function of your own "
            "Target(lambda outputs, y: function(y, outputs), "
            "(np.float32(y_true),))"
        )
    return tf.reshape(y_true, tf.shape(outputs))


def _sizes(shape):
    return f"({', '.join(['n', *map(str, shape)])})"


def _pick(values, index, name):
    """`values[i, index[i]]` for each image i."""
    count = tf.shape(values)[1]
    words = values.shape[1] if values.shape[1] is not None else "the size"
    demand(index < count, f"{name} must be below {words}; got {{}}", index)
    # An index that is too large must not stop TensorFlow: `demand` reports it.
    return tf.gather(values, tf.minimum(index, count - 1), batch_dims=1)


def _one_tensor(outputs, whose):
    if tf.is_tensor(outputs):
        return outputs
    if isinstance(outputs, dict):
        first, names = repr(next(iter(outputs))), ", ".join(map(repr, outputs))
    else:
        first, names = "0", f"0 to {len(outputs) - 1}"
    raise ValueError(
        f"the {whose} has {len(outputs)} outputs, {names}: give a target that "
        f"picks one, such as lambda outputs: outputs[{first}][:, 3]"
    )


def _classes(outputs):
    """The one output, `(n, classes)`."""
    outputs = _one_tensor(outputs, "model")
    shape = outputs.shape
    if shape.rank != 2:
        advice = "tf.reduce_mean(outputs[..., 0], axis=[1, 2])"
        if shape.rank != 4:
            advice = "a function of your own"
        raise ValueError(
            "the model must return (n, classes), but it returns "
            f"{_sizes(shape[1:])}. Say which numbers you mean: lambda "
            f"outputs: {advice}"
        )
    if shape[1] == 1:
        raise ValueError(
            "the model must return (n, classes) with at least two classes; "
            "it returns (n, 1). For one number use lambda outputs: "
            "outputs[:, 0]"
        )
    return outputs


def _for_each(argument, n):
    """An argument as a tensor with one entry for each of n images."""
    if tf.executing_eagerly():
        return tf.constant(spread(argument, int(n)))
    if argument.ndim and len(argument) > 1:
        return tf.constant(argument)
    return tf.repeat(tf.constant(np.atleast_1d(argument)), n, axis=0)


def _whole_numbers(numbers, name):
    """As int32, one or one for each image."""
    numbers = np.asarray(numbers)
    if numbers.dtype.kind not in "ui":
        raise TypeError(f"{name} must be a whole number; got {numbers!r}")
    if numbers.ndim > 1 or numbers.size == 0 or numbers.min() < 0:
        raise ValueError(
            f"{name} must be one whole number from 0, or one for each image; "
            f"got {numbers!r}"
        )
    if numbers.max() > np.iinfo(np.int32).max:
        raise ValueError(f"{name} must be below 2³¹; got {numbers.max()}")
    return numbers.astype(np.int32)
