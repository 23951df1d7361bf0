"""Batch normalisation and zero padding taken into convolutions.

After training, batch normalisation multiplies each channel by one number and
adds another. A convolution whose kernel was multiplied beforehand spares these
passes over its output, forward and backward. The product stands in the graph:
it costs as much as the kernel is large, and is never that of older weights.
Zeros around a map need not be written, where the convolution's own padding
("same") would take the same ones.
"""

import tensorflow as tf

from .graph import between, same_padding

#: The axes of a kernel that count the output's channels.
KERNELS = {"Conv2D": 1, "DepthwiseConv2dNative": 2}
SUMS = {"AddV2", "BiasAdd", "Sub"}
SAME = tf.compat.v1.AttrValue(s=b"SAME")


def fold(images, outputs):
    """The same outputs, computed with folded batch normalisation.

    Args:
        images: the pixels, a tensor of the graph that is being traced.
        outputs: a structure of tensors that depend on them.
    """
    operations = between(images, outputs)
    if any(_has_own_gradient(operation) for operation in operations):
        return outputs
    dependent = {images.op, *operations}
    new = {}  # a tensor's name -> what takes its place
    # All, those that read only a size, too: they would keep the old ones.
    for operation in images.graph.get_operations():
        chain = _affine_chain(operation, dependent)
        if chain:
            made = [_folded(chain, new)]
        elif operation.type in KERNELS and _spares_padding(operation):
            made = [_convolved(operation, operation.inputs[1], new)]
        elif any(tensor.name in new for tensor in operation.inputs):
            made = copied(operation, _renewed(operation.inputs, new)).outputs
        else:
            continue
        for tensor, other in zip(operation.outputs, made):
            new[tensor.name] = other
    return tf.nest.map_structure(lambda t: _renewed([t], new)[0], outputs)


def copied(operation, inputs, changes=None):
    """The same operation on other tensors, in the graph being traced.

    Args:
        changes: dict name -> new value, for those attributes that it has.
    """
    attributes = dict(operation.node_def.attr)
    for name in attributes.keys() & (changes or {}):
        attributes[name] = changes[name]
    return tf.compat.v1.get_default_graph().create_op(
        operation.type,
        list(inputs),
        [tensor.dtype for tensor in operation.outputs],
        name=operation.name,
        attrs=attributes,
    )


def _has_own_gradient(operation):
    """Would a copy go back another way, or none? So it is with calls, loops
    and branches, and with functions that come with a gradient."""
    attributes = operation.node_def.attr
    return attributes["_gradient_op_type"].s.startswith(
        b"CustomGradient"
    ) or any(
        each.WhichOneof("value") == "func" for each in attributes.values()
    )


def _renewed(tensors, new):
    return [new.get(tensor.name, tensor) for tensor in tensors]


def _affine_chain(last, dependent):
    """A convolution and all that scales and shifts its channels, if the chain
    ends here, scales, and nobody else reads what lies between."""
    if not _is_affine(last, dependent):
        return None
    chain = [last]
    while _is_affine(chain[0], dependent):
        before = chain[0].inputs[0].op
        if len(before.outputs[0].consumers()) > 1:
            return None
        chain.insert(0, before)
    readers = last.outputs[0].consumers()
    goes_on = len(readers) == 1 and _is_affine(readers[0], dependent)
    if (
        chain[0].type not in KERNELS
        or chain[0].inputs[1].op in dependent
        or goes_on
        or last.outputs[0].dtype.size < 4  # rounding a kernel to half is no
        or "Mul" not in {operation.type for operation in chain}
    ):
        return None
    return chain


def _is_affine(operation, dependent):
    """Does it scale or shift channels by constants?"""
    if operation.type not in SUMS | {"Mul"}:
        return False
    x, constant = operation.inputs
    return (
        x.op in dependent
        and constant.op not in dependent
        and constant.shape == x.shape[-1:]
    )


def _folded(chain, new):
    """The convolution with all that its channels are scaled and shifted by."""
    convolution, *changes = chain
    (kernel,) = _renewed(convolution.inputs[1:], new)
    scale, shift = 1.0, 0.0
    for change in changes:
        constant = change.inputs[1]
        if change.type == "Mul":
            scale, shift = scale * constant, shift * constant
        elif change.type == "Sub":
            shift -= constant
        else:
            shift += constant
    channels = kernel.shape[-KERNELS[convolution.type] :]
    kernel *= tf.reshape(scale, channels)
    return tf.nn.bias_add(_convolved(convolution, kernel, new), shift)


def _convolved(convolution, kernel, new):
    """The convolution with this kernel, and without zeros written before."""
    x, changes = convolution.inputs[0], {}
    if _spares_padding(convolution):
        x, changes = x.op.inputs[0], {"padding": SAME}
    return copied(convolution, _renewed([x, kernel], new), changes).outputs[0]


def _spares_padding(convolution):
    """Are zeros written before it, those of its own padding "same"?"""
    pad = convolution.inputs[0].op
    if pad.type != "Pad" or (
        convolution.get_attr("padding"),
        convolution.get_attr("data_format"),
    ) != (b"VALID", b"NHWC"):
        return False
    margins = tf.get_static_value(pad.inputs[1])
    sides = pad.inputs[0].shape[1:3]
    if margins is None or None in sides:
        return False
    own = [
        same_padding(side, (size - 1) * hole + 1, stride)
        for side, size, hole, stride in zip(
            sides,
            convolution.inputs[1].shape,
            convolution.get_attr("dilations")[1:3],
            convolution.get_attr("strides")[1:3],
        )
    ]
    return [tuple(each) for each in margins] == [(0, 0), *own, (0, 0)]
