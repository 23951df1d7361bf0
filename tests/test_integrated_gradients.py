"""Integrated Gradients against closed forms, an eager loop, and Captum."""

import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf
from bare_tape import bare
from formula_net import formula_net
from keras import layers
from skimage.filters import gaussian

from xai_utils import networks
from xai_utils.data import stickers
from xai_utils.integrated_gradients import RULES, integrated_gradients
from xai_utils.targets import class_score, unit

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


def close(found, expected, rtol):
    atol = rtol * np.abs(expected).max()
    assert atol > 0
    np.testing.assert_allclose(found, expected, rtol, atol)


def places(rule, steps):
    """Where on the path, and the weight of each place, one by one."""
    if rule == "right":
        return [((k + 1) / steps, 1 / steps) for k in range(steps)]
    if rule == "midpoint":
        return [((2 * k + 1) / (2 * steps), 1 / steps) for k in range(steps)]
    # Gauss and Legendre's for two and three steps on 0–1, from a table.
    if steps == 2:
        return [(0.5 - 12**-0.5, 0.5), (0.5 + 12**-0.5, 0.5)]
    side = 0.15**0.5
    return [(0.5 - side, 5 / 18), (0.5, 8 / 18), (0.5 + side, 5 / 18)]


def brute_force(model, images, function, baselines, rule, steps):
    """One gradient at a time, by a bare tape; `baselines` has a picture for
    each image."""
    total = np.zeros(images.shape)
    for alpha, weight in places(rule, steps):
        between = (1 - alpha) * baselines + alpha * images
        slopes = bare(model, function, between.astype(images.dtype))
        total += weight * (images - baselines) * slopes
    return total


@pytest.mark.parametrize("rule", RULES)
def test_linear_network_is_exact_with_one_step(rule):
    x = keras.Input(SHAPE, dtype="float64")
    y = layers.Flatten(dtype="float64")(x)
    model = keras.Model(x, layers.Dense(2, dtype="float64")(y))
    w, b = (
        np.random.default_rng(3).normal(size=(126, 2)),
        np.array([1.0, -1.0]),
    )
    model.set_weights([w, b])
    images = some_images(2, "float64")
    found = integrated_gradients(
        model, images, class_score([1, 0]), [0.5, -1, 2], steps=1, rule=rule
    )
    start = np.broadcast_to([0.5, -1, 2], SHAPE)
    by_hand = [
        (image - start) * w[:, k].reshape(SHAPE)
        for image, k in zip(images, (1, 0))
    ]
    np.testing.assert_allclose(found.attributions, by_hand, rtol=1e-12)
    for k, name, at in ((1, "scores", images[0]), (0, "scores", images[1])):
        row = 1 - k
        wanted = at.ravel() @ w[:, k] + b[k]
        assert getattr(found, name)[row] == pytest.approx(wanted)
        wanted = start.ravel() @ w[:, k] + b[k]
        assert found.baseline_scores[row] == pytest.approx(wanted)
    np.testing.assert_allclose(found.gap, 0, atol=1e-12)


def test_quadratic_network_is_exact_with_one_midpoint():
    """xᵀ A x between x′ and x: (x − x′) · (A + Aᵀ)(x + x′) / 2."""
    A = np.random.default_rng(5).normal(size=(6, 6))
    picture = keras.Input((2, 3, 1), dtype="float64")
    flat = layers.Flatten(dtype="float64")(picture)
    product = layers.Dense(
        6,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(A),
        dtype="float64",
    )(flat)
    model = keras.Model(
        picture, layers.Multiply(dtype="float64")([product, flat])
    )
    x, start = np.random.default_rng(6).normal(size=(2, 1, 2, 3, 1))

    def explain(rule):
        return integrated_gradients(
            model,
            x,
            lambda y: tf.reduce_sum(y, axis=1),
            start,
            steps=1,
            rule=rule,
        )

    middle = (A + A.T) @ (x + start).ravel() / 2
    by_hand = (x - start).ravel() * middle
    for rule in ("midpoint", "gauss"):
        found = explain(rule)
        close(found.attributions.ravel(), by_hand, 1e-12)
        assert found.gap == pytest.approx(0, abs=1e-12)
    right = explain("right")
    by_hand = (x - start).ravel() * ((A + A.T) @ x.ravel())
    close(right.attributions.ravel(), by_hand, 1e-12)
    assert abs(right.gap[0]) > 0.1
    v, u = x.ravel(), start.ravel()
    assert right.scores == pytest.approx(v @ A @ v)
    assert right.baseline_scores == pytest.approx(u @ A @ u)
    assert right.gap == pytest.approx(
        by_hand.sum() - (v @ A @ v - u @ A @ u), rel=1e-9
    )


@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize("rule", RULES)
def test_brute_force(rule, steps):
    model, images = small_net("float64"), some_images(3, "float64")
    labels = np.array([2, 0, 1])

    def score(y):
        return tf.gather(y, labels, batch_dims=1)

    start = np.full_like(images, 0.3)
    found = integrated_gradients(
        model,
        images,
        class_score(labels),
        0.3,
        steps=steps,
        rule=rule,
        batch_size=2,
    )
    by_hand = brute_force(model, images, score, start, rule, steps)
    assert found.attributions.dtype == np.float64
    close(found.attributions, by_hand, 1e-9)
    close(found.scores, score(model(images)), 1e-12)
    close(found.baseline_scores, score(model(start)), 1e-12)
    gap = by_hand.sum(axis=(1, 2, 3)) - (
        score(model(images)) - score(model(start))
    )
    close(found.gap, gap, 1e-9)


@pytest.mark.parametrize(
    "target, inside",
    [(unit("conv", 2), True), (lambda y: y[:, 0] * y[:, 1], False)],
    ids=["unit", "callable"],
)
def test_other_targets(target, inside):
    model, images = small_net(), some_images()
    inner = model
    if inside:
        inner = keras.Model(model.input, model.get_layer("conv").output)
    found = integrated_gradients(model, images, target, 0, steps=3)
    by_hand = brute_force(inner, images, target, 0 * images, "midpoint", 3)
    close(found.attributions, by_hand, 1e-5)


def test_steps_that_get_finer_close_the_gap():
    model, images = small_net("float64"), some_images(2, "float64")
    for rule, order in (("right", 1), ("midpoint", 2)):
        coarse, fine = (
            integrated_gradients(
                model, images, class_score(0), 0, steps=steps, rule=rule
            ).gap
            for steps in (20, 40)
        )
        np.testing.assert_allclose(coarse / fine, 2**order, rtol=0.15)
    found = integrated_gradients(
        model, images, class_score(0), 0, steps=20, rule="gauss"
    )
    assert abs(found.gap).max() < 1e-6


def test_several_baselines_are_the_mean_of_the_single_ones():
    model, images = small_net("float64"), some_images(2, "float64")
    starts = np.random.default_rng(9).normal(size=(3, *SHAPE))
    for batch_size in (1, 4, 16):  # batches that begin within a baseline
        together = integrated_gradients(
            model,
            images,
            class_score([1, 2]),
            starts,
            steps=5,
            batch_size=batch_size,
        )
        single = [
            integrated_gradients(
                model, images, class_score([1, 2]), start[None], steps=5
            )
            for start in starts
        ]
        for name in ("attributions", "baseline_scores", "gap"):
            mean = np.mean([getattr(one, name) for one in single], axis=0)
            close(getattr(together, name), mean, 1e-9)
        close(together.scores, single[0].scores, 1e-12)
    by_hand = brute_force(
        model, images[:1], lambda y: y[:, 1], starts[2:], "midpoint", 5
    )
    close(single[2].attributions[0], by_hand[0], 1e-9)


BASELINES = {
    "grey": (9, lambda image: np.full(SHAPE, 9.0)),
    "colour": ((1, 2, 3), lambda image: np.tile([1.0, 2, 3], (6, 7, 1))),
    "mean": ("mean", lambda image: np.tile(image.mean((0, 1)), (6, 7, 1))),
    "blur": (  # a tenth of the shorter side
        "blur",
        lambda image: np.stack(
            [gaussian(image[..., c], 0.6) for c in range(3)], axis=-1
        ),
    ),
}


@pytest.mark.parametrize("kind", BASELINES)
def test_named_baselines_are_these_pictures(kind):
    given, picture = BASELINES[kind]
    model, images = small_net("float64"), some_images(2, "float64")
    labels = np.array([1, 2])
    found = integrated_gradients(
        model, images, class_score(labels), given, steps=3
    )
    for k, image in enumerate(images):
        explicit = integrated_gradients(
            model,
            images[k : k + 1],
            class_score(int(labels[k])),
            picture(image)[None],
            steps=3,
        )
        for one, other in zip(found, explicit):
            np.testing.assert_allclose(
                one[k], other[0], rtol=1e-9, atol=1e-9 * abs(other).max()
            )
        score = model(picture(image)[None]).numpy()[0, labels[k]]
        assert found.baseline_scores[k] == pytest.approx(score)


#: `captum.attr.IntegratedGradients(net).attribute(…)` of class 1 with 20
#: steps and the baseline [0.1, -0.2, 0.3] everywhere, see formula_net; method
#: "riemann_right", "riemann_middle", "gausslegendre". Sum, and numbers 100 to
#: 105 of the flattened map.
CAPTUM = {
    "right": (
        -9.08416958618701,
        [0.1990955717, 0.091823751, -0.1949103557]
        + [0.2217172774, -0.1021762757, 0.6078094298],
    ),
    "midpoint": (
        -8.996050288036706,
        [0.1885241247, 0.0901214445, -0.1831495669]
        + [0.1962417817, -0.1004015526, 0.5781087227],
    ),
    "gauss": (
        -8.858335673720706,
        [0.1826522764, 0.0790326438, -0.1813754171]
        + [0.2074897071, -0.0969056313, 0.5600044882],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_captum(rule):
    model, image = formula_net()
    found = integrated_gradients(
        model, image, class_score(1), [0.1, -0.2, 0.3], steps=20, rule=rule
    ).attributions
    total, part = CAPTUM[rule]
    assert found.sum() == pytest.approx(total, rel=1e-5)
    np.testing.assert_allclose(found.ravel()[100:106], part, rtol=1e-5)


def test_complete_on_stickers():
    """Fifty steps from grey: 1 % on at least 38 of 40 pictures."""
    images, labels, _ = stickers.make(300, seed=11)
    found = integrated_gradients(
        networks.stickers_net(),
        images[:40],
        class_score(labels[:40]),
        127,
        batch_size=25,
    )
    assert found.attributions.dtype == np.float32
    difference = found.scores - found.baseline_scores
    total = found.attributions.sum(axis=(1, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(found.gap, total - difference, atol=1e-3)
    assert (abs(found.gap) <= 0.01 * abs(difference)).sum() >= 38


def test_batches_and_other_images_change_nothing():
    model, images = small_net(), some_images(4)
    labels = np.array([2, 0, 1, 1])

    def explain(images, labels, batch_size=16):
        return integrated_gradients(
            model,
            images,
            class_score(labels),
            "mean",
            steps=11,
            batch_size=batch_size,
        )

    once = explain(images, labels)
    for batch_size in (1, 4, 11, 100):
        found = explain(images, labels, batch_size)
        close(found.attributions, once.attributions, 1e-5)
        np.testing.assert_allclose(found.gap, once.gap, atol=1e-5)
    for k, label in enumerate(labels):
        alone = explain(images[k : k + 1], int(label))
        for one, other in zip(alone, once):
            np.testing.assert_array_equal(one[0], other[k])


def test_memory_does_not_grow_with_the_steps():
    x = keras.Input((64, 64, 3))
    model = keras.Model(x, layers.GlobalAveragePooling2D()(x))
    image = np.ones((1, 64, 64, 3), np.float32)
    starts = np.zeros((4, 64, 64, 3), np.float32)
    peaks = []
    for steps in (4, 4, 100):  # the first also compiles
        tracemalloc.start()
        integrated_gradients(
            model, image, class_score(0), starts, steps, batch_size=4
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A picture has 48 KiB, 384 more of them 18 MiB.
    assert peaks[2] < peaks[1] + 200_000


def test_uint8_pixels_and_baselines_give_the_same_as_floats():
    model = small_net()
    images, starts = np.random.default_rng(0).integers(0, 256, (2, 2, *SHAPE))
    for start in (starts, 255, "mean"):
        small, large = (
            integrated_gradients(
                model,
                images.astype(kind),
                class_score(0),
                start.astype(kind) if np.ndim(start) else start,
                steps=5,
            )
            for kind in (np.uint8, np.float32)
        )
        assert abs(large.attributions).max() > 0
        for one, other in zip(small, large):
            np.testing.assert_array_equal(one, other)


def test_mixed_precision_gives_nearly_the_same():
    full = networks.stickers_net()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = networks.stickers_net()
    finally:
        keras.config.set_dtype_policy("float32")
    images, labels, _ = stickers.make(2, seed=0)
    expected, found = (
        integrated_gradients(model, images, class_score(labels), 127, 20)
        for model in (full, half)
    )
    assert found.attributions.dtype == np.float32
    one, other = found.attributions.ravel(), expected.attributions.ravel()
    assert np.corrcoef(one, other)[0, 1] > 0.99
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0.02)
    difference = abs(found.scores - found.baseline_scores)
    assert (abs(found.gap) < 0.05 * difference).all()


def test_a_model_that_takes_half_precision():
    x = keras.Input(SHAPE, dtype="float16")
    y = layers.Dense(3, dtype="float16")(layers.Flatten(dtype="float16")(x))
    model = keras.Model(x, y)
    w = model.layers[-1].kernel.numpy()[:, 1].reshape(SHAPE)
    images = some_images(2, "float16")
    found = integrated_gradients(model, images, class_score(1), 0, steps=9)
    assert found.attributions.dtype == np.float32
    close(found.attributions, images.astype("float32") * w, 1e-6)


def test_a_model_with_two_outputs():
    x = keras.Input(SHAPE)
    y = layers.Flatten()(x)
    model = keras.Model(
        x, [layers.Dense(2)(y), layers.Dense(5, activation="tanh")(y)]
    )
    images = some_images()

    def score(outputs):
        return outputs[1][:, 4]

    found = integrated_gradients(model, images, score, 0, steps=3)
    by_hand = brute_force(model, images, score, 0 * images, "midpoint", 3)
    close(found.attributions, by_hand, 1e-5)
    with pytest.raises(ValueError, match="2 outputs.*lambda outputs"):
        integrated_gradients(model, images, class_score(1), 0)


def test_free_image_sizes():
    x = keras.Input((None, None, 3), dtype="float64")
    y = layers.Conv2D(2, 3, activation="tanh", dtype="float64")(x)
    model = keras.Model(x, layers.GlobalAveragePooling2D(dtype="float64")(y))
    images = some_images(2, "float64")
    found = integrated_gradients(model, images, class_score(1), 0.2, steps=2)
    start = np.full_like(images, 0.2)
    by_hand = brute_force(
        model, images, lambda y: y[:, 1], start, "midpoint", 2
    )
    close(found.attributions, by_hand, 1e-9)
    with pytest.raises(ValueError, match=r"baseline.*\(b, 6, 7, 3\); got"):
        integrated_gradients(
            model, images, class_score(0), np.zeros((1, 5, 7, 3))
        )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rule": "left"}, "rule must be one of midpoint, right, gauss"),
        ({"rule": None}, "rule must be one of"),
        ({"steps": 0}, "steps must be a whole number, at least 1; got 0"),
        ({"steps": 5.0}, "steps must be a whole number"),
        ({"steps": True}, "steps must be a whole number"),
        ({"baseline": "grey"}, "baseline must be a grey level.*got 'grey'"),
        ({"baseline": [1, 2]}, "baseline must.*each of the 3 channels"),
        ({"baseline": np.nan}, "baseline must be one finite number"),
        ({"baseline": None}, "baseline must be one finite number"),
        ({"baseline": np.zeros(SHAPE)}, "baseline must"),
        ({"baseline": np.zeros((0, *SHAPE))}, "baseline must.*at least one"),
        (
            {"baseline": np.zeros((1, 5, 7, 3))},
            r"baseline must have the shape.*\(n, 6, 7, 3\); got \(1, 5, 7, 3",
        ),
        (
            {"baseline": np.full((1, *SHAPE), np.inf)},
            "baseline must be finite",
        ),
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
    options |= {"baseline": 0, "steps": 4} | change
    with pytest.raises(ValueError, match=message):
        integrated_gradients(small_net(), **options)


def test_other_bad_arguments():
    with pytest.raises(TypeError, match="keras.Model; got str"):
        integrated_gradients("model", some_images(), class_score(0), 0)
    with pytest.raises(TypeError, match="target must be a callable"):
        integrated_gradients(small_net(), some_images(), 3, 0)


def test_a_target_that_is_infinite_at_the_baseline_alone():
    """No step lies there, but its score is needed."""
    x = keras.Input((2, 2, 1))
    model = keras.Model(x, layers.Flatten()(x))
    with pytest.raises(ValueError, match="target.*1 of 1 baselines"):
        integrated_gradients(
            model, np.ones((1, 2, 2, 1)), lambda y: tf.math.log(y[:, 0]), 0
        )
