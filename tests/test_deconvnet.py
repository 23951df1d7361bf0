"""The deconvnet against answers worked out on paper, GradientTape, and a
second implementation by tf.custom_gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from xai_utils import gradients, networks
from xai_utils.data import photos, stickers
from xai_utils.deconvnet import RULES, project, strongest
from xai_utils.targets import (
    class_probability,
    class_score,
    predicted_class,
    unit,
)

pytestmark = pytest.mark.quick


def hand_sized():
    """3 × 3 filters, ReLU, 2 × 2 pool, a unit of three inputs, ReLU.

    The image has one bright pixel at (2, 2). Filter A sees it best at the
    place (1, 0), filter B at (0, 1); filter C is never active.
    """
    x = keras.Input((4, 4, 1))
    y = layers.Conv2D(3, 3, activation="relu", name="conv")(x)
    y = layers.MaxPooling2D(name="pool")(y)
    y = layers.Conv2D(1, 1, activation="relu", name="unit")(y)
    model = keras.Model(x, y)
    A = [[0, 0, 1], [0, 1, 4], [2, 0, -1]]
    B = [[0, 1, 0], [1, 0, 2], [0, 3, 0]]
    C = [[-5, -6, -7], [-1, -2, -3], [-4, -8, -9]]
    filters = np.stack([A, B, C], axis=-1)[:, :, None].astype(float)
    model.set_weights(
        [
            filters,
            np.array([0.5, 0, 0]),
            np.reshape([2.0, -1.0, 3.0], (1, 1, 3, 1)),
            np.array([10.0]),
        ]
    )
    image = np.zeros((1, 4, 4, 1))
    image[0, 2, 2] = 1
    return model, image, filters[:, :, 0]


def test_hand_sized_network_is_as_on_paper():
    model, image, filters = hand_sized()
    # A at the place (i, j) of the 2 × 2 map sees the pixel (2, 2) with its
    # weight (2 - i, 2 - j): [[-1, 0], [4, 1]]. So its switch is (1, 0).
    # B: [[0, 3], [2, 0]]: its switch is (0, 1). C is zero: the first, (0, 0).
    A, B, C = np.zeros((3, 4, 4))
    A[1:4, 0:3], B[0:3, 1:4], C[0:3, 0:3] = np.moveaxis(filters, 2, 0)
    # The unit sends back (2, -1, 3). The gradient stops at C, which is not
    # active; the deconvnet at B, which gets a negative signal; guided at both.
    for rule, on_paper in (
        ("gradient", 2 * A - B),
        ("deconvnet", 2 * A + 3 * C),
        ("guided", 2 * A),
    ):
        found = project(model, image, unit("unit", 0, (0, 0)), rule)
        np.testing.assert_array_equal(found[0, ..., 0], on_paper)


def test_a_capped_relu_is_closed_at_its_cap_but_not_to_the_deconvnet():
    x = keras.Input((1, 4, 1))
    y = layers.ReLU(max_value=6)(x)
    model = keras.Model(x, layers.Flatten(name="all")(y))
    image = np.reshape([-1.0, 3.0, 7.0, 0.5], (1, 1, 4, 1))
    back = {
        rule: project(
            model, image, lambda a: a[:, 0] - a[:, 1] + a[:, 2] + a[:, 3], rule
        )
        .ravel()
        .tolist()
        for rule in RULES
    }
    assert back == {
        "gradient": [0, -1, 0, 1],
        "deconvnet": [1, 0, 1, 1],
        "guided": [0, 0, 0, 1],
    }


@pytest.mark.parametrize(
    "clip",
    [
        lambda x: ops.clip(x, 0, 6),
        lambda x: ops.minimum(ops.relu(x), 6.0),
        lambda x: tf.minimum(6.0, tf.maximum(0.0, x)),
        lambda x: ops.maximum(ops.minimum(x, 6.0), 0.0),
        layers.ReLU(max_value=6),
        layers.ReLU(max_value=6.0, negative_slope=0.0),
    ],
    ids=range(6),
)
def test_a_cap_in_any_spelling(clip):
    x = keras.Input((1, 4, 1))
    model = keras.Model(x, layers.Flatten()(layers.Lambda(clip)(x)))
    image = np.reshape([-1.0, 3.0, 7.0, 0.5], (1, 1, 4, 1))
    for rule, on_paper in (
        ("gradient", [0, -1, 0, 1]),
        ("deconvnet", [1, 0, 1, 1]),
        ("guided", [0, 0, 0, 1]),
    ):
        found = project(
            model, image, lambda a: a[:, 0] - a[:, 1] + a[:, 2] + a[:, 3], rule
        )
        assert found.ravel().tolist() == on_paper


def residual_net():
    """Every kind of layer that has a rule, with all kinds of ReLU."""
    keras.utils.set_random_seed(3)
    x = keras.Input((15, 13, 3))
    y = layers.Rescaling(2.0, offset=-0.5)(x) / 3.0 - 0.1
    y = layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.ReLU(6.0)(y)
    side = layers.DepthwiseConv2D(3, padding="same", activation="relu")(y)
    side = layers.SeparableConv2D(6, 3, padding="same")(side)
    side = layers.Activation("relu6")(side)
    y = layers.Add()([y, side])
    # A window of 3 that moves by 2: one unit may be the maximum of two.
    y = layers.MaxPooling2D(3, strides=2, padding="same", name="pool")(y)
    y = layers.Concatenate()(
        [
            y,
            layers.Conv2D(
                4, 3, padding="same", dilation_rate=2, activation=tf.nn.relu
            )(y),
        ]
    )
    y = layers.AveragePooling2D(2, padding="same")(layers.ZeroPadding2D()(y))
    y = ops.relu(layers.Conv2D(8, 2, groups=2, name="last")(y))
    y = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(y))
    y = layers.Dense(7, activation="relu", name="dense")(y)
    model = keras.Model(x, layers.Dense(4, name="scores")(y))
    rng = np.random.default_rng(0)
    model.set_weights(
        [
            np.abs(w) + 0.5
            if "variance" in v.path
            else w + rng.normal(size=w.shape, scale=0.3)
            for v, w in zip(model.weights, model.get_weights())
        ]
    )
    return model, rng.normal(size=(3, 15, 13, 3), scale=3)


def by_custom_gradient(model, rule):
    """The same network, whose ReLUs have another gradient."""

    def relu(cap):
        @tf.custom_gradient
        def forward(x):
            def back(signal):
                passed = tf.cast((x > 0) & (x < cap), x.dtype)
                positive = tf.cast(signal > 0, x.dtype)
                return (
                    signal
                    * {
                        "gradient": passed,
                        "deconvnet": positive,
                        "guided": passed * positive,
                    }[rule]
                )

            return tf.clip_by_value(x, 0, cap), back

        return forward

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, layers.ReLU):
            return layers.Activation(
                relu(layer.max_value or np.inf), name=layer.name
            )
        copy = type(layer).from_config(config)
        name = getattr(
            config.get("activation"), "__name__", config.get("activation")
        )
        if name == "relu6":
            copy.activation = relu(6)
        elif name is not None and "relu" in str(name):
            copy.activation = relu(np.inf)
        return copy

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def by_tape(model, images, target):
    """The gradient, operation by operation, with nothing compiled."""
    if getattr(target, "layer", None):
        end = model.get_layer(target.layer).output
        model = keras.Model(model.input, end)
    pixels = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        explained = target(model(pixels, training=False))
    return tape.gradient(explained, pixels).numpy()


def agree(model, images, target):
    for rule in RULES:
        found = project(model, images, target, rule)
        if rule == "gradient":
            expected = by_tape(model, images, target)
        else:
            expected = by_tape(by_custom_gradient(model, rule), images, target)
        assert np.abs(found).max() > 0
        np.testing.assert_allclose(
            found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
        )


@pytest.mark.parametrize(
    "target",
    [
        class_score([1, 2, 3]),
        unit("conv4", 3),
        unit("conv2", 5, (20, 9)),
        unit("hidden", 11),
    ],
    ids=["score", "map", "unit", "dense"],
)
def test_stickers_net_like_tape_and_custom_gradient(target):
    images, _, _ = stickers.make(3, seed=5)
    agree(networks.stickers_net(), images, target)


@pytest.mark.parametrize(
    "target",
    [class_probability(1), unit("pool", 4, (2, 1))],
    ids=["probability", "unit"],
)
def test_all_kinds_of_layers_like_tape_and_custom_gradient(target):
    model, images = residual_net()
    # The one ReLU that is no layer: the copy can't have another gradient.
    y = model.get_layer("last").output
    y = layers.ReLU(name="own")(y)
    y = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(y))
    for name in "dense", "scores":
        y = type(model.get_layer(name)).from_config(
            model.get_layer(name).get_config()
        )(y)
    full = keras.Model(model.input, y)
    full.set_weights(model.get_weights())
    agree(full, images, target)


def test_a_relu_that_is_no_layer():
    model, images = residual_net()
    found = project(model, images, class_score(2), "gradient")
    np.testing.assert_allclose(
        found, gradients.gradient(model, images, class_score(2)), rtol=1e-5
    )
    assert not np.allclose(found, project(model, images, class_score(2)))


def test_imagenet_network_like_tape_and_custom_gradient():
    cat = photos.sample("chelsea", size=224)[None]
    agree(networks.photos_net(), cat, class_score(285))


@pytest.mark.parametrize(
    "prepare",
    [
        keras.applications.mobilenet.preprocess_input,  # to [-1, 1]
        keras.applications.vgg16.preprocess_input,  # B, G, R minus means
        keras.applications.densenet.preprocess_input,  # and by deviations
    ],
    ids=["mobilenet", "vgg16", "densenet"],
)
def test_the_preparation_of_pixels_in_keras_applications(prepare):
    keras.utils.set_random_seed(0)
    x = keras.Input((12, 12, 3))
    y = layers.Conv2D(4, 3, activation="relu")(prepare(x))
    model = keras.Model(x, layers.Dense(5)(layers.Flatten()(y)))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 12, 12, 3))
    agree(model, pixels, class_score([3, 4]))


def test_another_architecture():
    """Capped ReLUs, depthwise convolutions, batch statistics, sums: the first
    quarter of it has them all."""
    model = networks.photos_net("MobileNetV2", weights=None)
    image = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3))
    target = unit("block_4_add", 3, (10, 20))
    expected = by_tape(model, image, target)
    np.testing.assert_allclose(
        project(model, image, target, "gradient"),
        expected,
        rtol=1e-5,
        atol=1e-5 * np.abs(expected).max(),
    )


def test_a_layer_that_reads_one_tensor_twice():
    for add in layers.Add(), lambda pair: pair[0] + pair[1]:
        x = keras.Input((2, 2, 1))
        model = keras.Model(x, layers.Flatten()(add([x, x])))
        found = project(model, np.ones((1, 2, 2, 1)), class_score(1))
        assert found.ravel().tolist() == [0, 2, 0, 0]


def test_operations_outside_layers():
    x = keras.Input((4, 2, 2))
    y = ops.relu6(layers.Conv2D(2, 1, name="conv")(x) * 2 - 0.5)
    z = ops.stack([y[..., 1], y[..., 0]], axis=-1) / 4
    model = keras.Model(x, layers.Flatten()(z - (y + z)))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    images = rng.normal(size=(4, 4, 2, 2), scale=2)
    target = class_score([0, 3, 7, 10])
    expected = gradients.gradient(model, images, target)
    assert expected.any()
    np.testing.assert_allclose(
        project(model, images, target, "gradient"), expected, atol=1e-6
    )


def test_without_relus_all_three_agree():
    model = networks.stickers_net()
    images, _, _ = stickers.make(3, seed=5)
    target = class_score(4)
    differ = [project(model, images, target, rule) for rule in RULES]
    for layer in model.layers:
        if getattr(layer, "activation", None) == keras.activations.relu:
            layer.activation = keras.activations.linear
    same = [project(model, images, target, rule) for rule in RULES]
    for other in 1, 2:
        np.testing.assert_array_equal(same[0], same[other])
        assert np.abs(differ[0] - differ[other]).max() > (
            0.1 * np.abs(differ[0]).max()
        )


def test_deconvnet_of_the_whole_map_is_not_the_sum_of_its_units():
    """The gradient is linear in its seed, the other two are not."""
    model = networks.stickers_net()
    image = stickers.make(1, seed=5)[0]
    whole, parts = {}, {}
    places = np.array([(i, j) for i in range(6) for j in range(6)]).T
    for rule in RULES:
        whole[rule] = project(model, image, unit("pool4", 3), rule)[0]
        parts[rule] = project(
            model,
            np.repeat(image, 36, axis=0),
            unit("pool4", [3] * 36, places),
            rule,
        ).sum(axis=0)
    np.testing.assert_allclose(
        whole["gradient"],
        parts["gradient"],
        atol=1e-5 * np.abs(whole["gradient"]).max(),
    )
    for rule in "deconvnet", "guided":
        assert np.abs(whole[rule] - parts[rule]).max() > (
            0.01 * np.abs(whole[rule]).max()
        )


def test_biases_never_enter():
    model, image, _ = hand_sized()
    before = project(model, image, unit("unit", 0, (0, 0)))
    weights = model.get_weights()
    weights[3] = weights[3] + 100
    model.set_weights(weights)
    np.testing.assert_array_equal(
        project(model, image, unit("unit", 0, (0, 0))), before
    )


def test_new_weights_are_used_and_the_model_is_left_alone():
    model, images = residual_net()
    before = model.get_weights()
    first = project(model, images, class_score(1), batch_size=2)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(  # still one graph: a second call works
        project(model, images, class_score(1), batch_size=3),
        first,
        rtol=1e-4,
        atol=1e-6,
    )
    model.set_weights(
        [2 * weight if i == 0 else weight for i, weight in enumerate(before)]
    )
    assert np.abs(project(model, images, class_score(1)) - first).max() > (
        1e-3 * np.abs(first).max()
    )


def test_sequential_two_outputs_and_float64():
    stack = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 2))
    np.testing.assert_allclose(
        project(stack, images, class_score(1), "gradient"),
        gradients.gradient(stack, images, class_score(1)),
        rtol=1e-5,
    )
    x = keras.Input((6, 6, 2), dtype="float64")
    y = layers.Flatten(dtype="float64")(
        layers.Conv2D(3, 3, activation="relu", dtype="float64")(x)
    )
    two = keras.Model(
        x,
        {
            "a": layers.Dense(2, dtype="float64")(y),
            "b": layers.Dense(3, dtype="float64")(y),
        },
    )
    found = project(two, images, lambda outputs: outputs["b"][:, 2])
    one = keras.Model(x, two.output["b"])
    np.testing.assert_array_equal(found, project(one, images, class_score(2)))
    assert found.dtype == np.float64 and np.abs(found).max() > 0


def test_half_precision_gives_nearly_the_same():
    images, found = np.random.default_rng(0).normal(size=(2, 8, 8, 3)), {}
    for policy in "float32", "mixed_float16":
        keras.utils.set_random_seed(0)
        x = keras.Input((8, 8, 3))
        y = layers.Conv2D(4, 3, activation="relu", dtype=policy)(x)
        y = layers.DepthwiseConv2D(3, activation="relu", dtype=policy)(y)
        y = layers.Dense(5, activation="relu", dtype=policy)(
            layers.Flatten(dtype=policy)(y)
        )
        model = keras.Model(x, layers.Dense(3)(y))
        found[policy] = project(model, images, class_score(1))
    full, half = found.values()
    assert full.any() and (full != half).any()
    np.testing.assert_allclose(half, full, atol=0.02 * np.abs(full).max())


def end_in(*end):
    x = keras.Input((6, 6, 3))
    y = layers.Flatten()(layers.Conv2D(2, 3, activation="relu", name="c")(x))
    y = layers.Dense(3, name="d")(y)
    for layer in end:
        y = layer(y)
    return keras.Model(x, y)


class Squared(layers.Dense):
    def call(self, x):
        return super().call(x) ** 2


def repeated(*above):
    x, layer = keras.Input((6, 6, 3)), layers.Dense(3, name="repeated")
    y = layer(layer(layers.Dense(3)(layers.Flatten()(x))))
    for one in above:
        y = one(y)
    return keras.Model(x, y)


@pytest.mark.parametrize(
    "model, target",
    [
        (
            lambda: end_in(lambda y: y + ops.reshape(y, (-1, 3, 1))[:, :1]),
            lambda out: out[:, 0, 0],
        ),
        (repeated, class_score(0)),
        (lambda: repeated(layers.Dense(3, name="last")), class_score(0)),
        (
            lambda: end_in(
                layers.Dropout(0.5),
                layers.GaussianNoise(1.0),
                layers.Reshape((1, 3, 1)),
                layers.UpSampling2D((2, 3)),
                layers.Cropping2D(((1, 0), (0, 4))),
                layers.RandomFlip(),
                layers.Flatten(),
                layers.Dense(2),
            ),
            class_score(1),
        ),
    ],
    ids=["broadcast", "repeated", "below", "linear"],
)
def test_what_is_linear_needs_no_rule(model, target):
    """Its only ReLU is the one that the copy gets another gradient for."""
    agree(model(), np.random.default_rng(0).normal(size=(2, 6, 6, 3)), target)


def test_two_models_that_share_a_layer():
    first = end_in()
    x = keras.Input((6, 6, 3))
    second = keras.Model(
        x, first.get_layer("d")(layers.Flatten()(first.get_layer("c")(x)))
    )
    np.testing.assert_array_equal(
        project(second, np.ones((1, 6, 6, 3)), class_score(0)),
        project(first, np.ones((1, 6, 6, 3)), class_score(0)),
    )


def test_a_relu_in_a_subclassed_model():
    flat = end_in()

    class Around(keras.Model):
        def __init__(self):
            super().__init__()
            self.steps = flat.layers[1:]

        def call(self, x):
            for step in self.steps:
                x = step(x)
            return x

    model, images = (
        Around(),
        np.random.default_rng(0).normal(size=(2, 6, 6, 3)),
    )
    model(images)
    for rule in RULES:
        np.testing.assert_array_equal(
            project(model, images, class_score(0), rule),
            project(flat, images, class_score(0), rule),
        )


@pytest.mark.parametrize(
    "model, target, message",
    [
        (
            lambda: end_in(layers.LeakyReLU(name="leaky")),
            class_score(1),
            "'leaky' .LeakyRelu. has no rule",
        ),
        (
            lambda: end_in(layers.ReLU(threshold=1, name="late")),
            class_score(1),
            "'late' .Greater. has no rule",
        ),
        (
            lambda: end_in(layers.Activation("tanh", name="tan")),
            class_score(1),
            "'tan' .Tanh. has no rule",
        ),
        (
            lambda: end_in(layers.Dense(2, "softmax", name="p")),
            class_probability(1),
            "'p' .Softmax. has no rule",
        ),
        (
            lambda: end_in(layers.LayerNormalization(name="ln")),
            class_score(0),
            "layer 'ln.* has no rule",
        ),
        (
            lambda: end_in(
                layers.Lambda(
                    lambda y: y**2, name="squares", output_shape=(3,)
                )
            ),
            class_score(0),
            "'squares' .Pow. has no rule",
        ),
        (lambda: end_in(Squared(3, name="sq")), class_score(0), "'sq' .Pow"),
        (lambda: end_in(lambda y: y * y), class_score(0), "Mul has no rule"),
        (
            lambda: end_in(
                lambda y: ops.minimum(ops.relu(y), ops.mean(y, -1, True))
            ),
            class_score(0),
            "Minimum has no rule",
        ),
        (
            lambda: end_in(
                lambda y: layers.Maximum()([ops.relu(y), layers.Dense(3)(y)])
            ),
            class_score(0),
            "Maximum.* has no rule",
        ),
        (
            lambda: end_in(lambda y: ops.clip(y, -1.0, 1.0)),
            class_score(0),
            "Maximum.* has no rule",
        ),
        (
            lambda: end_in(
                layers.Lambda(tf.function(tf.tanh), output_shape=(3,))
            ),
            class_score(0),
            "PartitionedCall. has no rule",
        ),
        (
            lambda: end_in(
                layers.Lambda(tf.function(tf.nn.relu), output_shape=(3,))
            ),
            class_score(0),
            "PartitionedCall. has no rule",
        ),
        (end_in, class_score(3), "class index must be below 3"),
        (end_in, unit("c", 2), "channel must be below 2"),
        (end_in, unit("x", 2), "layer must be one of .*c.*got 'x'"),
        (end_in, unit("c", 0, (4, 0)), "row must be below 4"),
        (end_in, predicted_class, "smoothly"),
    ],
    ids=range(18),
)
def test_what_has_no_rule_is_named(model, target, message):
    with pytest.raises(ValueError, match=message):
        project(model(), np.ones((1, 6, 6, 3)), target)


def test_a_layer_above_the_unit_needs_no_rule():
    model = end_in(layers.LeakyReLU())
    assert project(model, np.ones((1, 6, 6, 3)), unit("d", 1)).any()


def test_other_bad_arguments():
    model, image = end_in(), np.ones((1, 6, 6, 3))
    with pytest.raises(ValueError, match="rule must be .*'deconv'"):
        project(model, image, class_score(0), "deconv")
    with pytest.raises(ValueError, match="images must have shape"):
        project(model, image[0], class_score(0))
    with pytest.raises(ValueError, match="batch_size"):
        project(model, image, class_score(0), batch_size=0)
    with pytest.raises(ValueError, match="top must be .* 1; got 2"):
        strongest(model, image, "c", top=2)
    with pytest.raises(ValueError, match="layer must be one of"):
        strongest(model, image, "nowhere", top=1)


@pytest.mark.parametrize("layer", ["conv2", "hidden"])
@pytest.mark.parametrize("batch_size", [7, 64])
def test_strongest_like_sorting_everything(layer, batch_size):
    model = networks.stickers_net()
    images, _, _ = stickers.make(40, seed=6)
    inner = keras.Model(model.input, model.get_layer(layer).output)
    features = inner.predict(images.astype(np.float32), verbose=0)
    found = strongest(model, images, layer, top=5, batch_size=batch_size)
    flat = features.reshape(40, -1, features.shape[-1])
    for channel in range(features.shape[-1]):
        peaks = flat[:, :, channel].max(axis=1)
        order = np.argsort(-peaks, kind="stable")[:5]
        np.testing.assert_allclose(
            found.activations[channel], peaks[order], rtol=1e-4, atol=1e-5
        )
        for rank, i in enumerate(found.images[channel]):
            place = (
                tuple(found.positions[channel, rank])
                if (found.positions is not None)
                else ()
            )
            np.testing.assert_allclose(
                features[(i, *place, channel)],
                found.activations[channel, rank],
                rtol=1e-4,
                atol=1e-5,
            )
    assert (found.positions is None) == (layer == "hidden")
