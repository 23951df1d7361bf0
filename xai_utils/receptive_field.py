"""The receptive field: the part of a picture that a unit can see."""

import keras
from keras import layers

from ._core.graph import steps

_WINDOWS = (
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.SeparableConv2D,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
)
_WHOLE = (
    layers.Dense,
    layers.Flatten,
    layers.Reshape,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
)
_SAME = (
    layers.BatchNormalization,
    layers.Normalization,
    layers.Rescaling,
    layers.ReLU,
    layers.Activation,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.Add,
    layers.Subtract,
    layers.Average,
    layers.Concatenate,
)
# What photos_net's own preprocessing is made of.
_SAME_OPERATIONS = ("Add", "Subtract", "Multiply", "TrueDivide", "Divide")


def receptive_field(model, layer, position=None):
    """The pixels that can change a unit; all others can't.

    Args:
        model: a flat functional or Sequential keras.Model.
        layer: the name of the unit's layer.
        position: `(row, column)` of the unit in the layer's output; None for
            a dense layer, which sees the whole picture.

    Returns:
        `(top, left, bottom, right)` in pixels, within the picture: the unit
        sees `image[top:bottom, left:right]`.

    Raises:
        ValueError: no such layer or position, or a layer on the way whose
        geometry is not known here; its name is in the message.
    """
    walk, _ = steps(model, layer)
    shape = walk[-1].operation.output.shape
    if len(shape) != 4:
        if position is not None:
            raise ValueError(
                "position must be None for a layer whose output "
                f"is not (n, h, w, c); it is {shape}"
            )
        position = (0, 0)
    elif (
        position is None
        or len(position) != 2
        or any(
            not 0 <= at < (size or at + 1)
            for at, size in zip(position, shape[1:3])
        )
    ):
        raise ValueError(
            "position must be (row, column) in a map of "
            f"{shape[1]} × {shape[2]}; got {position!r}"
        )
    height, width = walk[0].operation.output.shape[1:3]
    (top, bottom), (left, right) = (
        _interval(walk, axis, int(position[axis])) for axis in (0, 1)
    )
    return (
        max(top, 0),
        max(left, 0),
        min(bottom, height or bottom),
        min(right, width or right),
    )


def _interval(walk, axis, position):
    """First pixel and last pixel + 1 along one axis, from the unit down."""
    seen = {walk[-1].output: (position, position + 1)}
    for step in reversed(walk):
        if step.output not in seen or not step.inputs:
            continue
        below = _below(step.operation, axis, *seen[step.output])
        for key in step.inputs:
            low, high = seen.get(key, below)
            seen[key] = min(low, below[0]), max(high, below[1])
    return seen[walk[0].output]


def _below(operation, axis, low, high):
    """What `low:high` of a layer's output sees of its input."""
    if isinstance(operation, _WINDOWS):
        size, stride, before = _window(operation, axis)
        return low * stride - before, (high - 1) * stride - before + size
    if isinstance(operation, layers.ZeroPadding2D):
        before = operation.padding[axis][0]
        return low - before, high - before
    if isinstance(operation, _WHOLE):
        length = (
            operation.input.shape[1 + axis]
            if len(operation.input.shape) == 4
            else 1
        )
        return 0, length
    if (
        isinstance(operation, _SAME)
        or (type(operation).__name__ in _SAME_OPERATIONS)
        or (_swaps_channels(operation))
    ):
        return low, high
    raise ValueError(
        f"the receptive field through layer {operation.name!r} "
        f"({type(operation).__name__}) is not known"
    )


def _swaps_channels(operation):
    """Is this `x[..., 0]`, or the stacking of such? RGB becomes BGR so."""
    kind, shape = type(operation).__name__, operation.output.shape
    read, *_ = keras.tree.flatten(operation.input)
    return shape[1:3] == read.shape[1:3] and (
        kind == "Stack" or kind == "GetItem" and len(shape) == 3
    )


def _window(layer, axis):
    """Size and stride of a sliding window, and the padding before it."""
    sizes = getattr(layer, "kernel_size", None) or layer.pool_size
    dilation = getattr(layer, "dilation_rate", (1, 1))
    size = (sizes[axis] - 1) * dilation[axis] + 1
    stride = layer.strides[axis]
    if layer.padding == "valid":
        return size, stride, 0
    length = layer.input.shape[1 + axis]
    if length is None:
        raise ValueError(
            "model must have a fixed input size, or the padding "
            f"of layer {layer.name!r} is not known"
        )
    rest = length % stride or stride
    return size, stride, max(size - rest, 0) // 2
