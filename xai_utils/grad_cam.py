"""Grad-CAM: which places of the last feature maps speak for the target.

Selvaraju et al. (2017), arXiv 1610.02391.
"""

from functools import partial
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ._core.backward import explain, output_slopes, pull_back
from ._core.inputs import check_images, check_model
from ._core.layers import find_layer, layer_names
from .targets import AnyTarget, Target, as_target

#: Layers whose output is no map of its own: a map made smaller, cut, turned,
#: or the same.
PASSED_OVER = (
    *(layers.MaxPooling2D, layers.AveragePooling2D),
    *(layers.Dropout, layers.ZeroPadding2D, layers.Cropping2D),
    *(layers.Permute, layers.Reshape),
)


class GradCam(NamedTuple):
    """What `grad_cam` found."""

    heatmap: np.ndarray  # (n, h, w): max(0, coarse), enlarged; float32
    coarse: np.ndarray  # (n, rows, columns): Σ α_k A_k, signed, as computed
    layer: str  # whose feature maps these are


def grad_cam(
    model: keras.Model,
    images,
    target: AnyTarget,
    layer: str | None = None,
    batch_size: int = 32,
) -> GradCam:
    """The feature maps A_k of a layer, each with the weight of its gradient.

    α_k is the mean of ∂ target / ∂ A_k over the places of the map. The sum
    Σ α_k A_k is cut at zero, and enlarged to the size of the image by linear
    interpolation, as if the map lay evenly over it.

    Args:
        model: any functional or Sequential keras.Model on images, built.
        images: `(n, h, w, c)`, in the range that the model takes.
        target: what to explain, see `targets`.
        layer: the name of a layer with output `(n, rows, columns, k)`; of one
            in a nested model its path, ``"base/conv3"``. None takes the last
            map before the model pools or flattens it: the last such output
            that comes from a convolution or what follows one, is larger than
            1 × 1, does not come from pooling, and has not one channel for
            each output of the model.
        batch_size: images a pass; memory grows with it.

    Returns:
        GradCam, in units of the target.

    Raises:
        TypeError, ValueError: an argument is not as described here; the
        target does not depend on the layer; there is no such layer, or its
        output is no map.
    """
    images, target = check_images(model, images), as_target(target)
    found = layer is None
    layer = last_map(model) if found else layer
    find_layer(model, layer)
    step = partial(_weighted_maps, layer, found)
    reading = Target(tf.identity, layer=layer)
    coarse = explain(model, images, target, batch_size, step, reading)
    # Where a map is flat, at the edges, this resize keeps it exactly flat: so
    # the place of the maximum does not depend on rounding.
    heatmap = tf.image.resize(
        np.maximum(coarse, 0)[..., None], images.shape[1:3]
    )
    heatmap = heatmap.numpy()[..., 0]
    return GradCam(heatmap, coarse, layer)


def last_map(model: keras.Model) -> str:
    """The layer that `grad_cam` takes where none is named.

    Args:
        model: a functional or Sequential keras.Model, built.

    Returns:
        The layer's name, with its path in a nested model.

    Raises:
        TypeError, ValueError: `model` is none, or has no such layer.
    """
    check_model(model)
    if not getattr(model, "inputs", None):
        raise ValueError(
            "a subclassed model hides its layers, so that none can be found: "
            "build it as a functional or a Sequential model"
        )
    outputs = {output.shape[-1] for output in model.outputs}
    names = layer_names(model)
    while names and not _convolves(find_layer(model, names[0])):
        names.pop(0)
    for name in reversed(names):
        layer = find_layer(model, name)
        if isinstance(layer, PASSED_OVER):
            continue
        if _is_map(layer) and layer.output.shape[-1] not in outputs:
            return name
    raise ValueError(
        "layer must be named: after the first convolution of this model no "
        "layer puts out a map (n, rows, columns, k), larger than 1 × 1, with "
        "other channels than the model's outputs"
    )


def _convolves(layer):
    """Has it a kernel (rows, columns, …), or a layer in it?"""
    return any(len(weight.shape) == 4 for weight in layer.weights)


def _is_map(layer):
    """Does it put out `(n, rows, columns, k)`, larger than 1 × 1?"""
    try:
        shape = layer.output.shape
    except AttributeError:  # never called, or with inputs of several shapes
        return False
    return len(shape) == 4 and tuple(shape[1:3]) != (1, 1)


def _weighted_maps(layer, found, read, targets, images):
    """The step: the scores, and Σ α_k A_k of each image.

    `found`: the layer was not named, so all the target reads must go through
    it.
    """
    outputs = read(images)
    scores = targets[0](outputs)
    copy = outputs[layer]
    if not tf.is_tensor(copy) or copy.shape.rank != 4:
        raise ValueError(
            "layer must put out a map (n, rows, columns, k); that of "
            f"{layer!r} is {getattr(copy, 'shape', 'no single tensor')}"
        )
    (A,) = copy.op.inputs  # the network goes on from what `read` copied
    slopes = pull_back(
        *output_slopes(scores, outputs), A, f"layer {layer!r} (name another)"
    )
    if found and tf.gradients(scores, images, stop_gradients=A)[0] is not None:
        raise ValueError(
            "layer must be named: the target reads the pixels through "
            f"{layer!r}, the last map, and past it"
        )
    alphas = tf.reduce_mean(slopes, axis=[1, 2], keepdims=True)
    return scores, tf.reduce_sum(alphas * tf.cast(A, alphas.dtype), axis=-1)
