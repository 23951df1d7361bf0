"""How a target runs on a model: shared by gradients and occlusion."""

import keras
import numpy as np
import tensorflow as tf


def spread(arguments, n):
    """Each argument with one entry for each of `n` images."""
    spreads = []
    for argument in map(np.asarray, arguments):
        if argument.ndim == 0 or len(argument) == 1:
            argument = np.broadcast_to(argument, (n, *argument.shape[1:]))
        elif len(argument) != n:
            raise ValueError(
                f"the target has {len(argument)} classes or "
                f"truths for {n} images; give one, or {n}"
            )
        spreads.append(argument)
    return spreads


def signature(arrays):
    """Shape and dtype of arrays whose first axis may have any length: a key
    of compiled functions that is quick to compare."""
    return tuple((array.shape[1:], array.dtype.name) for array in arrays)


def specs(arrays):
    """What `signature` returned, in TensorFlow's words."""
    return [tf.TensorSpec((None, *shape), dtype) for shape, dtype in arrays]


def reader(model, layer_names):
    """A function: images -> [output of each layer; None: of the model].

    The model runs as it does after training: no dropout, and batch
    normalisation with its stored statistics.
    """
    inner = [name for name in layer_names if name is not None]
    if not inner:
        return lambda images: (
            [model(images, training=False)] * len(layer_names)
        )
    if not getattr(model, "inputs", None):
        raise ValueError(
            "a subclassed model hides its layers: unit() needs a "
            "functional or a Sequential model"
        )
    try:
        found = {name: model.get_layer(name).output for name in inner}
        probe = keras.Model(model.inputs[0], {"": model.outputs, **found})
    except ValueError as error:
        names = ", ".join(layer.name for layer in model.layers)
        raise ValueError(
            f"layer must be one of {names}, and not lie in a "
            f"nested model or be shared with another; got "
            f"{inner} ({error})"
        ) from error
    single = len(model.outputs) == 1

    def read(images):
        outputs = probe(images, training=False)
        own = outputs[""][0] if single else outputs[""]
        return [own if name is None else outputs[name] for name in layer_names]

    return read


def apply(function, outputs, arguments):
    """The scores `(n,)` of a target's function, in full precision."""
    scores = function(outputs, *arguments)
    if not tf.is_tensor(scores) or scores.shape.rank != 1:
        shape = getattr(scores, "shape", type(scores).__name__)
        raise ValueError(
            "target must return one number for each image, "
            f"shape (n,); got {shape}"
        )
    if scores.dtype != tf.float64:
        scores = tf.cast(scores, tf.float32)
    return scores


def structure(model):
    """What may change in a model without a new object: its activations.

    Part of the key of every compiled function, so that a model whose last
    activation was removed is compiled anew, not silently explained as it was.
    """
    return tuple(
        structure(layer)
        if isinstance(layer, keras.Model)
        else getattr(layer, "activation", None)
        for layer in model.layers
    )
