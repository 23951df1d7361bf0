"""Small networks of every kind of layer, from lists that Hypothesis draws.

A network is a list of pieces, `(name, numbers)`; what the numbers mean is the
piece's affair, and every five of them from 0 to 5 will do.
"""

from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf
from hypothesis import strategies as some
from keras import layers

ACTIVATIONS = [
    lambda: layers.ReLU(),
    lambda: layers.ReLU(max_value=0.5),
    lambda: layers.ReLU(max_value=1.0, negative_slope=0.2, threshold=0.1),
    lambda: layers.LeakyReLU(0.3),
    lambda: layers.PReLU(shared_axes=[1, 2]),
    lambda: layers.PReLU(),  # a slope for each place: whole maps
    lambda: layers.ELU(),
    lambda: layers.Activation("relu6"),
    *(
        lambda name=name: layers.Activation(name)
        for name in (
            *("selu", "gelu", "silu", "sigmoid", "tanh", "softplus"),
            *("hard_sigmoid", "softsign", "exponential", "softmax"),
        )
    ),
]


def _padding(y, kernel, same):
    """ "valid" only where the map is large enough."""
    fits = all(size <= side for size, side in zip(kernel, y.shape[1:3]))
    return "valid" if fits and not same else "same"


def conv(y, a, b, c, d, e):
    kernel, stride, hole = (1 + a % 3, 1 + b % 3), 1 + c % 3, 1
    if c == 5:
        stride, hole = 1, 2
    reach = [(size - 1) * hole + 1 for size in kernel]
    return layers.Conv2D(
        1 + e % 4,
        kernel,
        stride,
        _padding(y, reach, d % 2),
        dilation_rate=hole,
        use_bias=e < 4,
        activation="relu" if d > 3 else None,
    )(y)


def depthwise(y, a, b, c, d, e):
    kernel = 1 + a % 3, 1 + b % 3
    padding = _padding(y, kernel, d % 2)
    stride = 1 + c % 3
    return layers.DepthwiseConv2D(kernel, stride, padding, 1 + e % 2)(y)


def separable(y, a, b, c, d, e):
    kernel = 1 + a % 3, 1 + b % 3
    padding = _padding(y, kernel, d % 2)
    return layers.SeparableConv2D(1 + e % 4, kernel, 1 + c % 3, padding)(y)


def norm(y, a, b, *_):
    return layers.BatchNormalization(center=a % 2 == 0, scale=b % 3 > 0)(y)


def activation(y, a, b, c, *_):
    number = (a + 6 * b + 36 * c) % len(ACTIVATIONS)
    return ACTIVATIONS[number]()(y)


def pool(y, a, b, c, d, _):
    kind = layers.MaxPooling2D if a % 2 else layers.AveragePooling2D
    size = 1 + b % 3, 1 + (a + b) % 3
    return kind(size, 1 + c % 3, _padding(y, size, d % 2))(y)


def zeros(y, a, b, c, d, e):
    y = layers.ZeroPadding2D(((a % 3, b % 3), (c % 3, d % 3)))(y)
    if e < 2:
        return conv(y, a, b, c, d, 3)
    return pool(y, e, b, c, e > 3, 0) if e < 5 else y


def explicit(y, a, b, c, d, e):
    """What Keras has no layer for: zeros of any number, holes."""
    if min(y.shape[1:3]) < 3:  # a kernel must fit
        return layers.Activation("tanh")(y)
    channels, holes = y.shape[-1], (1 + d % 2, 1 + e % 3)
    kernel = np.linspace(0.5, 1, 6 * channels).reshape(2, 3, channels, 1)
    side = [[0, 0], [a % 3, b % 3], [c % 3, 2], [0, 0]]
    pooled = [[0, 0], [a % 2, b % 2], [c % 2, 1], [0, 0]]

    def call(t):
        if e > 3:
            return tf.nn.max_pool2d(t, (2, 3), 1 + d % 3, pooled)
        if min(y.shape[1:3]) < 8:  # holes reach too far
            return tf.nn.conv2d(t, tf.cast(kernel, t.dtype), 1, side)
        return tf.nn.conv2d(t, tf.cast(kernel, t.dtype), 1, side, None, holes)

    return layers.Lambda(call)(y)


def harmless(y, a, b, *_):
    channels = y.shape[-1]
    return [
        lambda: layers.Dropout(0.5),
        lambda: layers.Rescaling(1 / (1 + b), offset=0.1),
        lambda: layers.Normalization(
            mean=[0.1 * b] * channels, variance=[1.5] * channels
        ),
        lambda: layers.Lambda(lambda t: t * keras.ops.tanh(t) + 1.0),
        lambda: layers.SpatialDropout2D(0.5),
        lambda: layers.Identity(),
    ][a]()(y)


def whole(y, a, b, *_):
    """Layers through which windows are not followed."""
    if a == 0 and min(y.shape[1:3]) < 3:
        a = 1
    return [
        lambda: (
            layers.Cropping2D(((1, 0), (0, 1)))
            if b % 2
            else lambda t: layers.Concatenate(axis=1)([t, t])
        ),
        lambda: layers.UpSampling2D(1 + b % 2),
        lambda: layers.LayerNormalization(),
        lambda: layers.GroupNormalization(1),
        lambda: layers.Conv2DTranspose(2, 3, 1 + b % 2, padding="same"),
        lambda: layers.Conv2D(2 * y.shape[-1], 2, groups=y.shape[-1]),
    ][a if a < 5 or min(y.shape[1:3]) > 1 else 1]()(y)


def twice(y, a, *_):
    layer = layers.Conv2D(y.shape[-1], 2 + a % 2, padding="same")
    return layer(layers.Activation("tanh")(layer(y)))


def branches(y, a, b, c, d, e):
    """Two or three, of different depth, and what joins them."""

    def branch(depth, filters):
        z, strides = y, (1 + e % 2) * (1 + e // 4)
        if depth == 0 and strides == 1:
            return layers.Conv2D(filters, 1)(z)
        if depth == 3:
            z = layers.MaxPooling2D(3, 1, "same")(z)
        for size in range(2, 2 + min(depth, 2)):
            z = layers.Conv2D(2, size, padding="same", activation="tanh")(z)
        return layers.Conv2D(filters, 1 + depth % 3, strides, "same")(z)

    joins = [
        *(layers.Add, layers.Subtract, layers.Multiply, layers.Average),
        *(layers.Maximum, layers.Concatenate),
    ]
    parts = [branch(depth % 4, 2) for depth in (b, c, d)]
    return joins[a]()(parts[:2] if a == 1 or d % 2 else parts)


def residual(y, a, b, *_):
    z = layers.Conv2D(y.shape[-1], 1 + a % 3, padding="same")(y)
    z = layers.BatchNormalization()(z) if b % 2 else z
    z = layers.Add()([y, z])
    return layers.ReLU()(z) if b > 2 else z


def squeeze_excite(y, a, *_):
    z = layers.GlobalAveragePooling2D(keepdims=True)(y)
    z = layers.Conv2D(y.shape[-1], 1, activation="sigmoid")(z)
    return layers.Multiply()([y, z])


CHAINS = {
    "conv": conv,
    "depthwise": depthwise,
    "separable": separable,
    "norm": norm,
    "activation": activation,
    "pool": pool,
    "zeros": zeros,
    "explicit": explicit,
    "harmless": harmless,
}
#: Pieces that Sequential takes only as a model inside.
GRAPHS = {"twice": twice, "branches": branches, "residual": residual}
RARE = {"whole": whole, "squeeze_excite": squeeze_excite}
PIECES = CHAINS | GRAPHS | RARE

_five = some.tuples(*[some.integers(0, 5)] * 5)
_most = some.tuples(some.sampled_from([*CHAINS, *CHAINS, *GRAPHS]), _five)
_any = some.tuples(some.sampled_from([*PIECES]), _five)
#: Windows can be followed through the first piece, mostly.
pieces = some.tuples(
    some.tuples(some.sampled_from([*CHAINS]), _five),
    some.lists(some.one_of(_most, _most, _any), min_size=1, max_size=5),
).map(lambda pair: [pair[0], *pair[1]])


def _average(y):
    return layers.GlobalAveragePooling2D()(y)


def _largest(y):
    return layers.GlobalMaxPooling2D()(y)


def _both(y):
    total = layers.GlobalAveragePooling2D(keepdims=True)(y)
    return layers.Concatenate()([layers.Flatten()(total), _largest(y)])


ENDS = [_average, _largest, _both, lambda y: layers.Flatten()(y)]
FORMS = ["flat", "sequential", "nested", "nested twice"]


@contextmanager
def floats(dtype):
    """Keras computes in this precision."""
    before = keras.config.floatx()
    keras.config.set_floatx(dtype.replace("mixed_float16", "float32"))
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)


def network(pieces, shape, form, end, dtype, seed=0):
    """The model, and the path of a layer in the middle, ``"…middle"``."""
    with floats(dtype):
        keras.utils.set_random_seed(seed)
        half = (len(pieces) + 1) // 2
        pieces = [*pieces[:half], ("middle", ()), *pieces[half:]]
        x = keras.Input(shape)
        # Whatever comes first, windows can be followed through one layer.
        y, path = _body(layers.Rescaling(1.0, offset=0.1)(x), pieces, form)
        model = keras.Model(x, layers.Dense(3)(ENDS[end](y)))
        randomise(model, seed)
        return model, path


def _apply(y, pieces):
    for name, numbers in pieces:
        if name == "middle":
            y = layers.Conv2D(2, 1, name="middle")(y)
        else:
            y = PIECES[name](y, *numbers)
    return y


def _body(x, pieces, form):
    if form == "flat" or len(pieces) < 3:
        return _apply(x, pieces), "middle"
    if form == "sequential":
        inside, y = [keras.Input(x.shape[1:])], x
        for piece in pieces:
            z = keras.Input(y.shape[1:])
            part = keras.Model(z, _apply(z, [piece]))
            chain = piece[0] not in GRAPHS | RARE
            inside += part.layers[1:] if chain else [part]
            y = part.output
        return keras.Sequential(inside, name="row")(x), "row/middle"
    y = _apply(x, pieces[:1])
    z = keras.Input(y.shape[1:])
    deeper = "flat" if form == "nested" else "nested"
    inner, path = _body(z, pieces[1:-1], deeper)
    inner = keras.Model(z, inner, name=f"in_{deeper}")
    return _apply(inner(y), pieces[-1:]), f"{inner.name}/{path}"


def randomise(model, seed=0):
    """Weights that no initialiser gives: biases, statistics, signs."""
    rng, values = np.random.default_rng(seed), []
    for weight in model.weights:
        value, name = np.asarray(weight), weight.name
        if "variance" in name:
            value = rng.uniform(0.3, 2, value.shape)
        elif "gamma" in name:
            value = rng.uniform(0.5, 1.5, value.shape)
            value *= rng.choice([-1, 1, 1], value.shape)
        elif "alpha" in name:
            value = rng.uniform(0.1, 0.6, value.shape)
        elif value.ndim < 2 and value.dtype.kind == "f":
            value = rng.normal(0, 0.3, value.shape)
        values.append(value)
    model.set_weights(values)
