"""The layers of a Keras model in the order in which they run: for code that
walks through a network itself, layer by layer."""

from typing import NamedTuple

import keras


class Step(NamedTuple):
    """One layer, or operation, and the numbers of the tensors around it."""

    operation: keras.Operation
    inputs: tuple  # keys of the tensors that it reads
    output: int  # key of the tensor that it makes


def steps(model, layer=None):
    """The steps from the pixels to the model's outputs, or to one layer.

    Args:
        model: a functional or a Sequential keras.Model, flat: with no model
            inside and no layer that is used twice.
        layer: the name of the layer at which to stop; None goes to the end.

    Returns:
        list of Step in running order; the first makes the pixels. And a
        keras.Function: [images] -> the outputs of all steps, in that order.
        It runs as the model does after training.

    Raises:
        ValueError: the model is not flat, or has no such layer.
    """
    if not getattr(model, "inputs", None):
        raise ValueError(
            "model must be a functional or a Sequential model; "
            "a subclassed model hides its layers"
        )
    names = [one.name for one in model.layers]
    if layer is not None and layer not in names:
        raise ValueError(
            f"layer must be one of {', '.join(names)}; got {layer!r}"
        )
    ends = model.outputs if layer is None else [model.get_layer(layer).output]
    operations = keras.Function(model.inputs, ends).operations
    found, made = [], set()
    for operation in operations:
        if isinstance(operation, keras.Model):
            raise ValueError(
                f"model must be flat, but {operation.name!r} is a model "
                "inside it: build it on input_tensor=… instead of calling it"
            )
        read = keras.tree.flatten(operation.input)
        if isinstance(operation, keras.layers.InputLayer):
            read = []
        step = Step(operation, tuple(map(id, read)), id(operation.output))
        if not made.issuperset(step.inputs):
            raise ValueError(_TWICE.format(operation.name))
        found.append(step)
        made.add(step.output)
    if not made.issuperset(map(id, ends)):
        raise ValueError(_TWICE.format(operations[-1].name))
    outputs = [step.operation.output for step in found]
    return found, keras.Function(model.inputs, outputs)


_TWICE = (
    "each layer must be used once, but {!r}, or one before it, is used "
    "again, here or in another model. In the second case a copy by "
    "keras.models.clone_model (and set_weights) will do"
)
