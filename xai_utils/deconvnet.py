"""The deconvnet: from a unit back to the pixels, by three rules.

Zeiler & Fergus (2014), §2.1; Simonyan, Vedaldi, Zisserman (2014), §4; guided
back-propagation: Springenberg et al. (2014). The three differ in what a ReLU
does to the signal on its way back, and in nothing else. So the network runs
forward as it is, only its ReLUs are given another gradient.
"""

from functools import partial
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ._core.backward import explain, output_slopes, pull_back
from ._core.graph import between, is_linear, where
from ._core.inputs import check_batch_size, check_images
from ._core.layers import find_layer
from ._core.progress import batches
from ._core.runner import runner
from .targets import AnyTarget, Target, as_target

#: The gradients that a rule gives to the operations of a ReLU, by name. One
#: with a cap is Relu6, or a Relu whose output is clipped by Minimum, Maximum.
#: The deconvnet looks at the signal alone, so a cap stops nothing.
RULES = {
    "gradient": {},
    "deconvnet": {
        "Relu": "xai_positive",
        "Relu6": "xai_positive",
        "Maximum": "xai_positive",
        "Minimum": "xai_all",
    },
    "guided": {
        "Relu": "xai_positive_where_active",
        "Relu6": "xai_positive_below_six",
        "Maximum": "xai_positive_where_active",
        "Minimum": "xai_below_cap",
    },
}


class Strongest(NamedTuple):
    """What `strongest` found for each of the k channels of a layer."""

    images: np.ndarray  # (k, top): which image, the strongest first
    positions: np.ndarray | None  # (k, top, 2): row, column; None if dense
    activations: np.ndarray  # (k, top)


def project(
    model: keras.Model,
    images,
    target: AnyTarget,
    rule: str = "deconvnet",
    batch_size: int = 32,
) -> np.ndarray:
    """Project a unit, or any other target, down to the pixels.

    In the paper all of a layer but the unit is set to zero, and what is left
    goes back through the network. The same comes out if the unit is
    differentiated, and only the ReLUs have another gradient: the signal R that
    meets one with the output X goes on as

    - ``"gradient"``: R where X > 0, else 0: the gradient of the target;
    - ``"deconvnet"``: R where R > 0, else 0;
    - ``"guided"``: R where both X > 0 and R > 0, else 0.

    A ReLU with a cap is closed to the gradient and the guided signal where X
    is cut at the cap, too; to the deconvnet's it is like any other. A max-pool
    sends the signal to the place of its maximum, the "switch".

    Args:
        model: any keras.Model of convolutions, ReLUs (also capped), max-pools
            and other layers that are linear once it is trained; models may
            lie inside it. For ``"gradient"`` any keras.Model.
        images: `(n, h, w, c)`, in the range that the model takes.
        target: what to project, see `targets`; for a unit
            ``unit(layer, channel, (row, column))``.
        rule: ``"gradient"``, ``"deconvnet"`` or ``"guided"``.
        batch_size: images a pass; memory grows with it.

    Returns:
        `(n, h, w, c)`, signed. The signal starts at 1 (as ∂ target / ∂ unit);
        times the unit's activation it is the paper's projection, which starts
        at the activation.

    Raises:
        TypeError, ValueError: an argument is not as described here; what the
        signal meets has no rule, and the message names it.
    """
    if rule not in RULES:
        raise ValueError(
            f"rule must be one of {', '.join(RULES)}; got {rule!r}"
        )
    step = partial(_project, rule)
    return explain(model, images, as_target(target), batch_size, step)


def strongest(
    model: keras.Model, images, layer: str, top: int = 9, batch_size: int = 128
) -> Strongest:
    """For each feature map of a layer the images that excite it most.

    Of each image only the strongest unit of a map counts, so that an image
    appears once: Fig. 2 of Zeiler & Fergus.

    Args:
        model: any functional or Sequential keras.Model.
        images: `(n, h, w, c)`, n ≥ `top`.
        layer: the name of a layer with output `(n, h, w, k)` or `(n, k)`, as
            for `targets.unit`.
        top: how many images to keep for each map.
        batch_size: images a pass; memory grows with it, not with n.

    Returns:
        Strongest. Of equal activations the first image and unit come first.

    Raises:
        TypeError, ValueError: an argument is not as described here.
    """
    images = check_images(model, images)
    check_batch_size(batch_size)
    find_layer(model, layer)
    if not isinstance(top, (int, np.integer)) or not 1 <= top <= len(images):
        raise ValueError(
            f"top must be a whole number from 1 to the number of images, "
            f"{len(images)}; got {top!r}"
        )
    read_layer = Target(tf.identity, layer=layer)
    peaks = runner(model, partial(_peaks, layer), [read_layer], images)
    best = None
    for batch in batches(len(images), batch_size):
        activations, places, width = peaks(images[batch])
        which = np.arange(batch.start, batch.stop)[:, None]
        which = np.broadcast_to(which, activations.shape)
        candidates = [which, places, activations]
        if best is not None:
            candidates = map(np.concatenate, zip(best, candidates))
        which, places, activations = candidates
        order = np.argsort(-activations, axis=0, kind="stable")[:top]
        best = [
            np.take_along_axis(table, order, axis=0)
            for table in (which, places, activations)
        ]
    which, places, activations = (table.T for table in best)
    positions = None
    if width:  # a place is the number of a unit, row by row
        positions = np.stack(np.divmod(places, width), axis=-1)
    return Strongest(which, positions, activations)


def _project(rule, read, targets, images):
    """The step: forward with the rule's ReLUs, and back to the pixels.

    The target itself is differentiated as it is, with whatever ReLU it has.
    """
    with images.graph.gradient_override_map(RULES[rule]):
        outputs = read(images)
    (target,) = targets
    scores = target(outputs)
    tensors, slopes = output_slopes(scores, outputs)
    if rule != "gradient":
        _check_rules(images, tensors)
    return scores, pull_back(tensors, slopes, images)


def _check_rules(pixels, tensors):
    """Raise a ValueError unless each operation is linear or of a ReLU."""
    operations = between(pixels, tensors)
    dependent = {pixels.op, *operations}
    for operation in operations:
        if not is_linear(operation, dependent) and not _is_relu(operation):
            raise ValueError(
                f"{where(operation)} has no rule: the signal can go back "
                "through ReLUs, and through what is linear once the network "
                "is trained"
            )


def _is_relu(operation):
    """Is it a ReLU, or a part of one with a cap?"""
    if operation.type == "Minimum":
        # The cap cuts what a ReLU puts out, or what one gets: clip(X, 0, 6).
        below = [tensor.op for tensor in operation.inputs]
        above = operation.outputs[0].consumers()
        capped = any(op.type in ("Relu", "Maximum") for op in below) or (
            above and all(op.type == "Maximum" for op in above)
        )
        return capped and any(op.type == "Const" for op in below)
    if operation.type == "Maximum":
        constants = map(tf.get_static_value, operation.inputs)
        return any(np.all(c == 0) for c in constants if c is not None)
    return operation.type in ("Relu", "Relu6")


@tf.RegisterGradient("xai_positive")
def _positive(operation, signal):
    return _hand_on(operation, tf.nn.relu(signal))


@tf.RegisterGradient("xai_all")
def _all(operation, signal):
    return _hand_on(operation, signal)


@tf.RegisterGradient("xai_positive_where_active")
def _positive_where_active(operation, signal):
    positive, X = tf.nn.relu(signal), operation.outputs[0]
    passed = tf.raw_ops.ReluGrad(gradients=positive, features=X)
    return _hand_on(operation, passed)


@tf.RegisterGradient("xai_positive_below_six")
def _positive_below_six(operation, signal):
    positive, X = tf.nn.relu(signal), operation.outputs[0]
    return tf.raw_ops.Relu6Grad(gradients=positive, features=X)


@tf.RegisterGradient("xai_below_cap")
def _below_cap(operation, signal):
    X, cap = operation.inputs
    if tf.get_static_value(X) is not None:  # tf.minimum(6, X)
        X, cap = cap, X
    return _hand_on(operation, tf.where(cap > X, signal, 0))


def _hand_on(operation, signal):
    """The signal to X, and none to the constant that Minimum and Maximum
    read beside it."""
    return [
        signal if tf.get_static_value(tensor) is None else None
        for tensor in operation.inputs
    ]


def _peaks(layer, read, targets, images):
    """The step: of each map the largest activation, the number of that unit,
    and the map's width (0: the layer has no maps)."""
    features = read(images)[layer]
    if features.shape.rank == 2:
        return features, tf.zeros_like(features, tf.int64), tf.constant(0)
    if features.shape.rank != 4:
        raise ValueError(
            f"layer must have output (n, h, w, k) or (n, k); that of "
            f"{layer!r} is {features.shape}"
        )
    count, _, width, channels = tf.unstack(tf.shape(features))
    flat = tf.reshape(features, [count, -1, channels])
    return tf.reduce_max(flat, 1), tf.argmax(flat, 1), width
