"""A traced step of a model, computed anew for windows of changed pixels.

The step was traced for whole pictures. From its graph two functions are made:
`clean` takes the picture as it is and returns all that the windows will read,
maps of the clean picture and weights; `changed` takes windows of new pixels
and returns what the step would return for the changed pictures.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from .changes import NONE, Changes, follow
from .folding import copied
from .graph import path
from .reading import Reading

VALID_ONLY = {
    "padding": tf.compat.v1.AttrValue(s=b"VALID"),
    "explicit_paddings": tf.compat.v1.AttrValue(
        list=tf.compat.v1.AttrValue.ListValue()
    ),
}


class Known(NamedTuple):
    """A tensor of the clean picture, with a border around it."""

    name: str
    padding: tuple = NONE
    border: float = 0.0

    def spec(self, graph):
        """Its shape and dtype."""
        tensor = graph.get_tensor_by_name(self.name)
        sides = tensor.shape.as_list()
        for axis, margins in zip((1, 2), self.padding):
            if margins != (0, 0):
                sides[axis] += sum(margins)
        return tf.TensorSpec(sides, tensor.dtype)


class Functions(NamedTuple):
    """What `build` made."""

    clean: Callable  # image (1, h, w, c) -> list of tensors
    changed: Callable  # patches, numbers, arguments, that list -> result
    readings: list  # of `Reading`, for which numbers of pixels are wanted


class _Window(NamedTuple):
    """The changed part of a map in each of n changed pictures."""

    values: tf.Tensor  # (n, h, w, c)
    place: int  # its number in `Changes.places`
    clean: tf.Tensor  # the whole map, in the graph of the step


def changes_in(call) -> Changes:
    """How changed pixels spread through the graph of a step."""
    return follow(operations_of(call), _arguments(call)[0])


def operations_of(call) -> list:
    """The operations through which its result depends on its arguments."""
    return path(_arguments(call), call.outputs, sizes=True)


def build(call, changes: Changes, cut: int) -> Functions:
    """Make both functions.

    Args:
        call: the concrete function of a step. Its first argument is the
            pictures `(n, h, w, c)`; the others have n entries, too.
        changes: from `changes_in`.
        cut: so many of the changes' steps are computed for windows; all that
            follows for whole maps.

    Returns:
        Functions. `changed` takes the new pixels `(n, h, w, c)`; for each
        reading what `reading.numbers` says; the other arguments of `call`;
        what `clean` returned.
    """
    images, *others = _arguments(call)
    patches = tf.TensorSpec((None, None, None, images.shape[-1]), images.dtype)
    others = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in others]
    known, readings = _asked(call, changes, cut, patches, others)

    def changed(patches, numbers, arguments, given):
        emission = _Emission(
            call,
            changes,
            cut,
            dict(zip(readings, numbers)).get,
            dict(zip(known, given)).get,
        )
        return emission(patches, arguments)

    image = tf.TensorSpec((1, *images.shape[1:]), images.dtype)
    number = tf.TensorSpec((None, None, None), tf.int32)
    given = [each.spec(call.graph) for each in known]
    return Functions(
        _compiled(lambda image: _clean(call, image, known), [image]),
        _compiled(changed, [patches, [number] * len(readings), others, given]),
        readings,
    )


def _arguments(call):
    """The tensors in the graph that stand for a function's arguments."""
    inputs, captures = call.graph.inputs, call.graph.captures
    return inputs[: len(inputs) - len(captures)]


def _compiled(function, signature):
    return tf.function(
        function, input_signature=signature, autograph=False
    ).get_concrete_function()


def _asked(call, changes, cut, patches, others):
    """What `changed` reads of the clean picture, and where: found by writing
    it once for nobody."""
    known, readings = {}, {}

    def read(reading):
        readings[reading] = True
        return tf.compat.v1.placeholder(tf.int32, (None, None, None))

    def ask(each):
        known[each] = True
        return blank(each.spec(call.graph))

    def blank(spec):
        return tf.compat.v1.placeholder(spec.dtype, spec.shape)

    with tf.Graph().as_default():
        emission = _Emission(call, changes, cut, read, ask)
        emission.outside = {n: blank(t) for n, t in emission.outside.items()}
        emission(blank(patches), [blank(spec) for spec in others])
    return list(known), list(readings)


def _clean(call, image, known):
    """The tensors that are asked for, from the clean picture."""
    graph = call.graph
    new = {inside.name: outside for outside, inside in graph.captures}
    new[graph.inputs[0].name] = image
    wanted = [graph.get_tensor_by_name(each.name) for each in known]
    needed, waiting = set(), [tensor.op for tensor in wanted]
    while waiting:
        operation = waiting.pop()
        if operation not in needed:
            needed.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
    for operation in graph.get_operations():
        if operation in needed and operation.outputs[0].name not in new:
            copy = copied(operation, [new[t.name] for t in operation.inputs])
            new |= zip((t.name for t in operation.outputs), copy.outputs)
    return [_bordered(new[k.name], k.padding, k.border) for k in known]


def _bordered(tensor, padding, border):
    if padding == NONE:
        return tensor
    return tf.pad(tensor, [(0, 0), *padding, (0, 0)], constant_values=border)


class _Emission:
    """Writes the operations of `changed` into the graph being traced.

    `read` gives the numbers for a `Reading`, `ask` the tensor for a `Known`.
    """

    def __init__(self, call, changes, cut, read, ask):
        self.call, self.changes, self.read, self.ask = call, changes, read, ask
        self.steps = {s.operation: s for s in changes.steps[:cut]}
        self.outside = {inside.name: o for o, inside in call.graph.captures}
        self.made = {}  # name in the step's graph -> a tensor or a _Window

    def __call__(self, patches, arguments):
        images, *others = _arguments(self.call)
        self.made[images.name] = _Window(patches, 0, images)
        self.made |= zip((t.name for t in others), arguments)
        for operation in operations_of(self.call):
            if operation in self.steps:
                results = self._windowed(self.steps[operation])
            else:
                results = self._whole(operation)
            self.made |= zip((t.name for t in operation.outputs), results)
        flat = [self._full(tensor) for tensor in self.call.outputs]
        return tf.nest.pack_sequence_as(self.call.structured_outputs, flat)

    def _whole(self, operation):
        """As it is, for whole maps."""
        first = self.made.get(operation.inputs[0].name)
        if operation.type == "Shape" and isinstance(first, _Window):
            n = tf.shape(first.values)[:1]
            sides = tf.concat([n, first.clean.shape[1:]], axis=0)
            return [tf.cast(sides, operation.outputs[0].dtype)]
        return copied(operation, map(self._full, operation.inputs)).outputs

    def _full(self, tensor):
        """What stands for a tensor of the step; for a window the whole map."""
        made = self.made.get(tensor.name)
        if made is None:
            return self._fixed(tensor)
        if not isinstance(made, _Window):
            return made
        full = self._gathered(made, target=None)
        full.set_shape((None, *made.clean.shape[1:]))
        return _bordered(full, self.changes.at[tensor.name][1], 0)

    def _fixed(self, tensor):
        """A tensor that depends on no argument."""
        if tensor.name in self.outside:
            return self.outside[tensor.name]
        value = tf.get_static_value(tensor)
        if value is not None:
            return tf.constant(value, tensor.dtype)
        return self.ask(Known(tensor.name))

    def _windowed(self, step):
        """For windows alone."""
        operation = step.operation
        read = [self.made.get(t.name) for t in operation.inputs]
        window = next(each for each in read if each is not None)
        if step.kind == "pad":
            return [window]
        if step.kind == "total":
            return [self._total(operation, window)]
        inputs = [
            self._fixed(tensor) if made is None else made.values
            for made, tensor in zip(read, operation.inputs)
        ]
        if step.kind == "handed on":
            return [
                same if made is None else made
                for made, same in zip(read, inputs)
            ]
        if step.kind == "kernel" and step.place != window.place:
            values = self._kernel(step, window, inputs[1:])
        else:
            for number, made in enumerate(read):
                if made is not None and made.place != step.place:
                    inputs[number] = self._gathered(made, step.place)
            values = copied(operation, inputs).outputs[0]
        return [_Window(values, step.place, operation.outputs[0])]

    def _kernel(self, step, window, others):
        """A convolution or pooling of windows and of what lies around."""
        operation = step.operation
        place = self.changes.places[step.place]
        own_border = operation.get_attr("padding") != b"VALID"
        border = 0.0
        if operation.type == "MaxPool" and own_border:
            border = window.clean.dtype.min
        read = self._gathered(window, step.place, place, border)
        values = copied(operation, [read, *others], VALID_ONLY).outputs[0]
        if operation.type == "AvgPool" and own_border:
            # A mean counts only what lies in the map.
            reading = Reading(place.shape, None, step.place)
            shares = tf.constant(_shares(place, window.clean), values.dtype)
            values /= tf.gather(shares, self.read(reading))[..., None]
        return values

    def _total(self, operation, window):
        """The sum or mean of a map: of its clean pixels outside the window,
        and of the window's. (The clean total, less what was in the window,
        would cancel where the window held nearly all of it.)"""
        _, height, width, channels = window.clean.shape
        reading = Reading((height, width), window.place, None)
        clean = self.ask(Known(window.clean.name))
        outside = tf.cast(self.read(reading) < height * width, clean.dtype)
        total = tf.reduce_sum(window.values, axis=(1, 2)) + tf.matmul(
            tf.reshape(outside, (-1, height * width)),
            tf.reshape(clean, (-1, channels)),
        )
        if operation.type == "Mean":
            total /= height * width
        if operation.outputs[0].shape.rank == 4:
            total = total[:, None, None, :]
        return total

    def _gathered(self, window, target, place=None, border=0.0):
        """What a place reads of a map with changed windows."""
        shape = tuple(window.clean.shape[1:3])
        reading = Reading(shape, window.place, target, place)
        clean = self.ask(Known(window.clean.name, reading.padding, border))
        channels = clean.shape[-1]
        pixels = tf.concat(
            [
                tf.reshape(clean, (-1, channels)),
                tf.reshape(window.values, (-1, channels)),
            ],
            axis=0,
        )
        return tf.gather(pixels, self.read(reading))


def _shares(place, clean):
    """Which part of a kernel at each pixel lies in the map it reads: an array
    with a number for each."""
    sides = []
    for axis in (0, 1):
        kernel = place.kernel[axis]
        first = np.arange(place.shape[axis]) * place.stride[axis]
        first = first - place.padding[axis][0]
        last = np.minimum(first + kernel, clean.shape[1 + axis])
        sides.append((last - np.maximum(first, 0)) / kernel)
    return np.outer(*sides).ravel()
