"""SmoothGrad against an eager loop, a closed form, and Captum."""

import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf
from bare_tape import bare
from formula_net import formula_net
from keras import layers

from xai_utils import networks
from xai_utils._core import backward
from xai_utils.data import stickers
from xai_utils.gradients import gradient
from xai_utils.smoothgrad import smoothgrad
from xai_utils.targets import class_score, loss, unit

pytestmark = pytest.mark.quick

SHAPE = (6, 7, 3)


def small_net(dtype="float32", classes=3):
    keras.utils.set_random_seed(0)
    x = keras.Input(SHAPE, dtype=dtype)
    y = layers.Conv2D(4, 3, activation="tanh", dtype=dtype, name="conv")(x)
    y = layers.Flatten(dtype=dtype)(y)
    return keras.Model(x, layers.Dense(classes, dtype=dtype)(y))


def some_images(n=2, dtype="float32"):
    return np.random.default_rng(1).normal(size=(n, *SHAPE)).astype(dtype)


def brute_force(model, images, function, sigma, samples, seed):
    """One noisy copy at a time, by a bare tape; mean and mean square."""
    slopes = []
    for sample in range(samples):
        rng = np.random.default_rng([seed, sample])
        noise = rng.standard_normal(images.shape[1:], np.float32)
        noisy = images + np.float32(sigma) * noise
        slopes.append(bare(model, function, noisy.astype(images.dtype)))
    return np.mean(slopes, axis=0), np.mean(np.square(slopes), axis=0)


def close(found, expected, rtol):
    atol = rtol * np.abs(expected).max()
    assert atol > 0
    np.testing.assert_allclose(found, expected, rtol, atol)


@pytest.mark.parametrize("sigma", [0, 0.0, np.float32(0)])
def test_without_noise_it_is_the_gradient(sigma):
    model, images = small_net(), some_images(3)
    found = smoothgrad(model, images, class_score([0, 2, 1]), sigma, 5)
    expected = gradient(model, images, class_score([0, 2, 1]))
    np.testing.assert_array_equal(found.mean, expected)
    np.testing.assert_array_equal(found.mean_square, expected**2)
    nearly = smoothgrad(model, images, class_score([0, 2, 1]), 1e-6, 5)
    close(nearly.mean, expected, 1e-4)


@pytest.mark.parametrize("seed, samples", [(0, 1), (3, 7), (2**40, 5)])
def test_brute_force(seed, samples):
    model, images = small_net("float64"), some_images(3, "float64")
    labels = np.array([2, 0, 1])
    found = smoothgrad(
        model,
        images,
        class_score(labels),
        sigma=0.7,
        samples=samples,
        seed=seed,
        batch_size=3,
    )
    mean, mean_square = brute_force(
        model,
        images,
        lambda y: tf.gather(y, labels, batch_dims=1),
        0.7,
        samples,
        seed,
    )
    assert found.mean.dtype == found.mean_square.dtype == np.float64
    close(found.mean, mean, 1e-9)
    close(found.mean_square, mean_square, 1e-9)


@pytest.mark.parametrize(
    "target, function",
    [
        (unit("conv", 2), None),
        (loss("mse", [[1.0, 2.0, 3.0]]), None),
        (None, lambda y: y[:, 0] * y[:, 1]),
    ],
    ids=["unit", "loss", "callable"],
)
def test_other_targets(target, function):
    model, images = small_net(), some_images()
    inner = model
    if getattr(target, "layer", None):
        inner = keras.Model(model.input, model.get_layer("conv").output)
    found = smoothgrad(model, images, target or function, 0.5, 6)
    mean, square = brute_force(inner, images, function or target, 0.5, 6, 0)
    close(found.mean, mean, 1e-5)
    close(found.mean_square, square, 1e-5)


def quadratic(A):
    """xᵀ A x of the image's numbers, whose gradient is (A + Aᵀ) x."""
    side = len(A)
    x = keras.Input((2, 3, 1), dtype="float64")
    flat = layers.Flatten(dtype="float64")(x)
    product = layers.Dense(
        side,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(A),
        dtype="float64",
    )(flat)
    return keras.Model(x, layers.Multiply(dtype="float64")([product, flat]))


def test_quadratic_network_in_closed_form():
    """The gradient's mean is that at x; its variance in each pixel is sigma²
    times the squares in this pixel's row of A + Aᵀ."""
    A = np.random.default_rng(5).normal(size=(6, 6))
    image = np.random.default_rng(6).normal(size=(1, 2, 3, 1))
    sigma, samples = 0.4, 20_000
    found = smoothgrad(
        quadratic(A),
        image,
        lambda y: tf.reduce_sum(y, axis=1),
        sigma,
        samples,
        batch_size=1000,
    )
    slopes = (A + A.T) @ image.ravel()
    variance = sigma**2 * np.square(A + A.T).sum(axis=1)
    # Four standard errors; of a square of a normal: 2 v² + 4 m² v.
    error = 4 * np.sqrt(variance / samples)
    assert (abs(found.mean.ravel() - slopes) < error).all()
    spread = np.sqrt((2 * variance**2 + 4 * slopes**2 * variance) / samples)
    expected = slopes**2 + variance
    assert (abs(found.mean_square.ravel() - expected) < 4 * spread).all()
    assert (4 * spread < expected / 10).all()
    assert (error < np.sqrt(variance) / 10).all()


#: `captum.attr.Saliency(net).attribute(…, abs=False)` of class 1, see
#: formula_net, for x + 0.5 · noise; noise as in `brute_force`, 25 samples,
#: seed 7; mean, and mean of the squares. Sum, and numbers 100 to 105 of
#: the flattened map.
CAPTUM = {
    "mean": (
        -2.7670046565639996,
        [0.4511907511, 0.0743111109, -0.3230267976]
        + [0.2441788856, 0.0991697685, -0.3300447078],
    ),
    "mean_square": (
        23.962291963366216,
        [0.2862801797, 0.062004672, 0.1609932419]
        + [0.0971033857, 0.056373621, 0.144810598],
    ),
}


def test_captum():
    model, image = formula_net()
    found = smoothgrad(model, image, class_score(1), 0.5, samples=25, seed=7)
    for name, (total, part) in CAPTUM.items():
        values = getattr(found, name)
        assert values.sum() == pytest.approx(total, rel=1e-5)
        np.testing.assert_allclose(values.ravel()[100:106], part, rtol=1e-5)


def test_batches_and_other_images_change_nothing():
    model, images = small_net(), some_images(4)
    labels = np.array([2, 0, 1, 1])
    options = {"sigma": 0.5, "samples": 11}
    once = smoothgrad(model, images, class_score(labels), **options)
    for batch_size in (1, 4, 11, 100):
        found = smoothgrad(
            model,
            images,
            class_score(labels),
            **options,
            batch_size=batch_size,
        )
        for one, other in zip(found, once):
            close(one, other, 1e-5)
    for k, label in enumerate(labels):
        alone = smoothgrad(
            model, images[k : k + 1], class_score(int(label)), **options
        )
        for one, other in zip(alone, once):
            np.testing.assert_array_equal(one[0], other[k])
    again = smoothgrad(model, images, class_score(labels), **options)
    np.testing.assert_array_equal(again.mean, once.mean)
    other = smoothgrad(model, images, class_score(labels), **options, seed=1)
    assert abs(other.mean - once.mean).max() > 1e-3


def sizes_seen(model, monkeypatch):
    """A list that gets the number of images of each pass."""
    seen, real = [], backward.runner

    def counting(*args):
        run = real(*args)

        def counted(images, *part):
            seen.append(len(images))
            return run(images, *part)

        return counted

    monkeypatch.setattr(backward, "runner", counting)
    return seen


def test_memory_does_not_grow_with_the_samples(monkeypatch):
    x = keras.Input((64, 64, 3))
    model = keras.Model(x, layers.GlobalAveragePooling2D()(x))
    image = np.zeros((1, 64, 64, 3), np.float32)
    seen = sizes_seen(model, monkeypatch)
    peaks = []
    for samples in (8, 8, 200):  # the first also compiles
        tracemalloc.start()
        smoothgrad(model, image, class_score(0), 1, samples, batch_size=4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(seen) == 4 and sum(seen) == 216
    # A copy has 48 KiB, 192 more of them 9 MiB.
    assert peaks[2] < peaks[1] + 200_000


def test_uint8_pixels_give_the_same_as_floats():
    model = small_net()
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE))
    expected = smoothgrad(
        model, images.astype("float32"), class_score(0), 30, 5
    )
    for kind in (np.uint8, np.int16, np.int64):
        found = smoothgrad(model, images.astype(kind), class_score(0), 30, 5)
        close(found.mean, expected.mean, 1e-5)
        close(found.mean_square, expected.mean_square, 1e-5)


def test_noisy_pixels_are_not_clipped():
    """At black and white: what a clip moves shows in a quadratic network."""
    x = keras.Input((2, 3, 1))
    square = layers.Multiply()([x, x])
    model = keras.Model(x, layers.Flatten()(square))
    images = np.zeros((2, 2, 3, 1), np.uint8)
    images[1] = 255
    found = smoothgrad(
        model, images, lambda y: tf.reduce_sum(y, axis=1), 40.0, 3
    )
    noise = [
        np.random.default_rng([0, k]).standard_normal((2, 3, 1), np.float32)
        for k in range(3)
    ]
    expected = 2 * (images + 40 * np.mean(noise, axis=0))
    close(found.mean, expected, 1e-5)
    assert expected[0].min() < 0 and expected[1].max() > 510


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_nearly_the_same(policy):
    full = networks.stickers_net()
    keras.config.set_dtype_policy(policy)
    try:
        half = networks.stickers_net()
    finally:
        keras.config.set_dtype_policy("float32")
    images, labels, _ = stickers.make(2, seed=0)
    expected, found = (
        smoothgrad(model, images, class_score(labels), 25, 8)
        for model in (full, half)
    )
    assert found.mean.dtype == np.float32
    for one, other in zip(found, expected):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.97
        assert one.sum() == pytest.approx(other.sum(), rel=0.2)


def test_a_model_that_takes_half_precision():
    x = keras.Input(SHAPE, dtype="float16")
    y = layers.Dense(3, dtype="float16")(layers.Flatten(dtype="float16")(x))
    model = keras.Model(x, y)
    w = model.layers[-1].kernel.numpy()[:, 1].reshape(SHAPE)
    found = smoothgrad(
        model, some_images(2, "float16"), class_score(1), 0.5, 9
    )
    assert found.mean.dtype == np.float32
    for k in range(2):
        close(found.mean[k], w.astype("float32"), 1e-6)
        close(found.mean_square[k], w.astype("float32") ** 2, 1e-6)


def two_outputs():
    x = keras.Input(SHAPE)
    y = layers.Flatten()(x)
    return keras.Model(
        x, [layers.Dense(2)(y), layers.Dense(5, activation="tanh")(y)]
    )


def test_a_model_with_two_outputs():
    model, images = two_outputs(), some_images()
    found = smoothgrad(model, images, lambda y: y[1][:, 4], 0.3, 4)
    mean, square = brute_force(model, images, lambda y: y[1][:, 4], 0.3, 4, 0)
    close(found.mean, mean, 1e-5)
    close(found.mean_square, square, 1e-5)
    with pytest.raises(ValueError, match="2 outputs.*lambda outputs"):
        smoothgrad(model, images, class_score(1), 0.3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sigma": -1}, "sigma must be 0 or more.*got -1"),
        ({"sigma": np.nan}, "sigma must be 0 or more.*got nan"),
        ({"sigma": np.inf}, "sigma must be 0 or more.*got inf"),
        ({"sigma": "0.1"}, "sigma must be 0 or more.*got '0.1'"),
        ({"sigma": True}, "sigma must be 0 or more.*got True"),
        ({"sigma": [1, 2]}, "sigma must be 0 or more"),
        ({"samples": 0}, "samples must be a whole number, at least 1; got 0"),
        ({"samples": 2.0}, "samples must be a whole number"),
        ({"samples": True}, "samples must be a whole number"),
        ({"seed": -1}, "seed must be a whole number, at least 0; got -1"),
        ({"seed": None}, "seed must be a whole number"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"images": np.full((1, *SHAPE), np.nan)}, "images must be finite"),
        ({"images": np.zeros(SHAPE)}, "images must.*add a batch axis"),
        ({"target": class_score([0, 1, 2])}, "3 classes.*2 images"),
        ({"target": class_score(3)}, "class index must be below 3"),
        (
            {"target": lambda y: y[:, 0] / tf.reduce_sum(0 * y, axis=1)},
            "the target is NaN or infinite for 4 of 4 variants",
        ),
        (
            {"target": lambda y: tf.sqrt(0 * y[:, 0])},
            "gradient of the target is NaN or infinite for 4 of 4",
        ),
    ],
)
def test_bad_arguments(change, message):
    options = {"images": some_images(), "target": class_score(0)}
    options |= {"sigma": 0.1, "samples": 4} | change
    with pytest.raises(ValueError, match=message):
        smoothgrad(small_net(), **options)


def test_other_bad_arguments():
    with pytest.raises(TypeError, match="keras.Model; got str"):
        smoothgrad("model", some_images(), class_score(0), 1)
    with pytest.raises(TypeError, match="target must be a callable"):
        smoothgrad(small_net(), some_images(), 3, 1)
