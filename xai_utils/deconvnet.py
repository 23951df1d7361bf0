"""The deconvnet: from a unit back to the pixels, by three rules.

Zeiler & Fergus (2014), §2.1; Simonyan, Vedaldi, Zisserman (2014), §4; guided
back-propagation: Springenberg et al. (2014). The three differ in what a ReLU
does to the signal on its way back, and in nothing else.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from ._core.graph import steps
from ._core.inputs import check_batch_size, check_images
from ._core.progress import bar
from ._core.runner import apply, reader, signature, specs, structure
from .gradients import backward

RULES = ("gradient", "deconvnet", "guided")

# The way back through these is the transposed linear map: the flipped filter
# of a convolution, the mean shared out by a pool. Biases never enter. A
# max-pool sends the signal to the place of its maximum, the "switch".
_LINEAR = (
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.SeparableConv2D,
    layers.Dense,
    layers.BatchNormalization,
    layers.Normalization,
    layers.Rescaling,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.GlobalAveragePooling2D,
    layers.Flatten,
    layers.Reshape,
    layers.ZeroPadding2D,
    layers.Activation,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.Add,
    layers.Subtract,
    layers.Average,
    layers.Concatenate,
)
# Operations outside layers, such as x / 127.5 - 1: those of one tensor and
# constants, and those of several tensors of the same shape.
_LINEAR_IN_ONE = (
    "Add",
    "Subtract",
    "Multiply",
    "TrueDivide",
    "Divide",
    "GetItem",
)
_LINEAR_IN_SEVERAL = {
    "Add": lambda operation, signal: [signal, signal],
    "Subtract": lambda operation, signal: [signal, -signal],
    "Stack": lambda operation, signal: tf.unstack(signal, axis=operation.axis),
}
# Where a ReLU stops.
_RELUS = {
    keras.activations.relu: np.inf,
    tf.nn.relu: np.inf,
    ops.relu: np.inf,
    keras.activations.relu6: 6,
    tf.nn.relu6: 6,
    ops.relu6: 6,
}


class Strongest(NamedTuple):
    """What `strongest` found for each of the k channels of a layer."""

    images: np.ndarray  # (k, top): which image, the strongest first
    positions: np.ndarray | None  # (k, top, 2): row, column; None if dense
    activations: np.ndarray  # (k, top)


def project(model, images, target, rule="deconvnet", batch_size=32):
    """Project a unit, or any other target, down to the pixels.

    All of a layer but the unit is set to zero, and what is left goes back
    through the network. The signal R that meets a ReLU with the output X goes
    on as

    - ``"gradient"``: R where X > 0, else 0: the gradient of the target;
    - ``"deconvnet"``: R where R > 0, else 0;
    - ``"guided"``: R where both X > 0 and R > 0, else 0.

    A ReLU with a cap is closed to the gradient and the guided signal where X
    is at the cap, too; to the deconvnet's it is like any other.

    Args:
        model: a flat functional or Sequential keras.Model of convolutions,
            ReLUs (also capped), max-pools, batch normalisation and other
            layers that are linear once it is trained.
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
        TypeError, ValueError: an argument is not as described here; a layer
        that the signal meets has no rule, and the message names it.
    """
    if rule not in RULES:
        raise ValueError(
            f"rule must be one of {', '.join(RULES)}; got {rule!r}"
        )
    return backward(model, images, target, batch_size, partial(_compile, rule))


def strongest(model, images, layer, top=9, batch_size=128):
    """For each feature map of a layer the images that excite it most.

    Of each image only the strongest unit of a map counts, so that an image
    appears once: Fig. 2 of Zeiler & Fergus.

    Args:
        model: any functional or Sequential keras.Model.
        images: `(n, h, w, c)`, n ≥ `top`.
        layer: the name of a layer with output `(n, h, w, k)` or `(n, k)`.
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
            f"top must be a whole number from 1 to the number "
            f"of images, {len(images)}; got {top!r}"
        )
    peaks = _compile_peaks(
        model, structure(model), layer, signature([images])[0]
    )
    best = None
    with bar(len(images)) as progress:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            values, places, width = (
                result.numpy() for result in peaks(tf.constant(batch))
            )
            index = np.arange(start, start + len(batch))
            found = [
                np.broadcast_to(index[:, None], values.shape),
                places,
                values,
            ]
            if best is not None:
                found = [np.concatenate(pair) for pair in zip(best, found)]
            order = np.argsort(-found[2], axis=0, kind="stable")[:top]
            best = [np.take_along_axis(one, order, axis=0) for one in found]
            progress.update(len(batch))
    index, places, values = (one.T for one in best)
    positions = np.stack(np.divmod(places, width), axis=-1) if width else None
    return Strongest(index, positions, values)


@lru_cache(maxsize=16)
def _compile_peaks(model, _structure, layer, array):
    read = reader(model, [layer])

    @tf.function(input_signature=specs([array]), autograph=False)
    def peaks(images):
        (features,) = read(images)
        if features.shape.rank == 2:
            return features, tf.zeros_like(features, tf.int64), tf.constant(0)
        if features.shape.rank != 4:
            raise ValueError(
                f"layer must have output (n, h, w, k) or (n, k);"
                f" that of {layer!r} is {features.shape}"
            )
        count, _, width, channels = tf.unstack(tf.shape(features))
        flat = tf.reshape(features, [count, -1, channels])
        return tf.reduce_max(flat, 1), tf.argmax(flat, 1), width

    return peaks.get_concrete_function()


# Compiled as in gradients.py, and called from there.
@lru_cache(maxsize=16)
def _compile(rule, model, _structure, function, layer, arrays):
    walk, run = steps(model, layer)
    if layer is not None:
        ends = model.get_layer(layer).output
    elif isinstance(model, keras.Sequential):
        (ends,) = model.outputs
    else:
        ends = model.output  # for a target: as the model nests them

    @tf.function(input_signature=specs(arrays), autograph=False)
    def step(images, *arguments):
        with tf.GradientTape(persistent=True) as forward:
            forward.watch(images)
            values = dict(zip([one.output for one in walk], run([images])))
        outputs = keras.tree.map_structure(lambda end: values[id(end)], ends)
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            scores = apply(function, outputs, arguments)
        seeds = tape.gradient(scores, outputs)
        signals = {
            id(end): seed
            for end, seed in zip(
                keras.tree.flatten(ends), keras.tree.flatten(seeds)
            )
            if seed is not None
        }
        if not signals:
            raise ValueError(
                "target must depend smoothly on the model's "
                "outputs; this one (an arg-max?) does not"
            )
        return (
            scores,
            _go_back(walk, values, signals, rule, forward),
            outputs,
        )

    return step.get_concrete_function()


def _go_back(walk, values, signals, rule, forward):
    """From the signals at some tensors to the signal at the pixels.

    `forward` is the tape of the way forward.
    """
    for step in reversed(walk[1:]):
        if step.output not in signals:
            continue
        signal, output = signals.pop(step.output), values[step.output]
        operation = step.operation
        cap = _cap(operation)
        if cap is not None:
            signal = _rectify(rule, signal, (output > 0) & (output < cap))
        inputs = [values[key] for key in step.inputs]
        if isinstance(operation, layers.Layer):
            parts = _transpose(_linear_part(operation), inputs, signal)
        elif cap is not None:
            parts = [signal]
        elif len(inputs) == 1:  # its constants are known to the tape only
            parts = [forward.gradient(output, inputs[0], signal)]
        else:
            parts = _LINEAR_IN_SEVERAL[type(operation).__name__](
                operation, signal
            )
        for key, part in zip(step.inputs, parts):
            signals[key] = signals[key] + part if key in signals else part
    return signals[walk[0].output]


def _rectify(rule, signal, active):
    """What becomes of a signal at a ReLU; `active`: where X passed it."""
    if rule == "gradient":
        return tf.where(active, signal, 0)
    if rule == "deconvnet":
        return tf.nn.relu(signal)
    return tf.where(active, tf.nn.relu(signal), 0)


def _transpose(linear, inputs, signal):
    """The transposed linear map: of its output's signal, each input's."""
    inputs = [tf.identity(one) for one in inputs]  # it may read one twice
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = linear(inputs)
    return tape.gradient(output, inputs, signal)


def _cap(operation):
    """Where a ReLU stops: a number, or infinity. None if there is no ReLU.

    Raises a ValueError if there is no rule for the operation.
    """
    kind = type(operation).__name__
    activation = getattr(operation, "activation", None)
    if not isinstance(operation, layers.Layer):  # such as x / 127.5
        if kind in ("Relu", "Relu6"):
            return 6 if kind == "Relu6" else np.inf
        read = keras.tree.flatten(operation.input)
        if kind in _LINEAR_IN_ONE and len(read) == 1:
            return None
        if kind in _LINEAR_IN_SEVERAL and (
            len({one.shape for one in read}) == 1
        ):
            return None
    if (
        kind == "ReLU"
        and not operation.negative_slope
        and (not operation.threshold)
    ):  # a layer, or an operation
        cap = operation.max_value
        return np.inf if cap is None else cap
    # Only these very types: what a subclass does is not known.
    if type(operation) in _LINEAR and activation in (
        None,
        keras.activations.linear,
    ):
        return None
    if type(operation) in (layers.Activation, *_UNFUSED) and (
        activation in _RELUS
    ):
        return _RELUS[activation]
    name = getattr(activation, "__name__", activation)
    raise ValueError(
        f"layer {operation.name!r} ({kind}{f', {name}' if name else ''}) has "
        "no rule: the signal can go back through ReLUs, and through layers "
        "that are linear once they are trained"
    )


def _conv(layer, inputs):
    return ops.conv(
        *_operands(layer, inputs),
        layer.strides,
        layer.padding,
        layer.data_format,
        layer.dilation_rate,
    )


def _depthwise(layer, inputs):
    return ops.depthwise_conv(
        *_operands(layer, inputs),
        layer.strides,
        layer.padding,
        layer.data_format,
        layer.dilation_rate,
    )


def _dense(layer, inputs):
    return ops.matmul(*_operands(layer, inputs))


def _operands(layer, inputs):
    """Input and weights in the precision in which the layer computes."""
    return [
        ops.cast(one, layer.compute_dtype) for one in (inputs[0], layer.kernel)
    ]


# Layers that may have a ReLU inside, and what they are without it.
_UNFUSED = {
    layers.DepthwiseConv2D: _depthwise,
    layers.Conv2D: _conv,
    layers.Dense: _dense,
}


def _linear_part(operation):
    """The layer without its activation, as a function of a list of inputs."""
    if type(operation) in _UNFUSED:
        return partial(_UNFUSED[type(operation)], operation)
    if _cap(operation) is not None:
        return lambda inputs: tf.identity(inputs[0])
    several = isinstance(operation.input, list)
    return lambda inputs: operation(inputs if several else inputs[0])
