"""Gradients against finite differences, bare TensorFlow and closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from xai_utils import networks, targets
from xai_utils.data import stickers
from xai_utils.gradients import gradient, saliency, ten_crops
from xai_utils.targets import class_probability, class_score, loss, unit

pytestmark = pytest.mark.quick


def small_net(dtype="float32", classes=3, **end):
    """A smooth convolutional network on 6 × 7 images, random weights."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 7, 3), dtype=dtype)
    y = layers.Conv2D(4, 3, activation="tanh", dtype=dtype, name="conv")(x)
    y = layers.Flatten(dtype=dtype)(y)
    return keras.Model(x, layers.Dense(classes, dtype=dtype, **end)(y))


def some_images(n=2, shape=(6, 7, 3), dtype="float32"):
    return np.random.default_rng(1).normal(size=(n, *shape)).astype(dtype)


@pytest.mark.parametrize(
    "target",
    [
        class_score(1),
        class_probability(2),
        loss("mse", [[1.0, 2.0, 3.0]]),
        loss(keras.losses.SparseCategoricalCrossentropy(from_logits=True), 0),
        unit("conv", 2),
        unit("conv", 1, (2, 3)),
        lambda outputs: outputs[:, 0] * outputs[:, 1],
    ],
    ids=["score", "probability", "mse", "entropy", "map", "unit", "callable"],
)
def test_central_finite_differences(target):
    model = small_net("float64")
    image = some_images(1, dtype="float64")
    step = 1e-5
    by_hand = np.empty(image[0].shape)
    inner = (
        keras.Model(model.input, model.get_layer(target.layer).output)
        if getattr(target, "layer", None)
        else model
    )
    steps = step * np.eye(image.size).reshape(-1, *by_hand.shape)
    up, down = (inner(image + sign * steps) for sign in (1, -1))
    for i, pixel in enumerate(np.ndindex(by_hand.shape)):
        difference = target(up[i : i + 1]) - target(down[i : i + 1])
        by_hand[pixel] = difference.numpy()[0] / (2 * step)
    found = gradient(model, image, target)
    assert found.dtype == np.float64
    np.testing.assert_allclose(
        found[0], by_hand, rtol=1e-6, atol=1e-6 * np.abs(by_hand).max()
    )


def test_bare_gradient_tape_on_the_logits():
    model = networks.stickers_net()
    images, labels, _ = stickers.make(5, seed=4)
    pixels = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        logits = model(pixels, training=False)
        score = tf.reduce_sum(tf.gather(logits, labels, batch_dims=1))
    by_hand = tape.gradient(score, pixels).numpy()
    found = gradient(model, images, class_score(labels))
    np.testing.assert_allclose(
        found, by_hand, rtol=1e-6, atol=1e-6 * np.abs(by_hand).max()
    )


def linear_net():
    x = keras.Input((4, 5, 3))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(x)))
    weights = np.random.default_rng(3).normal(size=(60, 2)).astype("float32")
    model.set_weights([weights, np.array([1, -1], "float32")])
    return model, weights


def test_linear_network_is_its_own_weights():
    model, weights = linear_net()
    image = some_images(1, (4, 5, 3))
    w = weights[:, 1].reshape(4, 5, 3)
    assert (gradient(model, image, class_score(1))[0] == w).all()
    by_hand = [
        [max(abs(w[i, j, c]) for c in range(3)) for j in range(5)]
        for i in range(4)
    ]
    assert (saliency(model, image, class_score(1))[0] == by_hand).all()


def test_linear_probability_and_loss_in_closed_form():
    model, weights = linear_net()
    image = some_images(1, (4, 5, 3))
    scores = image.reshape(1, -1) @ weights + [1, -1]
    p = np.exp(scores) / np.exp(scores).sum()
    w = weights.T.reshape(2, 4, 5, 3)
    np.testing.assert_allclose(
        gradient(model, image, class_probability(0))[0],
        p[0, 0] * p[0, 1] * (w[0] - w[1]),
        rtol=1e-4,
        atol=1e-7,
    )
    truth = np.array([[3.0, 7.0]])
    np.testing.assert_allclose(
        gradient(model, image, loss("mse", truth))[0],
        ((scores - truth)[0, :, None, None, None] * w).sum(0),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_batch_is_its_images_one_by_one():
    model = small_net()
    images = some_images(7)
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    together = gradient(model, images, class_score(labels), batch_size=3)
    for image, label, found in zip(images, labels, together):
        alone = gradient(model, image[None], class_score(int(label)))[0]
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)


def test_dropout_and_batch_statistics_are_off():
    keras.utils.set_random_seed(0)
    x = keras.Input((4, 5, 3))
    y = layers.Dropout(0.9)(layers.BatchNormalization()(x))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))
    before = [value.copy() for value in model.get_weights()]
    images = some_images(3, (4, 5, 3))
    first = gradient(model, images, class_score(0))
    assert (first == gradient(model, images, class_score(0))).all()
    assert (first[0] == first[1]).all()  # linear once both are off
    for was, now in zip(before, model.get_weights()):
        assert (was == now).all()


def test_uint8_pixels_give_the_same_as_floats():
    model = small_net()
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 7, 3))
    small = gradient(model, images.astype(np.uint8), class_score(0))
    assert (
        small == gradient(model, images.astype("float32"), class_score(0))
    ).all()


def test_removing_the_activation_is_noticed():
    model = small_net(activation="softmax")
    with pytest.raises(ValueError, match="soft-max"):
        gradient(model, some_images(), class_score(1))
    model.layers[-1].activation = None
    found = gradient(model, some_images(), class_score(1))
    np.testing.assert_allclose(
        found,
        gradient(small_net(), some_images(), class_score(1)),
        rtol=1e-5,
        atol=1e-6,
    )


# Models of other kinds: each works, or says what to do.


def test_softmax_is_refused_for_the_score_and_fine_for_the_probability():
    with_softmax = small_net(activation="softmax")
    with pytest.raises(ValueError, match="ends in a soft-max.*Build it"):
        gradient(with_softmax, some_images(), class_score(1))
    np.testing.assert_allclose(
        gradient(with_softmax, some_images(), class_probability(1)),
        gradient(small_net(), some_images(), class_probability(1)),
        rtol=1e-4,
        atol=1e-6,
    )


def test_softmax_in_half_precision_is_refused_too():
    x = keras.Input((6, 7, 3))
    y = layers.Flatten()(x)
    model = keras.Model(
        x, layers.Dense(50, activation="softmax", dtype="mixed_float16")(y)
    )
    with pytest.raises(ValueError, match="ends in a soft-max"):
        gradient(model, some_images(), class_score(1))


def test_sequential_and_nested_models_agree_with_the_flat_one():
    flat = small_net()
    sequential = keras.Sequential(
        [
            keras.Input((6, 7, 3)),
            layers.Conv2D(4, 3, activation="tanh", name="conv"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    sequential.set_weights(flat.get_weights())
    outer = keras.Input((6, 7, 3))
    nested = keras.Model(outer, flat(outer))
    expected = gradient(flat, some_images(), class_score(1))
    for model in (sequential, nested):
        np.testing.assert_allclose(
            gradient(model, some_images(), class_score(1)), expected, rtol=1e-5
        )
    np.testing.assert_allclose(
        gradient(sequential, some_images(), unit("conv", 0)),
        gradient(flat, some_images(), unit("conv", 0)),
        rtol=1e-5,
    )
    with pytest.raises(ValueError, match=f"one of .*{flat.name}/conv"):
        gradient(nested, some_images(), unit("conv", 0))
    np.testing.assert_allclose(
        gradient(nested, some_images(), unit(f"{flat.name}/conv", 0)),
        gradient(flat, some_images(), unit("conv", 0)),
        rtol=1e-5,
    )


def test_subclassed_model():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = small_net()

        def call(self, x):
            return self.inner(x)

    model = Own()
    with pytest.raises(ValueError, match="call it once"):
        gradient(model, some_images(), class_score(0))
    model(some_images())
    np.testing.assert_allclose(
        gradient(model, some_images(), class_score(0)),
        gradient(small_net(), some_images(), class_score(0)),
        rtol=1e-5,
    )
    with pytest.raises(ValueError, match="subclassed model"):
        gradient(model, some_images(), unit("conv", 0))


def test_a_sequential_that_was_never_called():
    model = keras.Sequential([layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ValueError, match="call it once"):
        gradient(model, some_images(), class_score(0))


def test_several_outputs_and_inputs():
    x = keras.Input((6, 7, 3))
    y = layers.Flatten()(x)
    model = keras.Model(x, [layers.Dense(2)(y), layers.Dense(5)(y)])
    with pytest.raises(ValueError, match="2 outputs.*lambda outputs"):
        gradient(model, some_images(), class_score(1))
    w = model.layers[-1].kernel.numpy()[:, 4].reshape(6, 7, 3)
    found = gradient(model, some_images(1), lambda outputs: outputs[1][:, 4])
    np.testing.assert_allclose(found[0], w, rtol=1e-6)
    other = keras.Input((2,))
    two = keras.Model([x, other], layers.Concatenate()([y, other]))
    with pytest.raises(ValueError, match="one input; it has 2"):
        gradient(two, some_images(), class_score(0))


def test_channels_first_is_refused_and_the_advice_works():
    inner = keras.Input((3, 6, 7))
    model = keras.Model(inner, layers.Dense(2)(layers.Flatten()(inner)))
    with pytest.raises(ValueError, match="channels first.*Permute"):
        gradient(model, some_images(), class_score(0))
    x = keras.Input((6, 7, 3))
    wrapped = keras.Model(x, model(layers.Permute((3, 1, 2))(x)))
    w = model.layers[-1].kernel.numpy()[:, 0].reshape(3, 6, 7)
    found = gradient(wrapped, some_images(1), class_score(0))[0]
    np.testing.assert_allclose(found, w.transpose(1, 2, 0), rtol=1e-6)


def test_mixed_precision_gives_nearly_the_same():
    full = networks.stickers_net()
    images, labels, _ = stickers.make(3, seed=0)
    expected = gradient(full, images, class_score(labels))
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = networks.stickers_net()
    finally:
        keras.config.set_dtype_policy("float32")
    found = gradient(half, images, class_score(labels))
    assert found.dtype == np.float32
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    assert 0.9 < np.abs(found).sum() / np.abs(expected).sum() < 1.1


# Bad input is named.


@pytest.mark.parametrize(
    "images, message",
    [
        (np.zeros((6, 7, 3)), r"add a batch axis"),
        (np.zeros((0, 6, 7, 3)), "at least one image"),
        (np.zeros((2, 7, 6, 3)), r"\(n, 6, 7, 3\); got \(2, 7, 6, 3\)"),
        (np.full((1, 6, 7, 3), np.nan), "finite"),
        ([np.zeros((6, 7, 3)), np.zeros((5, 7, 3))], "different shapes"),
    ],
)
def test_bad_images(images, message):
    with pytest.raises(ValueError, match="images must.*" + message):
        gradient(small_net(), images, class_score(0))


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: class_score(1.0), TypeError, "whole number"),
        (lambda: class_score(-1), ValueError, "from 0"),
        (lambda: class_score(3), ValueError, "below 3; got 3"),
        (lambda: class_probability(7), ValueError, "below 3; got 7"),
        (lambda: class_score([0, 1, 2]), ValueError, "3 classes.*2 images"),
        (lambda: loss("mse", np.nan), ValueError, "y_true must be finite"),
        (lambda: unit("nowhere", 0), ValueError, "layer must be one of.*conv"),
        (lambda: unit("conv", 4), ValueError, "channel must be below 4"),
        (lambda: unit("conv", 0, (4, 0)), ValueError, "row must be below 4"),
        (lambda: targets.predicted_class, ValueError, "no gradient"),
        (lambda: lambda outputs: outputs, ValueError, r"shape \(n,\)"),
        (lambda: 3, TypeError, "target must be a callable"),
    ],
)
def test_bad_targets(make, error, message):
    with pytest.raises(error, match=message):
        gradient(small_net(), some_images(), make())


def test_other_bad_arguments():
    with pytest.raises(TypeError, match="keras.Model; got str"):
        gradient("model", some_images(), class_score(0))
    with pytest.raises(TypeError, match="integers or floats; got dtype"):
        gradient(small_net(), some_images() > 0, class_score(0))
    x = keras.Input((6, 7, 3), dtype="uint8")
    model = keras.Model(x, layers.Flatten()(layers.Rescaling(1.0)(x)))
    with pytest.raises(ValueError, match="dtype='float32'"):
        gradient(model, some_images(), class_score(0))
    with pytest.raises(ValueError, match="batch_size must be"):
        gradient(small_net(), some_images(), class_score(0), batch_size=0)
    single = small_net(classes=1)
    with pytest.raises(ValueError, match="at least two classes"):
        gradient(single, some_images(), class_score(0))


def test_ten_crops_by_hand():
    """A linear network on crops that are as large as the image, but for one
    pixel: the map of each crop is the weights', enlarged and cut."""
    model, weights = linear_net()
    w = np.abs(weights[:, 1].reshape(4, 5, 3)).max(axis=-1)
    image = some_images(2, (4, 5, 3))
    total, count = np.zeros((2, 4, 5))
    small = tf.image.resize(w[..., None], (4, 4)).numpy()[..., 0]
    for left in (0, 1, 0, 1, 0):  # four corners, two of them twice; middle
        for crop in (small, small[:, ::-1]):
            total[:, left : left + 4] += crop
            count[:, left : left + 4] += 1
    found = ten_crops(model, image, class_score(1), side=4)
    np.testing.assert_allclose(found, np.stack([total / count] * 2), rtol=1e-5)


def test_ten_crops_enlarges_the_pixels():
    """With a square of the network, the slope shows which pixels it got."""
    x = keras.Input((6, 6, 1))
    y = layers.Flatten()(x)
    model = keras.Model(x, layers.Dot(axes=1)([y, y]))  # slope: 2 × pixel
    image = np.abs(some_images(1, (6, 6, 1)))
    expected, count = np.zeros((2, 6, 6))
    for top, left in ((0, 0), (0, 2), (2, 0), (2, 2), (1, 1)):
        part = np.s_[top : top + 4, left : left + 4]
        for step in (1, -1):
            crop = image[0][part][:, ::step]
            large = tf.image.resize(crop, (6, 6))
            small = tf.image.resize(2 * large, (4, 4)).numpy()[..., 0]
            expected[part] += small[:, ::step]
            count[part] += 1
    target = lambda outputs: outputs[:, 0]  # noqa: E731
    found = ten_crops(model, image, target, side=4)
    np.testing.assert_allclose(found[0], expected / count, rtol=1e-5)


@pytest.mark.parametrize("side", [2, 5, 3.0, "3"])
def test_ten_crops_must_cover_the_image(side):
    model, _ = linear_net()
    with pytest.raises(ValueError, match="side must be .* from 3 to 4"):
        ten_crops(model, some_images(1, (4, 5, 3)), class_score(1), side)
