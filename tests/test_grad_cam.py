"""Grad-CAM against an example worked out by hand, a tape, and Captum."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from formula_net import formula_net
from keras import layers, ops

from xai_utils import networks
from xai_utils.data import stickers
from xai_utils.grad_cam import grad_cam, last_map
from xai_utils.targets import (
    class_probability,
    class_score,
    loss,
    predicted_class,
    unit,
)

pytestmark = pytest.mark.quick

SHAPE = (17, 15, 3)


def some_images(n=3, shape=SHAPE):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, *shape)).astype("float32")


def small_net():
    """One map that is pooled, of 6 × 5 places, and its places weighed."""
    keras.utils.set_random_seed(0)
    x = keras.Input(SHAPE)
    y = layers.Conv2D(4, 3, 3, "same", activation="tanh", name="early")(x)
    y = layers.Conv2D(6, 3, padding="same", activation="tanh", name="late")(y)
    y = layers.Flatten()(layers.MaxPooling2D(name="pool")(y))
    y = layers.Dense(5, activation="tanh")(y)
    return keras.Model(x, layers.Dense(3, name="end")(y))


def close(found, expected, rtol):
    atol = rtol * np.abs(expected).max()
    assert atol > 0
    np.testing.assert_allclose(found, expected, rtol, atol)


def brute_force(model, images, function, layer):
    """One image at a time: the network cut in two at a layer, and a tape."""
    middle = model.get_layer(layer).output
    before = keras.Model(model.inputs[0], middle)
    outputs = model.outputs if len(model.outputs) > 1 else model.outputs[0]
    behind = keras.Model(middle, outputs)
    coarse = []
    for image in images:
        A = tf.constant(before(image[None], training=False))
        with tf.GradientTape() as tape:
            tape.watch(A)
            score = function(behind(A, training=False))
        slopes = tape.gradient(score, A).numpy()[0].astype("float64")
        alphas = [slopes[..., k].mean() for k in range(slopes.shape[-1])]
        maps = A.numpy()[0].astype("float64")
        coarse.append(sum(a * maps[..., k] for k, a in enumerate(alphas)))
    return np.stack(coarse)


def hand_sized():
    """A convolution that takes every second pixel; its two maps are
    averaged and weighed."""
    x = keras.Input((4, 4, 2))
    y = layers.Conv2D(2, 1, 2, use_bias=False, name="maps")(x)
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(3)(y))
    image = np.full((1, 4, 4, 2), 77.0)
    image[0, ::2, ::2, 0] = [[1, 2], [3, 4]]
    image[0, ::2, ::2, 1] = [[0, 2], [-1, 1]]
    model.set_weights(
        [
            np.eye(2)[None, None],
            np.array([[4.0, 0, -4], [-8, 4, 0]]),
            np.array([5.0, 6, 7]),
        ]
    )
    return model, image


def test_hand_sized_network_is_as_on_paper():
    """A place's share of the mean is 1/4, so α is the weight over four."""
    model, image = hand_sized()
    for k, coarse in enumerate(
        [
            [[1 - 0, 2 - 4], [3 + 2, 4 - 2]],  # 1 A − 2 B
            [[0, 2], [-1, 1]],  # B
            [[-1, -2], [-3, -4]],  # − A
        ]
    ):
        found = grad_cam(model, image, class_score(k))
        assert found.layer == "maps"
        np.testing.assert_array_equal(found.coarse[0], coarse)
    # [[1, 0], [5, 2]] lies evenly over 4 × 4 pixels: the middle of a place is
    # between two pixels, and beyond it, at the edge, nothing changes.
    on_paper = [
        [1, 0.75, 0.25, 0],
        [2, 1.625, 0.875, 0.5],
        [4, 3.375, 2.125, 1.5],
        [5, 4.25, 2.75, 2],
    ]
    found = grad_cam(model, image, class_score(0))
    np.testing.assert_allclose(found.heatmap[0], on_paper, rtol=1e-6)
    assert (grad_cam(model, image, class_score(2)).heatmap == 0).all()


@pytest.mark.parametrize("shape", [SHAPE, (20, 31, 3), (6, 5, 3)])
def test_the_heatmap_is_the_positive_part_enlarged(shape):
    keras.utils.set_random_seed(0)
    x = keras.Input(shape)
    y = layers.Conv2D(4, 3, 3, "same", name="conv")(x)
    model = keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))
    found = grad_cam(model, some_images(4, shape), class_score(1))
    assert found.coarse.min() < 0 < found.coarse.max()
    assert found.heatmap.shape == (4, *shape[:2])
    assert found.heatmap.dtype == found.coarse.dtype == np.float32
    positive = np.maximum(found.coarse, 0)[..., None]
    enlarged = tf.image.resize(positive, shape[:2]).numpy()[..., 0]
    np.testing.assert_allclose(found.heatmap, enlarged, rtol=1e-4, atol=1e-6)


def test_bare_tape_on_stickers():
    model = networks.stickers_net()
    images, labels, _ = stickers.make(5, seed=4)
    for layer in ("conv4", "conv2", "pool3"):
        found = grad_cam(model, images, class_score(labels), layer)
        assert found.layer == layer
        for k, label in enumerate(labels):
            by_hand = brute_force(
                model,
                images[k : k + 1].astype("float32"),
                lambda y, c=label: y[0, c],
                layer,
            )
            close(found.coarse[k], by_hand[0], 1e-4)


@pytest.mark.parametrize(
    "target, function",
    [
        (class_score([2, 0, 1]), None),
        (lambda y: y[:, 0] * y[:, 1], lambda y: y[:, 0] * y[:, 1]),
        (
            loss("mse", [[1.0, 2.0, 3.0]]),
            lambda y: tf.reduce_mean((y - [[1.0, 2.0, 3.0]]) ** 2, axis=1),
        ),
        (class_probability(1), lambda y: tf.nn.softmax(y)[:, 1]),
    ],
    ids=["scores", "callable", "loss", "probability"],
)
@pytest.mark.parametrize("layer", ["early", "late"])
def test_any_target(target, function, layer):
    model, images = small_net(), some_images()
    found = grad_cam(model, images, target, layer, batch_size=2)
    if function:
        by_hand = brute_force(model, images, function, layer)
    else:
        by_hand = [
            brute_force(
                model, images[k : k + 1], lambda y, c=c: y[:, c], layer
            )[0]
            for k, c in enumerate((2, 0, 1))
        ]
    close(found.coarse, np.array(by_hand), 1e-4)


def test_a_unit_of_the_layer_and_of_a_later_one():
    model, images = small_net(), some_images()
    maps = keras.Model(model.input, model.get_layer("late").output)(images)
    found = grad_cam(model, images, unit("late", 2), "late")
    close(found.coarse, maps[..., 2], 1e-6)  # α is 1 for this map alone
    inner = keras.Model(model.input, model.get_layer("late").output)
    by_hand = brute_force(inner, images, lambda y: y[:, 1, 2, 3], "early")
    found = grad_cam(model, images, unit("late", 3, (1, 2)), "early")
    close(found.coarse, by_hand, 1e-4)


def test_regression():
    model = networks.silhouettes_net(weights=None)
    images = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3))
    found = grad_cam(model, images, lambda y: y[:, 0])
    assert found.layer == "conv5" and found.coarse.shape == (2, 8, 8)
    by_hand = brute_force(
        model, images.astype("float32"), lambda y: y[:, 0], "conv5"
    )
    close(found.coarse, by_hand, 1e-4)


#: `captum.attr.LayerGradCam(net, net[3]).attribute(…, relu_attributions=
#: False)` of class 1, where net[3] is the second ReLU; see formula_net.
CAPTUM = [
    [-1.9258381688, -0.0780324857, -1.276528648, -1.1279273025, -0.0485366754],
    [-0.3753448328, -0.5844402666, 0.0, -1.0703460532, -0.1623123961],
    [0.0510510226, 0.1140434757, -1.2645439672, 0.3042275095, -0.3900988939],
    [-0.6870437076, 0.4848557568, -0.4910732943, 0.0, -1.0369706178],
]


def test_captum():
    model, image = formula_net()
    found = grad_cam(model, image, class_score(1))
    assert found.layer == "conv2"
    np.testing.assert_allclose(found.coarse[0], CAPTUM, rtol=1e-5, atol=1e-12)


def test_batches_and_other_images_change_nothing():
    model, images = small_net(), some_images(7)
    labels = np.array([2, 0, 1, 1, 0, 2, 2])
    once = grad_cam(model, images, class_score(labels))
    for batch_size in (1, 3, 7):
        found = grad_cam(
            model, images, class_score(labels), batch_size=batch_size
        )
        close(found.coarse, once.coarse, 1e-5)
    for k, label in enumerate(labels):
        alone = grad_cam(model, images[k : k + 1], class_score(int(label)))
        close(alone.heatmap[0], once.heatmap[k], 1e-5)


def test_uint8_pixels_give_the_same_as_floats():
    images, labels, _ = stickers.make(2, seed=0)
    model = networks.stickers_net()
    small = grad_cam(model, images, class_score(labels))
    large = grad_cam(model, images.astype("float32"), class_score(labels))
    np.testing.assert_array_equal(small.coarse, large.coarse)


def test_mixed_precision_gives_nearly_the_same():
    full = networks.stickers_net()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = networks.stickers_net()
    finally:
        keras.config.set_dtype_policy("float32")
    images, labels, _ = stickers.make(3, seed=0)
    expected, found = (
        grad_cam(model, images, class_score(labels)) for model in (full, half)
    )
    assert found.coarse.dtype == np.float32 and found.layer == "conv4"
    one, other = found.coarse.ravel(), expected.coarse.ravel()
    assert np.corrcoef(one, other)[0, 1] > 0.99
    assert abs(one).sum() == pytest.approx(abs(other).sum(), rel=0.1)
    # What float16 can't hold on the way back is not lost.
    plain = grad_cam(half, images, lambda y: y[:, 1]).coarse
    tiny = grad_cam(half, images, lambda y: y[:, 1] * 2.0**-40).coarse
    np.testing.assert_array_equal(tiny, plain * np.float32(2.0**-40))
    assert (tiny != 0).any()


# Which layer is found.


def block(*steps, size=(8, 8, 3)):
    x = y = keras.Input(size)
    for step in steps:
        y = step(y)
    return keras.Model(x, y)


def conv(name, filters=5, **options):
    return layers.Conv2D(filters, 3, padding="same", name=name, **options)


def normalised():
    """Convolution, normalisation, ReLU, each a layer; and drop-outs."""
    return block(
        conv("first"),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        conv("second", use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu", name="this"),
        layers.SpatialDropout2D(0.1),
        layers.Dropout(0.1),
        layers.Flatten(),
        layers.Dense(4),
    )


def sequential():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            conv("first"),
            layers.MaxPooling2D(),
            conv("this", activation="relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(7, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ]
    )


def mobilenet_like():
    """Its classes are found by a convolution of what was pooled."""
    return block(
        conv("first", strides=2),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.ReLU(6.0),
        layers.Conv2D(6, 1),
        layers.ReLU(6.0, name="this"),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Dropout(0.1),
        layers.Conv2D(9, 1),
        layers.ReLU(),
        layers.Conv2D(4, 1),
        layers.Reshape((4,)),
        layers.Activation("softmax"),
    )


def vgg_like():
    return block(
        layers.ZeroPadding2D(),
        conv("first", activation="relu"),
        layers.MaxPooling2D(),
        conv("second", activation="relu"),
        conv("this", activation="relu"),
        layers.ZeroPadding2D(),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(6),
        layers.Dense(4),
    )


def squeezenet_like():
    """Its last map has one channel for each class."""
    return block(
        conv("first", activation="relu"),
        conv("this", activation="relu"),
        layers.Dropout(0.5),
        conv("classes", 4),
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
        layers.Activation("softmax"),
    )


def residual():
    x = keras.Input((8, 8, 3))
    y = conv("first")(x)
    y = layers.Add(name="this")([y, conv("side")(y)])
    y = layers.GlobalMaxPooling2D()(y)
    return keras.Model(x, layers.Dense(4)(y))


def free_sizes():
    return block(
        conv("this"),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Flatten(),
        layers.Dense(4),
        size=(None, None, 3),
    )


@pytest.mark.parametrize(
    "build",
    [
        normalised,
        sequential,
        mobilenet_like,
        vgg_like,
        squeezenet_like,
        residual,
        free_sizes,
    ],
)
def test_the_last_map(build):
    keras.utils.set_random_seed(0)
    model, images = build(), some_images(2, (8, 8, 3))
    assert last_map(model) == "this"
    target = class_score(1)
    if isinstance(model.layers[-1], layers.Activation) or (
        getattr(model.layers[-1], "activation", None)
        is keras.activations.softmax
    ):
        target = class_probability(1)
    found = grad_cam(model, images, target)
    assert found.layer == "this"
    by_hand = brute_force(model, images, lambda y: y[:, 1], "this")
    close(found.coarse, by_hand, 1e-4)


def test_the_last_map_of_the_networks_here():
    assert last_map(networks.stickers_net(weights=None)) == "conv4"
    assert last_map(networks.photos_net(weights=None)) == "fire9"
    mobile = networks.photos_net("MobileNet", weights=None)
    assert last_map(mobile) == "conv_pw_13_relu"


def test_the_last_map_in_models_inside():
    keras.utils.set_random_seed(0)
    head = block(conv("this"), layers.MaxPooling2D(), size=(8, 8, 5))
    head.name = "head"
    inside = block(conv("first"), head)
    inside.name = "base"
    model = block(inside, layers.Flatten(), layers.Dense(4))
    assert last_map(model) == "base/head/this"
    images = some_images(2, (8, 8, 3))
    found = grad_cam(model, images, class_score(3))
    assert found.layer == "base/head/this"
    flat = block(
        conv("first"),
        conv("this"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(4),
    )
    flat.set_weights(model.get_weights())
    by_hand = brute_force(flat, images, lambda y: y[:, 3], "this")
    close(found.coarse, by_hand, 1e-4)


def test_two_outputs():
    """The last map serves the second output alone."""
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 3))
    y = conv("first", activation="tanh")(x)
    early = layers.Dense(4)(layers.GlobalAveragePooling2D()(y))
    z = conv("second", 6, activation="tanh")(y)
    late = layers.Dense(7)(layers.Flatten()(layers.MaxPooling2D()(z)))
    model = keras.Model(x, [early, late])
    images = some_images(2, (8, 8, 3))

    def of_early(outputs):
        return outputs[0][:, 3]

    def of_both(outputs):
        return outputs[0][:, 3] + outputs[1][:, 6]

    found = grad_cam(model, images, lambda outputs: outputs[1][:, 6])
    assert found.layer == "second"
    second = keras.Model(x, late)
    by_hand = brute_force(second, images, lambda y: y[:, 6], "second")
    close(found.coarse, by_hand, 1e-4)
    with pytest.raises(
        ValueError, match="smoothly on layer 'second' .name another"
    ):
        grad_cam(model, images, of_early)
    by_hand = brute_force(model, images, of_early, "first")
    close(grad_cam(model, images, of_early, "first").coarse, by_hand, 1e-4)
    by_hand = brute_force(model, images, of_both, "first")
    close(grad_cam(model, images, of_both, "first").coarse, by_hand, 1e-4)


def test_a_layer_that_is_called_twice_means_its_last_call():
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 3))
    layer = conv("twice", 3, activation="tanh")
    model = keras.Model(x, layers.Flatten()(layer(layer(x))))
    again = conv("last", 3, activation="tanh")
    plain = keras.Model(x, layers.Flatten()(again(layer(x))))
    again.set_weights(layer.get_weights())
    images = some_images(2, (8, 8, 3))

    def target(outputs):
        return outputs[:, 7] * outputs[:, 9]

    found = grad_cam(model, images, target, "twice")
    by_hand = brute_force(plain, images, target, "last")
    close(found.coarse, by_hand, 1e-4)


# Bad input is named.


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"layer": "end"}, ValueError, r"map \(n, rows.*'end' is \(None, 3\)"),
        ({"layer": "none"}, ValueError, "layer must be one of early, late"),
        ({"layer": 3}, TypeError, "layer must be a layer's name; got 3"),
        ({"layer": ""}, TypeError, "layer must be a layer's name; got ''"),
        ({"target": unit("early", 0)}, ValueError, "smoothly on layer 'late'"),
        ({"target": predicted_class}, ValueError, "must depend smoothly"),
        ({"target": 3}, TypeError, "target must be a callable"),
        ({"target": class_score(3)}, ValueError, "index must be below 3"),
        ({"target": class_score([0, 1])}, ValueError, "2 classes.*3 images"),
        (
            {"target": lambda y: y[:, 0] / tf.reduce_sum(0 * y, axis=1)},
            ValueError,
            "the target is NaN or infinite for 3 of 3 images",
        ),
        (
            {"target": lambda y: tf.sqrt(0 * y[:, 0])},
            ValueError,
            "gradient of the target is NaN or infinite for 3 of 3",
        ),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"images": np.zeros(SHAPE)}, ValueError, "add a batch axis"),
        (
            {"images": np.full((1, *SHAPE), np.nan)},
            ValueError,
            "images must be finite",
        ),
        ({"model": "model"}, TypeError, "keras.Model; got str"),
    ],
)
def test_bad_arguments(change, error, message):
    options = {"model": small_net(), "images": some_images()}
    options |= {"target": class_score(0)} | change
    with pytest.raises(error, match=message):
        grad_cam(**options)


def test_a_model_without_a_map():
    model = block(layers.Flatten(), layers.Dense(4))
    with pytest.raises(
        ValueError, match="layer must be named: after the first"
    ):
        last_map(model)
    with pytest.raises(
        ValueError, match="layer must be named: after the first"
    ):
        grad_cam(model, some_images(1, (8, 8, 3)), class_score(0))


def test_a_map_that_looks_like_classes_can_be_named():
    keras.utils.set_random_seed(0)
    model = block(conv("four", 4), layers.Flatten(), layers.Dense(4))
    images = some_images(2, (8, 8, 3))
    with pytest.raises(
        ValueError, match="layer must be named: after the first"
    ):
        grad_cam(model, images, class_score(0))
    found = grad_cam(model, images, class_score(0), "four")
    by_hand = brute_force(model, images, lambda y: y[:, 0], "four")
    close(found.coarse, by_hand, 1e-4)


def test_a_subclassed_model_says_why_not():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = small_net()

        def call(self, x):
            return self.inner(x)

    own = Own()
    own(some_images())
    with pytest.raises(ValueError, match="subclassed model hides"):
        grad_cam(own, some_images(), class_score(0))
    with pytest.raises(ValueError, match="subclassed model hides"):
        grad_cam(own, some_images(), class_score(0), "late")


def test_a_layer_beside_the_way_to_the_outputs():
    """It runs, but for another output."""
    x = keras.Input((8, 8, 3))
    y = conv("used")(x)
    model = keras.Model(
        x, [layers.Flatten()(y), ops.stop_gradient(conv("beside")(y))]
    )
    images = some_images(1, (8, 8, 3))
    with pytest.raises(ValueError, match="smoothly on layer 'beside'"):
        grad_cam(model, images, lambda y: y[0][:, 0], "beside")


def test_a_turned_map_is_passed_over():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    y = layers.Permute((3, 1, 2), name="channels_first")(y)
    model = keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))
    assert last_map(model) == "conv"


def test_pixels_are_no_feature_maps():
    x = keras.Input((8, 8, 3))
    y = layers.Flatten()(layers.Rescaling(1 / 255)(x))
    model = keras.Model(x, layers.Dense(4)(y))
    with pytest.raises(ValueError, match="layer must be named.*convolution"):
        grad_cam(model, np.ones((1, 8, 8, 3)), class_score(0))


def test_branches_that_go_past_the_last_map_must_be_chosen():
    x = keras.Input((8, 8, 3))
    ends = []
    for name in ("left", "right"):
        y = layers.Conv2D(4, 3, activation="relu", name=name)(x)
        ends.append(layers.GlobalAveragePooling2D()(y))
    model = keras.Model(x, layers.Dense(3)(layers.Concatenate()(ends)))
    images = np.ones((1, 8, 8, 3))
    with pytest.raises(ValueError, match="must be named.*'right'.*past it"):
        grad_cam(model, images, class_score(0))
    assert grad_cam(model, images, class_score(0), "left").layer == "left"
