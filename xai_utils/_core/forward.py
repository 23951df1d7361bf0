"""The scores alone, without a way back."""

import numpy as np
import tensorflow as tf

from .backward import check_finite


def forward(read, targets, images):
    """The step: one forward pass for all targets."""
    outputs = read(images)
    return [tf.cast(target(outputs), tf.float64) for target in targets]


def scores(run, images, part, of="images"):
    """The first target of a batch, `(n,)`, finite; `run` as from `runner`
    with the step above."""
    found = np.asarray(run(images, part)[0])
    check_finite("the target", found, of)
    return found
