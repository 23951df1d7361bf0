"""What a compiled function depends on, as a value that can be compared.

TensorFlow freezes into a graph all that is no variable: the layers, their
settings, the numbers that a target captured. Two equal fingerprints mean that
a new graph would be the old one. Where that can't be known there is none.
"""

import dis
import sys
import types
import weakref
from functools import cache, lru_cache, partial

import keras
import numpy as np
import tensorflow as tf

#: What these packages define by name does not change between two calls.
PACKAGES = ("keras", "tensorflow", "numpy", "math", "xai_utils")

#: What Keras keeps in a layer besides what its inference depends on.
BOOKKEEPING = {
    *("_auto_config", "_build_shapes_dict", "_call_signature", "_called"),
    *("_inbound_nodes", "_input_spec", "_layers", "_lock", "_losses"),
    *("_loss_ids", "_losses_override", "_metrics", "_non_trainable_variables"),
    *("_outbound_nodes", "_parent_path", "_path", "_seed_generators"),
    *("_tracked", "_tracker", "_trainable", "_trainable_variables", "build"),
    *(
        "built",
        "call_signature_parameters",
        "name",
        "quantize",
        "supports_jit",
    ),
}
UNUSED = ("_self_", "_saved_model_", "_call_")
UNUSED_ENDS = ("_initializer", "_regularizer", "_constraint")

#: Builtins through which a function can't reach what may change.
HARMLESS = {"abs", "bool", "dict", "enumerate", "float", "int", "isinstance"}
HARMLESS |= {"len", "list", "max", "min", "range", "reversed", "round", "set"}
HARMLESS |= {"slice", "sorted", "sum", "tuple", "zip"}


class _Unknown(Exception):
    """It can't be known whether this will be the same at the next call."""


class _Same:
    """Equal to itself only, while the object lives; does not keep it."""

    def __init__(self, thing):
        self.thing, self.number = weakref.ref(thing), id(thing)

    def __eq__(self, other):
        return isinstance(other, _Same) and (
            self.thing() is not None and self.thing() is other.thing()
        )

    def __hash__(self):
        return self.number


def fingerprint(*things):
    """A hashable value; None where `things` may change unnoticed."""
    try:
        return _of(things, {})
    except _Unknown:
        return None


def _of(thing, seen):
    """The fingerprint of anything; `seen`: objects met before, by id."""
    kind = type(thing)
    if kind in _PLAIN:
        return kind, thing
    if isinstance(thing, (list, tuple)):
        return "list", *[_of(item, seen) for item in thing]
    if isinstance(thing, dict):
        return "dict", *[(key, _of(thing[key], seen)) for key in thing]
    if isinstance(thing, (set, frozenset)):
        return "set", frozenset(_of(item, seen) for item in thing)
    if kind is keras.DTypePolicy:  # in every layer, and can't be changed
        return kind, thing.name
    if isinstance(thing, _BY_IDENTITY):
        return _Same(thing)
    if _package(kind) == "keras":
        return _of_keras(thing, seen)
    if isinstance(thing, (types.ModuleType, type)):
        return _named(thing)
    if isinstance(thing, np.ndarray) and thing.dtype.kind != "O":
        return thing.shape, thing.dtype.str, thing.tobytes()
    if isinstance(thing, partial):
        return partial, _of((thing.func, thing.args, thing.keywords), seen)
    if isinstance(thing, types.MethodType):
        return _of(thing.__func__, seen), _of(thing.__self__, seen)
    if callable(thing) and hasattr(thing, "__qualname__"):
        return _of_function(thing, seen)
    raise _Unknown


def _of_keras(thing, seen):
    """An object of a class that Keras itself defines."""
    if id(thing) in seen:
        return "met before", seen[id(thing)]
    seen[id(thing)] = len(seen)
    state = vars(thing)
    if isinstance(thing, keras.Model):
        if "call" in state or type(thing) is keras.Model:
            raise _Unknown  # what it does is not known from its layers
        # A functional model is fixed by its layers and the tensors at both
        # ends, a Sequential one by its layers alone.
        parts = getattr(thing, "operations", None) or thing.layers
        state = {"policy": thing.dtype_policy, "parts": parts}
        if not isinstance(thing, keras.Sequential):
            state["ends"] = thing.inputs + thing.outputs
    return type(thing), *[
        # Most values are plain; asked here, this takes half the time.
        (name, type(value), value)
        if type(value) in _PLAIN
        else (name, _of(value, seen))
        for name, value in state.items()
        if _matters(name)
    ]


@cache
def _matters(name):
    """Can this attribute of a layer change what it does?"""
    return not (
        name in BOOKKEEPING
        or name.startswith(UNUSED)
        or name.endswith(UNUSED_ENDS)
    )


def _of_function(function, seen):
    """A function: one of the known packages, or one that reads nothing but
    its arguments, these packages and harmless builtins."""
    if _is_defined_in_package(function):
        return function
    if not isinstance(function, types.FunctionType) or function.__closure__:
        raise _Unknown
    read = []
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            read.append((name, _named(function.__globals__[name])))
        elif name not in HARMLESS:
            raise _Unknown
    defaults = function.__defaults__, function.__kwdefaults__
    return function.__code__, *read, _of(defaults, seen)


@lru_cache
def _global_names(code):
    """The global names that a function and those inside it read."""
    names = set()
    for instruction in dis.get_instructions(code):
        # np.random is looked up as an attribute, and differs each time.
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME"):
            names.add(instruction.argval)
        elif instruction.argval == "random":
            names.add("random")
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names |= _global_names(inner)
    return frozenset(names)


def _named(thing):
    """A module, class or function of the packages; no other is known."""
    if isinstance(thing, types.ModuleType):
        known = _package(thing) in PACKAGES
    else:
        known = _is_defined_in_package(thing)
    if not known:
        raise _Unknown
    return thing


def _is_defined_in_package(thing):
    """Is it the class or function that a package has under its name?"""
    name = getattr(thing, "__qualname__", "<")
    if "<" in name or _package(thing) not in PACKAGES:
        return False
    place = sys.modules.get(thing.__module__)
    for part in name.split("."):
        place = getattr(place, part, None)
    return place is thing


def _package(thing):
    """The package in which a module, class or function is defined."""
    module = getattr(thing, "__module__", None)
    if module is None:
        module = getattr(thing, "__name__", "")
    return module.partition(".")[0]


_PLAIN = {type(None), bool, int, float, complex, str, bytes, np.dtype}
_PLAIN |= {type(...), tf.DType, tf.TensorShape, *np.sctypeDict.values()}
_BY_IDENTITY = (tf.Tensor, tf.Variable, keras.Variable, keras.KerasTensor)
