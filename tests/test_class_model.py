"""Class models against closed forms, a plain loop, and their own promises."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy.ndimage import gaussian_filter

from xai_utils import networks
from xai_utils.class_model import class_model
from xai_utils.data import stickers
from xai_utils.targets import class_probability, class_score, unit

pytestmark = pytest.mark.quick


def linear_net(classes=3, shape=(5, 6, 2), dtype="float64"):
    """Scores that are linear in the pixels: the class model is known."""
    keras.utils.set_random_seed(0)
    x = keras.Input(shape, dtype=dtype)
    y = layers.Flatten(dtype=dtype)(x)
    return keras.Model(x, layers.Dense(classes, dtype=dtype)(y))


def smooth_net():
    keras.utils.set_random_seed(1)
    x = keras.Input((6, 7, 3), dtype="float64")
    y = layers.Conv2D(4, 3, activation="tanh", dtype="float64")(x)
    y = layers.Flatten(dtype="float64")(y)
    return keras.Model(x, layers.Dense(3, dtype="float64")(y))


@pytest.fixture
def double():
    """Networks in double precision, where rounding decides nothing."""
    before = keras.config.dtype_policy()  # Keras keeps it once it was asked
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy(before)


def test_linear_network_in_closed_form():
    """I = w / 2λ, times what the falling rate leaves undone."""
    model = linear_net()
    w = model.layers[-1].kernel.numpy().T.reshape(3, 5, 6, 2)
    steps, rate, l2 = 40, 0.3, 0.02
    found = class_model(
        model, class_score([2, 0]), mean=7.0, l2=l2, steps=steps, rate=rate
    )
    undone = np.prod([1 - rate * (1 - t / steps) for t in range(steps)])
    exact = w[[2, 0]] / (2 * l2) * (1 - undone)
    assert undone > 1e-4  # so that a wrong schedule would show
    np.testing.assert_allclose(found.images, 7 + exact, rtol=1e-9)
    np.testing.assert_allclose(
        found.norms[-1], np.sqrt(np.square(exact).sum(axis=(1, 2, 3)))
    )
    logits = model(found.images).numpy()
    np.testing.assert_allclose(found.scores[-1], logits[[0, 1], [2, 0]])
    at_mean = model(np.full((1, 5, 6, 2), 7.0)).numpy()[0]
    np.testing.assert_allclose(found.scores[0], at_mean[[2, 0]])
    assert found.scores.shape == found.norms.shape == (steps + 1, 2)


def test_gradient_of_the_objective_vanishes_in_a_smooth_network():
    model, l2 = smooth_net(), 0.05
    found = class_model(model, class_score(1), mean=0, l2=l2, steps=300)

    def slope(image):
        pixels = tf.constant(image[None])
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            goal = model(pixels)[0, 1] - l2 * tf.reduce_sum(pixels**2)
        return np.linalg.norm(tape.gradient(goal, pixels))

    assert slope(found.images[0]) < slope(np.zeros((6, 7, 3))) / 100
    objective = found.scores[:, 0] - l2 * found.norms[:, 0] ** 2
    assert (np.diff(objective) > -1e-9).all()


def test_a_linear_unit_finds_its_own_filter(double):
    model = networks.stickers_net()
    kernel = model.get_layer("conv1").kernel.numpy()[..., 1]
    found = (
        class_model(
            model, unit("conv1", 1, (40, 50)), mean=110.0, l2=1e-4, steps=100
        ).images[0]
        - 110
    )
    np.testing.assert_allclose(
        found[39:42, 49:52], kernel / 127.5 / 2e-4, rtol=0.01
    )
    found[39:42, 49:52] = 0
    assert not found.any()


def test_eight_of_ten_stickers_are_called_their_class(double):
    """In fewer steps than notebook 03 takes; and a start that is off by 1,000
    times what rounding does to doubles ends on the same pictures. (Not from a
    flat grey picture: there all units of a max-pool tie, so that rounding
    alone says which of them gets the gradient.)"""
    model = networks.stickers_net()
    pictures, _, _ = stickers.make(50, seed=0, split="train")
    mean = pictures.mean(axis=0)
    found = class_model(
        model, class_score(range(10)), l2=1e-5, steps=40, mean=mean
    )
    P = tf.nn.softmax(model(found.images)).numpy()[range(10), range(10)]
    assert (P > 0.99).sum() >= 8
    assert (found.scores[-1] >= 0.99 * found.scores.max(axis=0)).all()
    noise = np.random.default_rng(0).normal(scale=1e-11, size=mean.shape)
    again = class_model(
        model, class_score(4), l2=1e-5, steps=40, mean=mean + noise
    )
    assert found.images.dtype == model.layers[-1].kernel.dtype == "float64"
    np.testing.assert_allclose(again.images, found.images[[4]], atol=1e-6)
    assert (again.images != found.images[[4]]).any()


def test_batches_do_not_matter_and_it_repeats_bit_for_bit():
    model = smooth_net()
    args = {
        "mean": [0.1, 0.2, 0.3],
        "l2": 0.05,
        "steps": 20,
        "jitter": 2,
        "blur": 0.5,
    }
    first = class_model(model, class_score([0, 1, 2]), **args)
    again = class_model(model, class_score([0, 1, 2]), **args)
    for a, b in zip(first, again):
        assert (a == b).all()
    split = class_model(model, class_score([0, 1, 2]), batch_size=2, **args)
    alone = class_model(model, class_score(2), **args)
    np.testing.assert_allclose(split.images, first.images, atol=1e-12)
    np.testing.assert_allclose(alone.images[0], first.images[2], atol=1e-12)


def test_jitter_shifts_the_picture_and_shifts_it_back():
    """Pixel by pixel by hand, with the shifts that the helper draws."""
    model, l2, mean = smooth_net(), 0.05, np.full((6, 7, 3), 0.2)
    found = class_model(
        model, class_score(1), mean=mean, l2=l2, steps=5, jitter=2
    )
    shifts = np.random.default_rng(0).integers(-2, 3, (5, 2))
    assert (shifts != 0).any(axis=0).all()
    I = np.zeros((6, 7, 3))
    for t, (down, right) in enumerate(shifts):
        moved = np.empty_like(I)
        for y, x in np.ndindex(6, 7):
            moved[(y + down) % 6, (x + right) % 7] = (mean + I)[y, x]
        pixels = tf.constant(moved[None])
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            score = model(pixels)[0, 1]
        slope, w = tape.gradient(score, pixels).numpy()[0], np.empty_like(I)
        for y, x in np.ndindex(6, 7):
            w[y, x] = slope[(y + down) % 6, (x + right) % 7]
        I = I + 0.2 * (1 - t / 5) * (w / (2 * l2) - I)
    np.testing.assert_allclose(found.images[0], mean + I, atol=1e-12)


def test_blur_falls_with_the_rate_and_keeps_channels_apart():
    model = linear_net()
    w = model.layers[-1].kernel.numpy().T.reshape(3, 5, 6, 2)[1]
    found = class_model(
        model, class_score(1), mean=3.0, l2=0.1, steps=4, blur=1.5
    )
    I = np.zeros((5, 6, 2))
    for remaining in (1, 3 / 4, 1 / 2, 1 / 4):
        I = I + 0.2 * remaining * (w / 0.2 - I)
        I = np.stack(
            [gaussian_filter(I[..., c], 1.5 * remaining) for c in range(2)],
            axis=-1,
        )
    np.testing.assert_allclose(found.images[0], 3 + I, atol=1e-12)


def test_probability_and_the_dtype_of_the_model():
    model = linear_net(dtype="float32")
    found = class_model(model, class_probability(1), mean=0, l2=1e-3)
    assert found.images.dtype == np.float32
    assert found.scores[-1, 0] > found.scores[0, 0]
    assert found.scores.min() >= 0 and found.scores.max() <= 1


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"l2": 0}, ValueError, "l2 must be above 0; got 0"),
        ({"l2": np.nan}, ValueError, "l2 must be above 0"),
        ({"l2": "small"}, ValueError, "l2 must be above 0; got 'small'"),
        ({"l2": 1e-320}, ValueError, "l2 must be larger"),
        ({"l2": 1e-200}, ValueError, "l2 must be larger"),
        ({"l2": np.inf}, ValueError, "l2 must be above 0"),
        ({"l2": True}, ValueError, "l2 must be above 0; got True"),
        ({"rate": 0}, ValueError, "rate must be above 0"),
        (
            {"rate": 1.5},
            ValueError,
            "rate must be above 0, at most 1; got 1.5",
        ),
        ({"steps": 0}, ValueError, "steps must be a whole number, at least 1"),
        ({"steps": 2.5}, ValueError, "steps must be a whole number"),
        (
            {"jitter": -1},
            ValueError,
            "jitter must be a whole number, at least 0",
        ),
        ({"blur": -1}, ValueError, "blur must be a sigma"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"mean": [1, 2, 3]}, ValueError, "mean must have 2 channels"),
        (
            {"mean": np.zeros((4, 6, 2))},
            ValueError,
            "mean must have the shape",
        ),
        ({"mean": np.nan}, ValueError, "mean must be finite"),
        ({"mean": "grey"}, TypeError, "mean must hold integers or floats"),
        ({"mean": np.zeros((1, 5, 6, 2))}, ValueError, "mean must be a grey"),
        (
            {"target": class_score(3)},
            ValueError,
            "class index must be below 3",
        ),
        ({"target": 3}, TypeError, "target must be a callable"),
        (
            {"target": lambda out: tf.math.log(-1 - out[:, 0] ** 2)},
            ValueError,
            "the target is NaN",
        ),
        ({"model": "net"}, TypeError, "model must be a keras.Model"),
    ],
)
def test_bad_input(change, error, message):
    args = {
        "model": linear_net(),
        "target": class_score(0),
        "mean": 0,
        "l2": 0.1,
        "steps": 2,
        **change,
    }
    with pytest.raises(error, match=message):
        class_model(args.pop("model"), args.pop("target"), **args)


def test_models_of_any_size_want_a_mean_picture():
    x = keras.Input((None, None, 3))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
    model = keras.Model(x, y)
    with pytest.raises(ValueError, match="mean must be a picture"):
        class_model(model, class_score(0), mean=127, l2=1e-4)
    found = class_model(
        model, class_score(0), mean=np.full((8, 9, 3), 127), l2=1e-4, steps=2
    )
    assert found.images.shape == (1, 8, 9, 3)
