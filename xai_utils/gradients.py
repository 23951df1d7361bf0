"""The gradient with respect to the pixels, and the saliency map.

Simonyan, Vedaldi, Zisserman (2014), §3.
"""

from functools import lru_cache

import numpy as np
import tensorflow as tf

from ._core.inputs import check_batch_size, check_images
from ._core.progress import bar
from ._core.runner import apply, reader, signature, specs, spread, structure
from .targets import as_target


def gradient(model, images, target, batch_size=32):
    """∂ target / ∂ pixel: how fast the target grows with each pixel.

    Args:
        model: any keras.Model on images, built.
        images: `(n, h, w, c)`, in the range that the model takes.
        target: what to differentiate, see `targets`.
        batch_size: images a pass; memory grows with it, the result does not
            depend on it.

    Returns:
        `(n, h, w, c)` in the dtype of the model's input, signed, in units of
        the target for each unit of the pixel.

    Raises:
        TypeError, ValueError: an argument is not as described here.
    """
    return backward(model, images, target, batch_size)


def saliency(model, images, target, batch_size=32):
    """The saliency map M = max over channels |∂ target / ∂ pixel| (§3.1).

    Arguments and errors as for `gradient`.

    Returns:
        `(n, h, w)`, not negative: how fast the target changes, up or down,
        with the most sensitive channel of each pixel.
    """
    sizes = np.abs(gradient(model, images, target, batch_size))
    # Channel by channel: NumPy is ten times slower over a short last axis.
    return np.maximum.reduce([sizes[..., c] for c in range(sizes.shape[-1])])


def backward(model, images, target, batch_size, compiler=None):
    """Check, and go back to the pixels of all images: `(n, h, w, c)`.

    Arguments as for `gradient`; `compiler` as for `passes`.
    """
    images, target = check_images(model, images), as_target(target)
    check_batch_size(batch_size)
    signals = np.empty_like(images)
    with bar(len(images)) as progress:
        for batch, _, part in passes(
            model, images, target, batch_size, compiler
        ):
            signals[batch] = part
            progress.update(len(part))
    return signals


def passes(model, images, target, batch_size, compiler=None):
    """Forward and back, batch by batch, for what was checked before.

    `compiler` makes the function that runs a batch, if it is not to be the
    gradient: the deconvnet goes back in its own way.

    Yields:
        The slice of `images`, its scores `(m,)` and gradients `(m, h, w, c)`.
    """
    arguments = spread(target.arguments, len(images))
    step = (compiler or _compile)(
        model,
        structure(model),
        target.function,
        target.layer,
        signature([images, *arguments]),
    )
    for start in range(0, len(images), batch_size):
        batch = slice(start, start + batch_size)
        inputs = [array[batch] for array in (images, *arguments)]
        scores, slopes, outputs = step(*map(tf.constant, inputs))
        if target.check:
            target.check(outputs, *inputs[1:])
        yield batch, scores.numpy(), slopes.numpy()


# Traced once for a model and a kind of target; the class, the truth and the
# number of images are arguments of the compiled function. It is traced here,
# not at its first call: TensorFlow warns whoever calls several such functions.
@lru_cache(maxsize=16)
def _compile(model, _structure, function, layer, arrays):
    read = reader(model, [layer])

    @tf.function(input_signature=specs(arrays), autograph=False)
    def step(images, *arguments):
        with tf.GradientTape() as tape:
            tape.watch(images)
            (outputs,) = read(images)
            scores = apply(function, outputs, arguments)
        # The images do not influence each other, so the gradient of the
        # sum of their scores holds the gradient of each.
        slope = tape.gradient(scores, images)
        if slope is None:
            raise ValueError(
                "target must depend smoothly on the pixels; "
                "this one (an arg-max? a constant?) has no "
                "gradient"
            )
        return scores, slope, outputs

    return step.get_concrete_function()
