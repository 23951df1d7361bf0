"""Where a model runs: compiled, never stale, in batches that the caller cuts.

A method supplies its step, a function of tensors. `runner` turns it into a
function of arrays. What it compiled is used again only while nothing that the
graph depends on has changed (see `fingerprint`), and goes with the model.
"""

import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from .fingerprint import fingerprint
from .folding import fold
from .inputs import input_dtype
from .layers import recording

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "xai_utils differentiates with TensorFlow, but Keras runs on "
        f"{keras.backend.backend()!r}: set the environment variable "
        "KERAS_BACKEND to 'tensorflow' before Python starts"
    )

#: Compiled functions that are kept for a model; then the oldest goes.
KEPT = 32


class Compiled(NamedTuple):
    """A traced step."""

    call: Callable  # images, the targets' arguments -> results, met, values
    messages: list  # of the demands, in their order; filled by the trace
    derived: dict  # what others made of it, to be kept as long


class Runner(NamedTuple):
    """A step, to be called with `(images, part=slice(None))`.

    `part` says which of the targets' classes or truths belong to these
    images.
    """

    compiled: Compiled
    arguments: list  # arrays of the targets, with an entry for each image
    dtype: np.dtype  # of the images

    def __call__(self, images, part=slice(None)):
        tensors = [tf.constant(np.asarray(images, self.dtype))]
        for argument in self.arguments:
            tensors.append(tf.constant(spread(argument[part], len(images))))
        return self.arrays(self.compiled.call(*tensors))

    def arrays(self, returned):
        """The step's results as arrays, if all demands are met."""
        results, met, values = returned
        for number in np.flatnonzero(~met.numpy()):
            largest = np.max(values[number])
            message = self.compiled.messages[number]
            raise ValueError(message.format(largest))
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), results)


_kept = weakref.WeakKeyDictionary()  # model -> {fingerprint: Compiled}
_lock = threading.RLock()  # for `_kept`, and while a model is traced
# A target makes its demands while it is traced, and returns only scores: what
# it wants to be checked after each batch is left here until the trace ends.
_demands = []


def runner(model, step, targets, images):
    """Compile a step, or find it compiled.

    Args:
        model: keras.Model, checked.
        step: what to do with a batch, `(read, targets, images)` -> a
            structure of tensors. `read` runs the model on images; it returns
            a dict: layer ("": the model) -> what that puts out, at least in
            float32. `targets` holds a function for each target, from that
            dict to the scores `(n,)`.
        targets: list of `targets.Target`.
        images: an array; of its shape all but the first axis counts.

    Returns:
        `Runner`.
    """
    arguments = [np.asarray(a) for t in targets for a in t.arguments]
    arguments = [spread(a, len(images)) for a in arguments]
    dtype = input_dtype(model)
    arrays = [(images.shape[1:], dtype.name)]
    arrays += [(a.shape[1:], a.dtype.name) for a in arguments]
    return Runner(_find(model, step, targets, arrays), arguments, dtype)


def spread(argument, n):
    """`argument`, one for all images or one an image, as one an image."""
    if argument.ndim == 0 or len(argument) == 1:
        return np.broadcast_to(argument, (n, *argument.shape[1:]))
    if len(argument) != n:
        raise ValueError(
            f"the target has {len(argument)} classes or truths for {n} "
            f"images; give one, or {n}"
        )
    return argument


def demand(met, message, value=0):
    """In a target: refuse images for which something is not so.

    Args:
        met: bool tensor, true where all is well.
        message: of the ValueError; its {} becomes the largest `value`.
        value: a tensor.
    """
    if tf.executing_eagerly():
        if not np.all(met):
            raise ValueError(message.format(np.max(value)))
    else:
        _demands.append((met, value, message))


def _find(model, step, targets, arrays):
    functions = [(target.function, target.layer) for target in targets]
    with _lock:
        epsilon = keras.config.epsilon()  # some losses have it inside
        key = fingerprint(model, step, functions, arrays, epsilon)
        kept = _kept.setdefault(model, {})
        if key in kept:
            return kept[key]
        compiled = _compile(model, step, targets, arrays)
        if key is not None:
            kept[key] = compiled
            if len(kept) > KEPT:
                del kept[next(iter(kept))]
        return compiled


def _compile(model, step, targets, arrays):
    """Trace the step once, for any number of images.

    What is returned does not refer to the model, so that it can be freed.
    """
    layers = {target.layer for target in targets} - {""}
    read = partial(_read, model, layers)
    messages = []

    def traced(images, *arguments):
        # TensorFlow may trace twice, and only the last graph counts.
        _demands.clear()
        messages.clear()
        arguments, functions = list(arguments), []
        for target in targets:
            own = [arguments.pop(0) for _ in target.arguments]
            functions.append(partial(_score, target, own, tf.shape(images)[0]))
        results = step(read, functions, images)
        messages.extend(message for *_, message in _demands)
        met = [tf.reduce_all(each) for each, *_ in _demands]
        met = tf.stack(met) if met else tf.zeros(0, tf.bool)
        return results, met, [value for _, value, _ in _demands]

    signature = [tf.TensorSpec((None, *s), dtype) for s, dtype in arrays]
    function = tf.function(traced, input_signature=signature, autograph=False)
    try:
        return Compiled(function.get_concrete_function(), messages, {})
    finally:
        _demands.clear()


def _read(model, layers, images):
    """What the model and the layers in it put out after training: without
    dropout, with stored statistics, and without writing any variable."""
    with keras.StatelessScope(), recording(model, layers) as calls:
        outputs = {"": model(images, training=False)}
    for name, made in calls.items():
        if not made:
            raise ValueError(
                f"layer {name!r} takes no part in what the model puts out"
            )
        outputs[name] = made[-1]
    return fold(images, tf.nest.map_structure(_in_full, outputs))


def _in_full(tensor):
    """At least in float32: half precision is the model's own affair. And a
    tensor of its own, so that a gradient with respect to it does not go
    through another output that is made of it, too."""
    if tensor.dtype in (tf.float16, tf.bfloat16):
        return tf.cast(tensor, tf.float32)
    return tf.identity(tensor)


def _score(target, arguments, n, outputs):
    """The target of each image, `(n,)`, at least in float32."""
    try:
        scores = target.function(outputs[target.layer], *arguments)
    except (AttributeError, NotImplementedError, TypeError) as error:
        raise ValueError(
            "target must be a function of the outputs alone, written in "
            "TensorFlow or keras.ops, with tf.reduce_max in place of np.max, "
            f"say; it stops with {type(error).__name__}: {error}"
        ) from error
    shape = getattr(scores, "shape", None)
    if not tf.is_tensor(scores) or shape.rank != 1 or shape[0] is not None:
        got = f"shape {shape}" if tf.is_tensor(scores) else type(scores)
        raise ValueError(
            "target must return one number for each image, shape (n,), for "
            "outputs (n, …), such as lambda outputs: outputs[:, 3], or a mean "
            f"over what is left, tf.reduce_mean(…, axis=[1, 2]); got {got}"
        )
    counted = tf.shape(scores)[0]
    message = (
        "target must return one number for each image; it returns {} in all"
    )
    demand(counted == n, message, counted)
    return tf.cast(
        scores, tf.float64 if scores.dtype.size == 8 else tf.float32
    )
