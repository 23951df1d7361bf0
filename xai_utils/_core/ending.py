"""What a model ends in: scores or probabilities. Read off its operations; its
numbers decide only where that can't be seen."""

import tensorflow as tf

from .graph import dtypes

#: Operations that are looked through: means, products or cuts of probabilities
#: are such, or nearly, and of scores scores. And operations that make scores.
KEEPING = {
    *("AddN", "AddV2", "Cast", "ConcatV2", "ExpandDims", "Identity", "Max"),
    *("Maximum", "Mean", "Min", "Minimum", "Mul", "Neg", "Pack", "Prod"),
    *("RealDiv", "Reshape", "Squeeze", "StopGradient", "StridedSlice"),
    *("Sub", "Sum", "Transpose"),
}
SCORING = {"BiasAdd", "Conv2D", "LogSoftmax", "MatMul"}
CONSTANT = {"Const", "ReadVariableOp", "Placeholder", "Shape"}


def ending(outputs):
    """What made these outputs: a ``"soft-max"``, a ``"sigmoid"``,
    ``"scores"``; None where it can't be seen."""
    if tf.executing_eagerly():
        return None
    kinds, seen, waiting = set(), set(), [outputs.op]
    while waiting:
        operation = waiting.pop()
        if operation in seen or operation.type in CONSTANT:
            continue
        seen.add(operation)
        if operation.type in KEEPING:
            waiting += [tensor.op for tensor in operation.inputs]
        elif operation.type in SCORING:
            kinds.add("scores")
        else:
            name = {"Softmax": "soft-max", "Sigmoid": "sigmoid"}
            kinds.add(name.get(operation.type))
    if kinds == {"soft-max", "sigmoid"}:
        return "sigmoid"  # probabilities, too, that do not sum to one
    return kinds.pop() if len(kinds) == 1 else None


def is_distribution(outputs):
    """Of which images the outputs are not negative and sum to one, as far as
    the model's precision can tell: bool `(n,)`."""
    tolerance = _tolerance(outputs)
    total = tf.reduce_sum(outputs, axis=1)
    return (tf.reduce_min(outputs, axis=1) >= 0) & (abs(total - 1) < tolerance)


def _tolerance(outputs):
    """How far from one the sum of a soft-max may be, where half precision
    was used on the way."""
    used = {outputs.dtype}
    if not tf.executing_eagerly():
        used = dtypes(outputs.graph)
    if tf.bfloat16 in used:
        return 3e-2
    return 4e-3 if tf.float16 in used else 1e-4
