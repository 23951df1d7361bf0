"""How a change of some pixels spreads through a network.

Changed pixels in a window change a window of each map: a convolution makes it
larger, a stride smaller. `follow` walks along the operations of a traced
graph and notes how the window of each comes about, as far as that is known.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from .graph import ELEMENTWISE, same_padding, where

#: Of these an element reads the same place of each input, there perhaps all
#: channels.
POINTWISE = set(ELEMENTWISE) | {
    *("Add", "AddN", "AddV2", "BiasAdd", "Cast", "ConcatV2", "Identity"),
    *("LogSoftmax", "PreventGradient", "Softmax", "StopGradient"),
}
POOLS = {"AvgPool", "MaxPool"}
TOTALS = {"Mean", "Sum"}  # over a whole map
KERNELS = {"Conv2D", "DepthwiseConv2dNative", *POOLS}
NONE = ((0, 0), (0, 0))


class Place(NamedTuple):
    """Where windows are the same, and how they follow from those before.

    Pairs are of rows and columns.
    """

    before: tuple  # numbers of the places that are read here
    kernel: tuple
    stride: tuple
    padding: tuple  # before and after the rows, the columns
    shape: tuple  # of the map


class Step(NamedTuple):
    """An operation that can be computed for a window alone."""

    operation: tf.Operation
    kind: str  # "pointwise", "kernel", "pad", "total" or "handed on"
    place: int  # of what it puts out; of a total, of what it reads


class Changes(NamedTuple):
    """What `follow` found."""

    places: list  # of `Place`; the first is that of the pixels
    steps: list  # of `Step`
    at: dict  # a tensor's name -> its place, and the zeros around it
    stop: str  # the layer and operation that ended it; "" if none did


def follow(operations, images) -> Changes:
    """Walk on as long as it is known how the windows spread.

    Args:
        operations: those that depend on the images, in order.
        images: the pixels, `(n, h, w, c)`.
    """
    pixels = Place((), (1, 1), (1, 1), NONE, tuple(images.shape[1:3]))
    found = Changes([pixels], [], {images.name: (0, NONE)}, "")
    dependent = {images.op, *operations}
    for operation in operations:
        read = [t for t in operation.inputs if t.name in found.at]
        if not read or operation.type == "Shape":
            continue
        others = [t for t in operation.inputs if t.name not in found.at]
        kind = None
        if not any(tensor.op in dependent for tensor in others):
            kind = _kind(operation, read, others, found.at)
        if kind is None:
            return found._replace(stop=where(operation))
        place, margins = _place(operation, kind, read, found)
        found.steps.append(Step(operation, kind, place))
        if kind == "handed on":
            for tensor, same in zip(operation.inputs, operation.outputs):
                if tensor.name in found.at:
                    found.at[same.name] = found.at[tensor.name]
        elif kind != "total":
            found.at[operation.outputs[0].name] = place, margins
    return found


def _kind(operation, read, others, at):
    """How its windows are computed; None where that is not known."""
    type_, output = operation.type, operation.outputs[0]
    bordered = any(at[tensor.name][1] != NONE for tensor in read)
    if any(None in (t.shape.rank, *t.shape[1:]) for t in read):
        return None
    if type_ == "IdentityN":  # after functions with a gradient of their own
        return "handed on"
    if operation.node_def.attr["data_format"].s not in (b"", b"NHWC"):
        return None
    if type_ in KERNELS:
        # Zeros around a map differ from what a pooling takes for its border.
        clear = not bordered or operation.get_attr("padding") == b"VALID"
        weights_known = len(read) == 1 and read[0] is operation.inputs[0]
        known = weights_known and (clear or type_ not in POOLS)
        return "kernel" if known else None
    if bordered or any(tensor.shape.rank != 4 for tensor in read):
        return None
    if type_ in ("Pad", "ConcatV2", *TOTALS):
        values = tf.get_static_value(others[-1])
        if values is None:
            return None
        if type_ == "Pad":
            return None if values[[0, 3]].any() else "pad"
        axes = sorted(np.ravel(values) % 4)
        if type_ in TOTALS:
            exact = output.dtype in (tf.float32, tf.float64)
            return "total" if exact and axes == [1, 2] else None
        return "pointwise" if axes == [3] and len(others) == 1 else None
    same = all(tensor.shape[1:3] == output.shape[1:3] for tensor in read)
    uniform = all(
        tensor.shape.rank is not None
        and all(size == 1 for size in tensor.shape[:-1])
        for tensor in others
    )
    return "pointwise" if type_ in POINTWISE and same and uniform else None


def _place(operation, kind, read, found):
    """The number of the place of its output, a new one if need be, and the
    zeros around that."""
    place, margins = found.at[read[0].name]
    if kind == "pad":
        values = tf.get_static_value(operation.inputs[1])
        return place, tuple(map(tuple, values[1:3].tolist()))
    if kind == "pointwise":
        return _union(sorted({found.at[t.name][0] for t in read}), found), NONE
    if kind == "kernel":
        new = _of_kernel(operation, place, margins)
        if (new.kernel, new.stride, new.padding) == ((1, 1), (1, 1), NONE):
            return place, NONE
        return _number(new, found.places), NONE
    return place, NONE


def _of_kernel(operation, before, margins):
    rows_and_columns = operation.inputs[0].shape[1:3]
    stride = operation.get_attr("strides")[1:3]
    if operation.type in POOLS:
        kernel = operation.get_attr("ksize")[1:3]
    else:
        holes = operation.get_attr("dilations")[1:3]
        kernel = [
            (size - 1) * hole + 1
            for size, hole in zip(operation.inputs[1].shape, holes)
        ]
    padding = operation.get_attr("padding")
    sides = NONE
    if padding == b"EXPLICIT":
        numbers = operation.get_attr("explicit_paddings")[2:6]
        sides = tuple(numbers[:2]), tuple(numbers[2:])
    elif padding == b"SAME":
        sides = tuple(map(same_padding, rows_and_columns, kernel, stride))
    total = tuple((a + c, b + d) for (a, b), (c, d) in zip(margins, sides))
    shape = tuple(operation.outputs[0].shape[1:3])
    return Place((before,), tuple(kernel), tuple(stride), total, shape)


def _union(numbers, found):
    """The place of what reads several: one that holds the others, or new."""
    for number in numbers:
        if all(_holds(number, other, found.places) for other in numbers):
            return number
    shape = found.places[numbers[0]].shape
    new = Place(tuple(numbers), (1, 1), (1, 1), NONE, shape)
    return _number(new, found.places)


def _holds(number, other, places):
    """Does each window here surely hold that at the other place?"""
    if number == other:
        return True
    place = places[number]
    grows = place.stride == (1, 1) and all(
        after < size and before < size and before + after == size - 1
        for (before, after), size in zip(place.padding, place.kernel)
    )
    return grows and any(_holds(b, other, places) for b in place.before)


def _number(place, places):
    """Of this place in the list, at its end if it is new."""
    if place not in places:
        places.append(place)
    return places.index(place)


def spans(places, axis, starts, ends):
    """First row of each window and the one after its last (axis 0), or
    columns (1): two int arrays `(places, positions)`.

    A window is never empty, even where no kernel reaches the changed pixels.
    """
    low, high = [np.asarray(starts)], [np.asarray(ends)]
    for place in places[1:]:
        kernel, stride = place.kernel[axis], place.stride[axis]
        pad, length = place.padding[axis][0], place.shape[axis]
        first = np.min([low[b] for b in place.before], axis=0) + pad
        last = np.max([high[b] for b in place.before], axis=0) + pad - 1
        first = np.clip(-((kernel - 1 - first) // stride), 0, length - 1)
        low.append(first)
        high.append(np.clip(last // stride + 1, first + 1, length))
    return np.array(low), np.array(high)
