"""The receptive field: the part of a picture that a unit can see.

A pixel can change a unit if a path leads from one to the other. So the paths
are walked back from the unit, as a gradient is, but each operation hands its
signal to all that it reads, whatever the weights, and whether or not a ReLU
is open: what arrives at the pixels is positive where there is a path.
"""

import keras
import numpy as np
import tensorflow as tf

from ._core.backward import output_slopes
from ._core.graph import ELEMENTWISE, LINEAR, between, where
from ._core.inputs import check_model, input_dtype
from ._core.layers import find_layer
from ._core.runner import runner
from .targets import Target


def receptive_field(
    model: keras.Model, layer: str, position: tuple[int, int] | None = None
) -> tuple[int, int, int, int]:
    """The smallest box around the pixels that can change a unit.

    Args:
        model: a functional or Sequential keras.Model with a fixed input size;
            models may lie inside it.
        layer: the name of the unit's layer, as for `targets.unit`.
        position: `(row, column)` of the unit in the layer's output; None for
            a layer whose output is not `(n, h, w, c)`: all of its units.

    Returns:
        `(top, left, bottom, right)` in pixels: the unit sees
        `image[top:bottom, left:right]`. All are 0 where it sees no pixel.

    Raises:
        TypeError, ValueError: no such layer or position, or an operation on
        the way of which it is not known what it reads; the message names it.
    """
    shape = check_model(model)
    find_layer(model, layer)
    if None in shape:
        raise ValueError(
            "model must have a fixed input size, because the padding in it "
            f"depends on that; it takes {shape}"
        )
    place = (0, 0) if position is None else _whole_numbers(position)
    blank = np.zeros((1, *shape), input_dtype(model))
    at_unit = Target(_channels_at, place, layer)
    signal, sizes = runner(model, _paths, [at_unit], blank)(blank)
    _check_position(position, tuple(sizes))
    rows, columns = np.nonzero(signal[0].any(axis=-1))
    if not len(rows):
        return 0, 0, 0, 0
    edges = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    return tuple(int(edge) for edge in edges)


def _whole_numbers(position):
    """As int32; any that is out of range is reported later."""
    numbers = np.asarray(position)
    if numbers.shape != (2,) or numbers.dtype.kind not in "ui":
        raise TypeError(
            f"position must be (row, column), whole numbers; got {position!r}"
        )
    return tuple(np.clip(numbers, -1, 2**31 - 1).astype(np.int32))


def _check_position(position, sizes):
    if len(sizes) != 4:
        if position is not None:
            raise ValueError(
                "position must be None for a layer whose output is not "
                f"(n, h, w, c); it has {len(sizes)} axes"
            )
    elif position is None or not all(
        0 <= at < size for at, size in zip(position, sizes[1:3])
    ):
        raise ValueError(
            f"position must be (row, column) in a map of {sizes[1]} × "
            f"{sizes[2]}; got {position!r}"
        )


def _channels_at(features, row, column):
    """The sum of all channels at a place, `(n,)`; of all there is, if the
    layer has no places."""
    if features.shape.rank == 4:
        _, height, width, _ = tf.unstack(tf.shape(features))
        rows = tf.one_hot(row, height, dtype=features.dtype)
        columns = tf.one_hot(column, width, dtype=features.dtype)
        features *= rows[:, :, None, None] * columns[:, None, :, None]
    return tf.reduce_sum(features, axis=range(1, features.shape.rank))


def _paths(read, targets, images):
    """The step: the signal at the pixels, and the size of the layer."""
    ways = dict.fromkeys(ELEMENTWISE, "xai_sees_same_place") | {
        name: f"xai_sees_{name}" for name in _WAYS
    }
    with images.graph.gradient_override_map(ways):
        outputs = read(images)
    (target,) = targets
    tensors, slopes = output_slopes(target(outputs), outputs)
    for operation in between(images, tensors):
        # The other linear ones copy, add or average: their own gradient will
        # do. Bicubic resizing has negative weights, which may cancel others.
        if operation.type not in (LINEAR - {"ResizeBicubic"}) | set(ways):
            raise ValueError(f"it is not known what {where(operation)} reads")
    (signal,) = tf.gradients(tensors, images, grad_ys=slopes)
    if signal is None:
        signal = tf.zeros_like(images)
    return signal, tf.shape(tensors[0])


@tf.RegisterGradient("xai_sees_same_place")
def _same_place(operation, signal):
    return [_as_read(signal, tensor) for tensor in operation.inputs]


def _as_read(signal, tensor):
    """The signal in the shape of an input that was broadcast."""
    if not tensor.dtype.is_floating:
        return None
    missing = signal.shape.rank - tensor.shape.rank
    spread = [
        axis
        for axis, size in enumerate(tensor.shape, start=missing)
        if size == 1
    ]
    signal = tf.reduce_sum(signal, axis=spread, keepdims=True)
    signal = tf.reduce_sum(signal, axis=range(missing))
    return tf.reshape(signal, tf.shape(tensor))


def _everywhere(signal, tensor):
    """A signal of the shape of `tensor`, positive if any was."""
    return tf.sign(tf.reduce_sum(signal)) * tf.ones_like(tensor)


def _convolution(backwards):
    """The way through a convolution with weights of one."""

    def way(operation, signal):
        tensor, weights = operation.inputs
        settings = {
            name: operation.get_attr(name)
            for name in ("strides", "padding", "data_format", "dilations")
        }
        read = backwards(
            input_sizes=tf.shape(tensor),
            filter=tf.ones_like(weights),
            out_backprop=signal,
            explicit_paddings=operation.get_attr("explicit_paddings"),
            **settings,
        )
        # Sums of ones grow from layer to layer; only where there are any
        # counts. Weights may depend on the pixels, too: all outputs read them.
        return [tf.sign(read), _everywhere(signal, weights)]

    return way


def _max_pool(operation, signal):
    """A mean hands on to the whole window, a maximum to one place of it."""
    settings = {
        name: operation.get_attr(name)
        for name in ("ksize", "strides", "padding", "data_format")
    }
    shape = tf.shape(operation.inputs[0])
    return tf.raw_ops.AvgPoolGrad(
        orig_input_shape=shape, grad=signal, **settings
    )


def _product(operation, signal):
    """A matrix product (n, k) · (k, m). Transposed, rows would be pictures."""
    if operation.get_attr("transpose_a"):
        return [_everywhere(signal, tensor) for tensor in operation.inputs]
    tensor, weights = operation.inputs
    total = tf.reduce_sum(signal, axis=-1, keepdims=True)
    return [
        tf.sign(total) * tf.ones_like(tensor),
        _everywhere(signal, weights),
    ]


def _soft_max(operation, signal):
    total = tf.reduce_sum(signal, axis=-1, keepdims=True)
    return tf.sign(total) * tf.ones_like(operation.inputs[0])


def _extreme(operation, signal):
    """Minimum or maximum along some axes: all along these are read."""
    tensor, axes = operation.inputs
    axes = np.atleast_1d(tf.get_static_value(axes)) % tensor.shape.rank
    sizes = tf.unstack(tf.shape(tensor))
    kept = [1 if axis in axes else size for axis, size in enumerate(sizes)]
    return [tf.reshape(signal, kept) * tf.ones_like(tensor), None]


_WAYS = {
    "Conv2D": _convolution(tf.raw_ops.Conv2DBackpropInput),
    "DepthwiseConv2dNative": _convolution(
        tf.raw_ops.DepthwiseConv2dNativeBackpropInput
    ),
    "LogSoftmax": _soft_max,
    "MatMul": _product,
    "Max": _extreme,
    "MaxPool": _max_pool,
    "Min": _extreme,
    "Softmax": _soft_max,
}
for _name, _way in _WAYS.items():
    tf.RegisterGradient(f"xai_sees_{_name}")(_way)
