"""The operations of TensorFlow that a network is made of, between its pixels
and what it puts out: the same for flat, nested and subclassed models."""

import re

import tensorflow as tf

#: Linear in all inputs that depend on the pixels, however many. Max and
#: MaxPool choose a place, and are linear for that choice. Constants, such as
#: biases, never enter the gradient.
LINEAR = {
    *("Add", "AddN", "AddV2", "AvgPool", "BatchToSpaceND", "BiasAdd", "Cast"),
    *("ConcatV2", "DepthToSpace", "ExpandDims", "Gather"),
    *("GatherV2", "Identity", "Max", "MaxPool", "Mean", "MirrorPad", "Neg"),
    *("Pack", "Pad", "PadV2", "Reshape", "ResizeBicubic", "ResizeBilinear"),
    *("ResizeNearestNeighbor", "ReverseV2", "Roll", "SpaceToBatchND"),
    *("SpaceToDepth", "Split", "SplitV", "Squeeze", "StridedSlice", "Sub"),
    *("Sum", "Tile", "Transpose", "Unpack"),
}
#: Linear in one tensor, where the others are constants or weights.
LINEAR_IN_ONE = {
    *("Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MatMul"),
    *("BatchMatMulV2", "Einsum", "Mul", "RealDiv"),
}
#: Operations of which an element reads the same place of each input.
ELEMENTWISE = (
    *("Abs", "Elu", "Erf", "Erfc", "Exp", "LeakyRelu", "Log", "Maximum"),
    *("Minimum", "Mul", "Neg", "Pow", "RealDiv", "Relu", "Relu6", "Rsqrt"),
    *("Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Square"),
    *("SquaredDifference", "Sub", "Tanh"),
)
#: What else may stand in a function that the graph calls.
IN_FUNCTIONS = {
    *("Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative"),
    *("Const", "NoOp", "ReadVariableOp", "Shape"),
}
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
#: These read sizes, not values.
SIZES = {"Shape", "ShapeN", "Size", "Rank"}


def dtypes(graph):
    """The types of all tensors in a graph."""
    operations = graph.get_operations()
    return {tensor.dtype for op in operations for tensor in op.outputs}


def between(pixels, tensors):
    """The operations through which tensors depend on the pixels, in order."""
    return path([pixels], tensors, sizes=False)


def path(sources, tensors, sizes):
    """The operations through which tensors depend on the sources, in order.

    With `sizes` those, too, that depend on the size of a source only.
    """
    starts = {source.op for source in sources}
    dependent = set(starts)
    operations = sources[0].graph.get_operations()  # what is read comes first
    for operation in operations:
        if (sizes or operation.type not in SIZES) and any(
            tensor.op in dependent for tensor in operation.inputs
        ):
            dependent.add(operation)
    needed, waiting = set(), [t.op for t in tf.nest.flatten(tensors)]
    while waiting:
        operation = waiting.pop()
        if operation in dependent and operation not in needed:
            needed.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
    return [op for op in operations if op in needed and op not in starts]


def is_linear(operation, dependent):
    """Is the way back through it a transposed linear map?

    `dependent`: the set of the operations that depend on the pixels.
    """
    if operation.type == "FusedBatchNormV3":
        return not operation.get_attr("is_training")
    if operation.type in CALLS:
        return _calls_linear(operation)
    if operation.type in LINEAR:
        return True
    inputs = [tensor.op in dependent for tensor in operation.inputs]
    if operation.type == "RealDiv":
        return not inputs[1]
    return operation.type in LINEAR_IN_ONE and sum(inputs) == 1


def _calls_linear(operation):
    """Is all linear in the function that is called? Keras calls one for a
    convolution in groups."""
    name = operation.get_attr("f").name
    for function in operation.graph.as_graph_def().library.function:
        if function.signature.name == name:
            kinds = {node.op for node in function.node_def}
            return kinds <= LINEAR | IN_FUNCTIONS
    return False


def where(operation):
    """In which layer an operation lies, for error texts.

    TensorFlow names it model/layer/…/operation, each with a number behind.
    """
    *scopes, _ = operation.name.split("/")
    path = "/".join(re.sub(r"_\d+$", "", scope) for scope in scopes[1:])
    return f"layer {path!r} ({operation.type})" if path else operation.type


def same_padding(length, kernel, stride):
    """What TensorFlow's padding "same" adds before and after."""
    missing = (-(-length // stride) - 1) * stride + kernel - length
    missing = max(missing, 0)
    return missing // 2, missing - missing // 2
