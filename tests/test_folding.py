"""Batch normalisation inside the convolution before it: the same outputs and
gradients as the Keras model has, and no pass over a map."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from bare_tape import bare
from keras import layers
from random_nets import floats, randomise

from xai_utils._core import runner as runners
from xai_utils._core.backward import forward_and_back
from xai_utils._core.forward import forward
from xai_utils._core.windows import operations_of
from xai_utils.deconvnet import RULES, project
from xai_utils.gradients import gradient
from xai_utils.occlusion import occlusion
from xai_utils.receptive_field import receptive_field
from xai_utils.targets import as_target, class_score, unit

SHAPE = (9, 11, 3)
IMAGES = np.random.default_rng(1).normal(size=(2, *SHAPE))


def network(body, dtype="float64"):
    with floats(dtype):
        keras.utils.set_random_seed(0)
        x = keras.Input(SHAPE)
        y = layers.Flatten()(body(x))
        model = keras.Model(x, layers.Dense(3)(y))
    randomise(model)
    return model


def norm(y, **options):
    return layers.BatchNormalization(**options)(y)


def conv(y, *options, filters=4, **more):
    return layers.Conv2D(filters, 3, *options, **more)(y)


def with_readers(y):
    """Two layers read one normalisation."""
    z = norm(conv(y, padding="same"))
    return layers.Add()([conv(z, padding="same"), layers.ReLU()(z)])


def shared_convolution(y):
    """A normalisation and another layer read one convolution."""
    z = conv(y)
    return layers.Multiply()([norm(z), layers.Activation("tanh")(z)])


def called_twice(y):
    z, layer = conv(y, filters=3, padding="same"), layers.BatchNormalization()
    own = layers.Conv2D(3, 3, padding="same")
    return layer(own(layers.ReLU()(layer(own(z)))))


def frozen(y):
    layer = layers.BatchNormalization()
    layer.trainable = False
    return layer(conv(y))


def nested(y):
    x = keras.Input(y.shape[1:])
    inner = keras.Model(x, norm(conv(x)))
    z = keras.Input(inner.output.shape[1:])
    return norm(conv(keras.Sequential([z, layers.ReLU()])(inner(y))))


def own_arithmetic(y):
    """Shifts and scales of all kinds, on either side."""
    c = np.array([0.5, -1.5, 2.0, 0.25])

    def changed(t):
        t = (t - c) * c[::-1].copy()
        t = c - t
        return t + c * 2

    return layers.Lambda(changed)(conv(y))


def own_gradient(y):
    return norm(conv(layers.Activation("silu")(norm(conv(y)))))


def by_place(y):
    """A factor for each place and channel, and no factor for channels."""
    factors = np.linspace(-1, 1, 7 * 9 * 4).reshape(7, 9, 4)
    return layers.Lambda(lambda t: t * factors)(conv(y))


def in_a_branch(y):
    """The graph holds a function, which it calls or does not."""

    def call(t):
        return tf.cond(tf.shape(t)[0] > 0, lambda: t * tf.exp(t), lambda: t)

    return norm(conv(layers.Lambda(call)(norm(conv(y)))))


#: Name -> body, operations that scale or shift a map and may stay.
FOLDED = {
    "plain": lambda y: norm(conv(y)),
    "no bias": lambda y: norm(conv(y, use_bias=False)),
    "strides": lambda y: norm(conv(y, 2, "same")),
    "no scale": lambda y: norm(conv(y), scale=False),
    "no centre": lambda y: norm(conv(y), center=False),
    "neither": lambda y: norm(conv(y), center=False, scale=False),
    "depthwise": lambda y: norm(layers.DepthwiseConv2D(3)(y)),
    "multiplier": lambda y: norm(
        layers.DepthwiseConv2D(3, depth_multiplier=2)(y)
    ),
    "separable": lambda y: norm(
        layers.SeparableConv2D(4, 3, depth_multiplier=2)(y)
    ),
    "before relu": lambda y: layers.ReLU()(norm(conv(y))),
    "twice": lambda y: norm(norm(conv(y))),
    "two in a row": lambda y: norm(conv(layers.ReLU()(norm(conv(y))))),
    "dropout between": lambda y: norm(layers.SpatialDropout2D(0.5)(conv(y))),
    "two readers": with_readers,
    "called twice": called_twice,
    "frozen": frozen,
    "nested": nested,
}
LEFT = {
    "one filter": lambda y: norm(conv(y, filters=1)),
    "dilated": lambda y: norm(conv(y, dilation_rate=2)),
    "after relu": lambda y: norm(conv(y, activation="relu")),
    "padded between": lambda y: norm(layers.ZeroPadding2D(1)(conv(y))),
    "pooled between": lambda y: norm(layers.MaxPooling2D(2)(conv(y))),
    "first": lambda y: conv(norm(y)),
    "shared convolution": shared_convolution,
    "another axis": lambda y: norm(conv(y, filters=9), axis=2),
    "own arithmetic": own_arithmetic,
    "own gradient": own_gradient,
    "a map of factors": by_place,
    "grouped": lambda y: norm(conv(norm(conv(y)), filters=6, groups=2)),
    "branch": in_a_branch,
    "group norm": lambda y: layers.GroupNormalization(2)(conv(y)),
}


def close(found, expected, rtol=1e-12):
    size = np.abs(expected).max()
    assert size > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * size)


def equals_tape(model, target=None, images=IMAGES, rtol=1e-12):
    target = target or class_score(1)
    close(gradient(model, images, target), bare(model, target, images), rtol)
    score = occlusion(
        model, images[0], target, patch=3, stride=3, reuse=False
    ).baseline
    close(score, target(model(images[:1], training=False)).numpy()[0], rtol)


def on_maps(model, step=forward, target=None):
    """How often convolutions, and operations that could scale or shift, stand
    between pixels and scores, on a map."""
    target = as_target(target or class_score(1))
    compiled = runners.runner(model, step, [target], IMAGES).compiled
    found = [
        operation.type
        for operation in operations_of(compiled.call)
        if operation.outputs[0].shape.rank == 4
    ]
    return {
        kind: found.count(kind)
        for kind in ("Mul", "AddV2", "Sub", "BiasAdd", "Conv2D", "Pad")
        if kind in found
    }


@pytest.mark.parametrize("name", FOLDED | LEFT)
def test_outputs_and_gradients(name):
    equals_tape(network((FOLDED | LEFT)[name]))


@pytest.mark.parametrize("name", FOLDED)
def test_no_normalisation_is_left_on_a_map(name):
    model = network(FOLDED[name])
    convolutions = sum(
        len(layer._inbound_nodes)
        for layer in model._flatten_layers()
        if isinstance(layer, layers.BatchNormalization)
    )
    wanted = {"BiasAdd": convolutions}
    if name == "called twice":
        wanted = {"BiasAdd": 3}  # one without normalisation
    if name == "two readers":
        wanted = {"AddV2": 1, "BiasAdd": 2}  # where both meet; the second's
    if name == "twice":
        wanted = {"BiasAdd": 1}
    left = on_maps(model)
    left.pop("Conv2D", None)
    assert left == wanted
    back = on_maps(model, forward_and_back)
    assert "Mul" not in back and "Sub" not in back


@pytest.mark.parametrize(
    "zeros, kernel, stride, left",
    [
        (1, 3, 1, 0),
        (1, 3, 2, 0),  # 9 × 11: zeros on both sides, as "same" has them
        (((1, 2), (1, 2)), 4, 1, 0),
        (((2, 1), (2, 1)), 4, 1, 1),  # "same" has one before, two after
        (((0, 1), (0, 1)), 3, 2, 1),
        (((0, 0), (0, 1)), 2, 2, 1),  # "same" has them below, too
        (((0, 1), (0, 1)), 2, 2, 0),
        (2, 3, 1, 1),
    ],
)
@pytest.mark.parametrize("kind", [layers.Conv2D, layers.DepthwiseConv2D])
def test_zeros_before_a_convolution(kind, zeros, kernel, stride, left):
    def body(y):
        y = layers.ZeroPadding2D(zeros)(y)
        filters = () if kind is layers.DepthwiseConv2D else (4,)
        return norm(kind(*filters, kernel, stride)(y))

    model = network(body)
    equals_tape(model)
    found = on_maps(model)
    assert found.get("Pad", 0) == left and "Mul" not in found


def test_what_is_left_is_normalised():
    """The way this file counts finds a normalisation where there is one."""
    for name in "after relu", "pooled between", "shared convolution":
        assert on_maps(network(LEFT[name]))["Mul"] >= 1
    # Folded for one reader, it would be computed twice.
    shared = on_maps(network(LEFT["shared convolution"]))
    assert shared["Conv2D"] == 1


@pytest.mark.parametrize("name", ["plain", "two in a row", "nested"])
def test_changed_weights(name):
    model = network(FOLDED[name])
    equals_tape(model)
    before = gradient(model, IMAGES, class_score(1))
    for factor in 2.0, 0.5:
        model.set_weights([factor * w + 0.1 for w in model.get_weights()])
        equals_tape(model)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.train_on_batch(IMAGES, np.ones((2, 3)))  # statistics move, too
    equals_tape(model)
    after = gradient(model, IMAGES, class_score(1))
    assert np.abs(after - before).max() > 1e-3


@pytest.mark.parametrize("name", ["conv", "norm", "relu"])
def test_a_unit_of_a_layer_that_is_folded(name):
    def body(y):
        y = layers.Conv2D(4, 3, name="conv")(y)
        y = layers.BatchNormalization(name="norm")(y)
        return layers.ReLU(name="relu")(y)

    model = network(body)
    features = keras.Model(model.input, model.get_layer(name).output)

    def inside(maps):
        return tf.reduce_sum(maps[..., 2], axis=[1, 2])

    found = gradient(model, IMAGES, unit(name, 2))
    close(found, bare(features, inside, IMAGES))
    both = occlusion(
        model,
        IMAGES[0],
        class_score(1),
        patch=4,
        stride=4,
        also={"unit": unit(name, 2, (1, 3))},
        reuse=False,
    )
    covered = IMAGES[0].copy()
    covered[:4, :4] = IMAGES[0].mean(axis=(0, 1))
    close(both.scores[0, 0], model(covered[None]).numpy()[0, 1])
    close(both.also["unit"][0, 0], features(covered[None])[0, 1, 3, 2])


@pytest.mark.parametrize("rule", RULES)
def test_the_ways_back_of_the_deconvnet(rule, monkeypatch):
    """Its ReLUs work as without folding."""

    def body(y):
        y = layers.ReLU()(norm(conv(y, padding="same")))
        y = layers.MaxPooling2D(2)(y)
        y = layers.ReLU()(norm(layers.DepthwiseConv2D(3)(y)))
        return layers.Conv2D(4, 1, name="last")(y)

    def all_ways(model):
        targets = [class_score(1), *(unit("last", k) for k in range(4))]
        return np.stack([project(model, IMAGES, t, rule) for t in targets])

    folded = all_ways(network(body))
    monkeypatch.setattr(runners, "fold", lambda images, outputs: outputs)
    plain = network(body)
    assert on_maps(plain)["Mul"] == 2
    close(folded, all_ways(plain))


def test_receptive_field():
    def body(y):
        y = layers.ReLU()(norm(conv(y, 2, "same")))
        return layers.BatchNormalization(name="end")(conv(y, padding="same"))

    model = network(body)
    # 9 × 11 -> 5 × 6, rows 2i - 1 to 2i + 1; then one more on each side.
    assert receptive_field(model, "end", (2, 3)) == (1, 3, 8, 10)
    # A weight of zero after folding hides no path.
    model.layers[2].set_weights([np.zeros(4), *[np.ones(4)] * 3])
    assert receptive_field(model, "end", (2, 3)) == (1, 3, 8, 10)


def test_half_precision_is_left_as_it_is(monkeypatch):
    def body(y):
        c = np.array([0.5, 1.5, 2.0, 0.25], "float16")
        y = layers.Lambda(lambda t: t * c + c)(conv(y))
        return layers.ReLU()(norm(y))

    images = IMAGES.astype("float32")
    model = network(body, "mixed_float16")
    left = on_maps(model)
    found = gradient(model, images, class_score(1))
    monkeypatch.setattr(runners, "fold", lambda images, outputs: outputs)
    plain = network(body, "mixed_float16")
    assert on_maps(plain) == left and left["Mul"] == 2
    expected = gradient(plain, images, class_score(1))
    np.testing.assert_array_equal(found, expected)


def test_int8_weights():
    model = network(lambda y: layers.ReLU()(norm(conv(y))), "float32")
    images = IMAGES.astype("float32")
    equals_tape(model, images=images, rtol=1e-5)
    model.quantize("int8")
    equals_tape(model, images=images, rtol=1e-4)


def test_float32_and_a_network_in_use():
    """Few last bits, after folding through many layers."""
    with floats("float32"):
        model = keras.applications.MobileNet(
            input_shape=(32, 32, 3),
            alpha=0.25,
            weights=None,
            classes=4,
            classifier_activation=None,
        )
    randomise(model)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    images = images.astype("float32")
    found = gradient(model, images, class_score(1))
    close(found, bare(model, class_score(1), images), 1e-4)
    target = as_target(class_score(1))
    run = runners.runner(model, forward, [target], images)
    kinds = [o.type for o in operations_of(run.compiled.call)]
    assert kinds.count("Mul") == 0 and kinds.count("BiasAdd") == 28
