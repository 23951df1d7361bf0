"""The gradient as TensorFlow has it, operation by operation, with nothing
compiled: what the tests of the engine compare with."""

import tensorflow as tf


def bare(model, function, images):
    """∂ function(outputs) / ∂ pixel, `(n, h, w, c)`."""
    pixels = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        explained = function(model(pixels, training=False))
    return tape.gradient(explained, pixels).numpy()
