"""From the scores back to the pixels: what gradients and deconvnet share.

The way back has two parts, from the scores to the model's outputs and from
there to the pixels. Between them the signal can be scaled, and the deconvnet
can look at what lies before the outputs. `tf.gradients` goes back in a graph
as GradientTape does, but keeps to the gradients that the deconvnet gives to
its ReLUs; a tape does not.
"""

import numpy as np
import tensorflow as tf

from .graph import dtypes
from .inputs import check_batch_size, check_images
from .progress import bar, batches
from .runner import runner


def explain(model, images, target, batch_size, step, *others):
    """Run a step that returns the score and a map of each image.

    Arguments as for `gradients.gradient`; `step` as for `runner`, which gets
    the targets `target` and `others`.

    Returns:
        The maps, `(n, …)`, finite.
    """
    images = check_images(model, images)
    check_batch_size(batch_size)
    run = runner(model, step, [target, *others], images)
    collected = None
    for batch in batches(len(images), batch_size):
        scores, part = run(images[batch], batch)
        check_finite("the target", scores)
        check_finite("the gradient of the target", part)
        if collected is None:
            collected = np.empty((len(images), *part.shape[1:]), part.dtype)
        collected[batch] = part
    return collected


def explain_variants(model, images, target, count, batch_size, variants):
    """Run the plain gradient on variants of each image.

    Args:
        model, images, target, batch_size: as for `gradients.gradient`,
            checked.
        count: variants of each image.
        variants: slice -> (number of the image -> these of its variants,
            `(k, h, w, c)`). At most `batch_size` at a time, so that memory
            does not grow with `count`; what all images share is made once.

    Yields:
        The number of the image, the slice, the gradients `(k, h, w, c)`.
    """
    run = runner(model, forward_and_back, [target], images)
    with bar(len(images) * count) as progress:
        for start in range(0, count, batch_size):
            part = slice(start, min(start + batch_size, count))
            variants_of = variants(part)
            for number in range(len(images)):
                own = slice(number, number + 1)
                scores, slopes = run(variants_of(number), own)
                check_finite("the target", scores, "variants of an image")
                check_finite(
                    "the gradient of the target", slopes, "such variants"
                )
                yield number, part, slopes
                progress.update(part.stop - part.start)


def forward_and_back(read, targets, images):
    """The step of the plain gradient: the scores, and their slopes."""
    outputs = read(images)
    (target,) = targets
    scores = target(outputs)
    return scores, pull_back(*output_slopes(scores, outputs), images)


def output_slopes(scores, outputs):
    """Where the way back starts.

    Returns:
        The tensors of `outputs` that the scores depend on, and for each
        ∂ scores / ∂ tensor. The images do not influence each other, so the
        gradient of the sum of their scores holds the gradient of each.
    """
    tensors = tf.nest.flatten(outputs)
    slopes = tf.gradients(scores, tensors)
    starts = [pair for pair in zip(tensors, slopes) if pair[1] is not None]
    if not starts:
        raise ValueError(
            "target must depend smoothly on the model's outputs; this one "
            "(an arg-max? a constant?) has no gradient"
        )
    return zip(*starts)


def pull_back(tensors, slopes, images, where="the pixels"):
    """The slopes at some tensors, taken back to the pixels, or to what else
    is given as `images`; errors call it `where`.

    In half precision the largest of each image starts between 1 and 2, and
    all get their size back at the pixels, so that small ones are not lost on
    the way. The factor is a power of two, which rounds nothing, and every
    rule for ReLUs commutes with it.
    """
    half = dtypes(images.graph) & {tf.float16, tf.bfloat16}
    if half:
        factor = _power_of_two(slopes)
        slopes = [slope / _beside(factor, slope) for slope in slopes]
    (signal,) = tf.gradients(tensors, images, grad_ys=slopes)
    if signal is None:
        raise ValueError(
            f"target must depend smoothly on {where}; this model's outputs "
            "(an arg-max? a constant?) have no gradient there"
        )
    if half:
        signal = tf.cast(signal, factor.dtype)
        signal *= _beside(factor, signal)
    return signal


def _power_of_two(slopes):
    """For each image `(n,)` the largest power of two in its largest slope.

    A float is ± mantissa · 2^exponent; its bits hold the three side by side.
    """
    sizes = [tf.reshape(abs(s), [tf.shape(s)[0], -1]) for s in slopes]
    largest = tf.reduce_max(tf.concat(sizes, axis=1), axis=1)
    # All bits of the exponent are one here, those of the others zero.
    whole, exponent = {
        tf.float32: (tf.int32, 0x7F800000),
        tf.float64: (tf.int64, 0x7FF0000000000000),
    }[largest.dtype]
    bits = tf.bitwise.bitwise_and(tf.bitcast(largest, whole), exponent)
    power = tf.bitcast(bits, largest.dtype)
    return tf.where((power > 0) & (power < largest.dtype.max), power, 1)


def _beside(factor, tensor):
    """`(n,)` as `(n, 1, …)`, to multiply a tensor `(n, …)` with."""
    return tf.reshape(factor, [-1] + [1] * (tensor.shape.rank - 1))


def check_finite(what, values, of="images"):
    """Raise a ValueError that says for how many `of` them it is not."""
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{what} is NaN or infinite for {(~finite).sum()} of "
            f"{len(finite)} {of}. The usual cause is a division by a norm "
            "of zero, or a root or logarithm of zero, in the model or the "
            "target: add a small number there. In half precision it may be a "
            "value that is too large"
        )
