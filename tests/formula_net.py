"""A small network whose weights and image come from one formula, so that
other libraries can be asked about the same network.

`CAPTUM` values in the tests were computed once with Captum 0.9.0 on PyTorch
2.14.1, CPU, in float64: the arrays of `numbers` in a `torch.nn.Sequential` of
Conv2d, ReLU, Conv2d, ReLU, a mean over the places, and Linear, the kernels
transposed to (out, in, rows, columns) and the image to (1, 3, 8, 9); what
comes back is transposed to (8, 9, 3).
"""

import keras
import numpy as np
from keras import layers

SHAPE = (8, 9, 3)
SHAPES = {
    "conv1": (3, 3, 3, 4),
    "bias1": (4,),
    "conv2": (3, 3, 4, 5),
    "bias2": (5,),
    "dense": (5, 3),
    "bias3": (3,),
    "image": SHAPE,
}


def numbers():
    """All weights and the image, with three decimals."""
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=shape).round(3) for name, shape in SHAPES.items()
    }


def formula_net(dtype="float64"):
    """The network, and its image `(1, 8, 9, 3)`."""
    *weights, image = numbers().values()
    x = keras.Input(SHAPE, dtype=dtype)
    y = layers.Conv2D(4, 3, activation="relu", dtype=dtype, name="conv1")(x)
    y = layers.Conv2D(5, 3, activation="relu", dtype=dtype, name="conv2")(y)
    y = layers.GlobalAveragePooling2D(dtype=dtype)(y)
    model = keras.Model(x, layers.Dense(3, dtype=dtype)(y))
    model.set_weights(weights)
    return model, image[None].astype(dtype)
