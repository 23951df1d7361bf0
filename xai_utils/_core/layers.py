"""The layers of a model, those of models inside it too, and what they put out
while the model runs."""

import threading
from contextlib import contextmanager

import keras


@contextmanager
def recording(model, names):
    """A dict: layer -> a list that gets the output of each of its calls.

    Keras has no way to ask for these where a layer is called several times or
    in a model inside. So the layer's `call` is wrapped for the time of one
    trace, and other threads, which may use the layer meanwhile, are ignored.
    """
    outputs, wrapped = {name: [] for name in names}, []
    try:
        for name in names:
            layer = find_layer(model, name)
            way = "quantized_call" if _is_quantized(layer) else "call"
            wrapped.append((layer, way, vars(layer).get(way)))
            setattr(layer, way, _keeping(getattr(layer, way), outputs[name]))
        yield outputs
    finally:
        for layer, way, before in wrapped:
            vars(layer).pop(way, None)
            if before is not None:
                setattr(layer, way, before)


def _keeping(call, outputs):
    """`call`, which also appends what it returns in this thread."""
    thread = threading.get_ident()

    def record(*args, **options):
        output = call(*args, **options)
        if threading.get_ident() == thread:
            outputs.append(output)
        return output

    return record


def _is_quantized(layer):
    return getattr(layer, "quantization_mode", None) is not None


def find_layer(model, name):
    """The layer of that name; ``base/conv3`` lies in the model ``base``."""
    check_name(name)
    place = model
    for part in name.split("/"):
        if isinstance(place, keras.Model) and not is_open(place):
            raise ValueError(
                f"a subclassed model hides its layers, so that {name!r} can't "
                "be found: build it as a functional or a Sequential model"
            )
        inside = {}
        if isinstance(place, keras.Model):
            inside = {layer.name: layer for layer in place.layers}
        if part not in inside:
            raise ValueError(
                f"layer must be one of {', '.join(layer_names(model))}; "
                f"got {name!r}"
            )
        place = inside[part]
    return place


def check_name(name):
    """Raise a TypeError unless it can be the name of a layer."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"layer must be a layer's name; got {name!r}")


def is_open(model):
    """Can its layers be seen? Those of a subclassed model can't."""
    return bool(getattr(model, "inputs", None))


def layer_names(model, above=""):
    """The names of all layers, those in nested models with their path."""
    names = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        names.append(above + layer.name)
        if isinstance(layer, keras.Model) and is_open(layer):
            names += layer_names(layer, f"{above}{layer.name}/")
    return names
