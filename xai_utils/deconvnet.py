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

from ._core.backward import maps, pull_back, seeds
from ._core.graph import between, is_linear, where
from ._core.inputs import check_batch_size, check_images
from ._core.progress import batches
from ._core.runner import runner
from .targets import AnyTarget, Target, as_target

#: What to call the gradient of a rule, for each operation of a ReLU. A ReLU
#: with a cap is Relu6, or the clipping Minimum and Maximum after a Relu.
RULES = {
    "gradient": {},
    "deconvnet": {
        "Relu": "xai_deconvnet",
        "Relu6": "xai_deconvnet",
        "Maximum": "xai_deconvnet",
        "Minimum": "xai_open",
    },
    "guided": {
        "Relu": "xai_guided_relu",
        "Relu6": "xai_guided_relu6",
        "Maximum": "xai_guided_relu",
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

    All of a layer but the unit is set to zero, and what is left goes back
    through the network. The signal R that meets a ReLU with the output X goes
    on as

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
    return maps(model, images, as_target(target), batch_size, step)


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
        numbers = np.arange(batch.start, batch.stop)[:, None]
        numbers = np.broadcast_to(numbers, activations.shape)
        rows = [numbers, places, activations]
        if best is not None:
            rows = [np.concatenate(pair) for pair in zip(best, rows)]
        order = np.argsort(-rows[2], axis=0, kind="stable")[:top]
        best = [np.take_along_axis(row, order, axis=0) for row in rows]
    numbers, places, activations = (row.T for row in best)
    positions = np.stack(np.divmod(places, width), axis=-1) if width else None
    return Strongest(numbers, positions, activations)


def _project(rule, read, scores, images):
    """The step: forward with the rule's ReLUs, and back to the pixels."""
    with images.graph.gradient_override_map(RULES[rule]):
        outputs = read(images)
    (score,) = scores
    explained = score(outputs)
    tensors, slopes = seeds(explained, outputs)
    if rule != "gradient":
        _check_rules(images, tensors)
    return explained, pull_back(tensors, slopes, images)


def _check_rules(pixels, tensors):
    """Raise a ValueError unless each operation is linear or of a ReLU."""
    operations = between(pixels, tensors)
    hanging = {pixels.op, *operations}
    for operation in operations:
        if not is_linear(operation, hanging) and not _is_relu(operation):
            raise ValueError(
                f"{where(operation)} has no rule: the signal can go back "
                "through ReLUs, and through what is linear once the network "
                "is trained"
            )


def _is_relu(operation):
    """Is it a ReLU, or a part of one with a cap?"""
    if operation.type in ("Relu", "Relu6"):
        return True
    if operation.type == "Minimum":  # the cap
        return operation.inputs[0].op.type == "Relu"
    return operation.type == "Maximum" and (
        tf.get_static_value(operation.inputs[1]) == 0
    )


@tf.RegisterGradient("xai_deconvnet")
def _only_positive(operation, signal):
    return [tf.nn.relu(signal), *_no_signal(operation)]


@tf.RegisterGradient("xai_open")
def _all(operation, signal):
    return [signal, *_no_signal(operation)]


@tf.RegisterGradient("xai_guided_relu")
def _only_positive_where_active(operation, signal):
    positive, X = tf.nn.relu(signal), operation.outputs[0]
    passed = tf.raw_ops.ReluGrad(gradients=positive, features=X)
    return [passed, *_no_signal(operation)]


@tf.RegisterGradient("xai_guided_relu6")
def _only_positive_below_the_cap(operation, signal):
    positive, X = tf.nn.relu(signal), operation.outputs[0]
    return tf.raw_ops.Relu6Grad(gradients=positive, features=X)


@tf.RegisterGradient("xai_below_cap")
def _below_cap(operation, signal):
    X, cap = operation.inputs
    return [tf.where(cap > X, signal, 0), None]


def _no_signal(operation):
    """For the constant that Minimum and Maximum read beside X."""
    return [None] * (len(operation.inputs) - 1)


def _peaks(layer, read, scores, images):
    """The step: of each map the largest activation, where, and the width."""
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
