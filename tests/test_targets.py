"""What a target means, against bare tapes, float32 twins and arithmetic; and
each advice of an error text, followed."""

import types
from functools import partial

import bare_tape
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from scipy.stats import spearmanr

from xai_utils import networks
from xai_utils.data import stickers
from xai_utils.deconvnet import project, strongest
from xai_utils.gradients import gradient, saliency
from xai_utils.occlusion import occlusion
from xai_utils.receptive_field import receptive_field
from xai_utils.targets import (
    Target,
    class_probability,
    class_score,
    loss,
    predicted_class,
    unit,
)

pytestmark = pytest.mark.quick

SIZE = (6, 7, 3)
IMAGES = np.random.default_rng(1).normal(size=(3, *SIZE)).astype("float32")
bare = partial(bare_tape.bare, images=IMAGES)


def net(classes=3, activation=None, shape=SIZE):
    keras.utils.set_random_seed(0)
    x = keras.Input(shape)
    y = layers.Conv2D(4, 3, activation="tanh", name="conv")(x)
    y = layers.Flatten(name="flatten")(y)
    return keras.Model(x, layers.Dense(classes, activation, name="end")(y))


def same(found, expected):
    size = np.abs(expected).max()
    assert size > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * size)


def value(model, target):
    """The target of the first image, as occlusion records it."""
    return occlusion(model, IMAGES[0], target, patch=6, stride=6).baseline


# A loss and its truth.


def own_mae(y_true, y_pred):
    return tf.reduce_mean(tf.abs(y_true - y_pred), axis=-1)


def own_square(y_true, y_pred):
    return tf.reduce_sum((y_true - y_pred) ** 2, axis=tf.range(1, 2))


@pytest.mark.parametrize(
    "function, by_hand",
    [
        (own_mae, lambda t, y: abs(t - y)),
        (own_square, lambda t, y: (t - y) ** 2),
        ("mse", lambda t, y: (t - y) ** 2),
        ("hinge", lambda t, y: tf.nn.relu(1 - (2 * t - 1) * y)),
        ("squared_hinge", lambda t, y: tf.nn.relu(1 - (2 * t - 1) * y) ** 2),
        ("poisson", lambda t, y: y - t * tf.math.log(y + 1e-7)),
        (
            "kl_divergence",
            lambda t, y: (
                tf.clip_by_value(t, 1e-7, 1)
                * tf.math.log(
                    tf.clip_by_value(t, 1e-7, 1) / tf.clip_by_value(y, 1e-7, 1)
                )
            ),
        ),
        (
            "binary_crossentropy",
            lambda t, y: -tf.math.log(tf.where(t == 1, y, 1 - y)),
        ),
        (keras.losses.Huber(), lambda t, y: (t - y) ** 2 / 2),
    ],
    ids=lambda part: getattr(part, "__name__", str(part)[:12]),
)
@pytest.mark.parametrize("shape", [(3,), (3, 1)], ids=str)
def test_a_truth_for_each_image(function, by_hand, shape):
    """One output: whatever the function, no truth reaches another image."""
    model, truth = net(1, "sigmoid"), np.array([1.0, 0.0, 1.0])

    def expected(outputs):
        return by_hand(truth.astype("float32"), outputs[:, 0])

    found = gradient(model, IMAGES, loss(function, truth.reshape(shape)))
    same(found, bare(model, expected))
    one = value(model, loss(function, truth[0]))
    assert one == pytest.approx(
        float(expected(model(IMAGES))[0]), rel=1e-4, abs=1e-6
    )


def test_a_truth_of_another_shape_is_refused_and_the_advice_works():
    model, labels = net(), np.array([2, 0, 1])
    for function in own_mae, "mse", "kl_divergence":
        for truth in labels, 1.0, np.zeros((3, 2)), np.zeros((3, 1)):
            with pytest.raises(ValueError, match=r"shape, \(n, 3\); got"):
                gradient(model, IMAGES, loss(function, truth))
    expected = bare(
        model,
        lambda y: keras.losses.sparse_categorical_crossentropy(
            labels, y, from_logits=False
        ),
    )
    sparse = loss("sparse_categorical_crossentropy", labels)
    same(gradient(model, IMAGES, sparse), expected)
    y_true = np.eye(3, dtype="float32")[labels]
    advised = Target(lambda outputs, y: own_mae(y, outputs), (y_true,))
    found = gradient(model, IMAGES, advised, batch_size=2)
    same(found, gradient(model, IMAGES, loss(own_mae, y_true)))


def test_class_indices_that_are_none():
    model = net()
    for labels, got in (
        ([0, 1, 3], "below 3; got 3"),
        ([0, -1, 2], "below 3; got -1"),
        ([0.0, 1.0, 2.0], "got float64"),
    ):
        with pytest.raises(ValueError, match=f"class indices.*{got}"):
            gradient(
                model, IMAGES, loss("sparse_categorical_crossentropy", labels)
            )


def test_yes_and_no_as_truth():
    model, truth = net(1, "sigmoid"), np.array([True, False, True])
    same(
        gradient(model, IMAGES, loss("bce", truth)),
        gradient(model, IMAGES, loss("bce", truth.astype(float))),
    )


def test_no_loss():
    for function in "mse_", 3, None:
        with pytest.raises((ValueError, TypeError), match="function must be"):
            loss(function, 1.0)


# What a model ends in.


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def test_several_sigmoids_are_probabilities():
    model = net(activation="sigmoid")
    given = model(IMAGES).numpy()[0, 1]
    assert value(model, class_probability(1)) == pytest.approx(given)
    same(
        gradient(model, IMAGES, class_probability(1)),
        bare(model, lambda outputs: outputs[:, 1]),
    )
    with pytest.raises(ValueError, match="ends in a sigmoid.*class_prob"):
        gradient(model, IMAGES, class_score(1))


def shaped(y):
    return layers.Reshape((3,))(layers.Reshape((3, 1))(y))


@pytest.mark.parametrize(
    "end",
    [
        layers.Softmax,
        lambda: layers.Activation("softmax"),
        lambda: layers.Activation("softmax", dtype="bfloat16"),
        lambda: ops.softmax,
        lambda: lambda y: shaped(ops.softmax(y)),
        lambda: lambda y: layers.Dropout(0.5)(layers.Softmax()(y)),
    ],
    ids=["layer", "activation", "bfloat16", "operation", "reshaped", "below"],
)
def test_a_soft_max_is_seen_wherever_it_stands(end):
    logits = net()
    model = keras.Model(logits.input, end()(logits.output))
    expected = softmax(logits(IMAGES[:1]).numpy()[0])[2]
    found = value(model, class_probability(2))
    assert found == pytest.approx(expected, rel=0.01)
    with pytest.raises(ValueError, match="ends in a soft-max"):
        value(model, class_score(2))


def test_where_it_cannot_be_seen_the_values_decide():
    logits = net()
    given = ops.exp(ops.log_softmax(logits.output))
    by_hand = keras.Model(logits.input, given)
    expected = softmax(logits(IMAGES[:1]).numpy()[0])[2]
    assert value(by_hand, class_probability(2)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="soft-max"):
        value(by_hand, class_score(2))
    sharper = keras.Model(logits.input, ops.log(ops.exp(logits.output)) * 9)
    expected = softmax(logits(IMAGES[:1]).numpy()[0] * 9)[2]
    assert value(sharper, class_probability(2)) == pytest.approx(
        expected, rel=1e-4
    )
    assert value(sharper, class_score(2)) == pytest.approx(
        logits(IMAGES[:1]).numpy()[0, 2] * 9, rel=1e-5
    )


def several_heads(x):
    y = layers.Flatten()(x)
    heads = [layers.Dense(1, activation="sigmoid")(y) for _ in range(3)]
    return layers.Concatenate()(heads)


def ensemble(x):
    y = layers.Flatten()(x)
    members = [layers.Dense(3, activation="sigmoid")(y) for _ in range(2)]
    return layers.Average()(members)


@pytest.mark.parametrize(
    "end",
    [
        several_heads,
        ensemble,
        lambda x: layers.GlobalMaxPooling2D()(
            layers.Conv2D(3, 3, activation="sigmoid")(x)
        ),
        lambda x: layers.GlobalAveragePooling2D()(
            layers.Conv2D(3, 3, activation="sigmoid")(x)
        ),
        lambda x: (
            1 - layers.Dense(3, activation="sigmoid")(layers.Flatten()(x))
        ),
        lambda x: ops.clip(several_heads(x), 0.01, 0.99),
        lambda x: (
            0.9 * layers.Dense(3, activation="softmax")(layers.Flatten()(x))
        ),
    ],
    ids=["heads", "ensemble", "max", "mean", "1 -", "clip", "share"],
)
def test_what_is_made_of_probabilities_is_taken_as_it_is(end):
    keras.utils.set_random_seed(0)
    x = keras.Input(SIZE)
    model = keras.Model(x, end(x))
    given = float(model(IMAGES)[0, 1])
    assert value(model, class_probability(1)) == pytest.approx(given)
    with pytest.raises(ValueError, match="needs scores"):
        value(model, class_score(1))


def test_what_is_made_of_probabilities_but_is_none():
    x = keras.Input(SIZE)
    y = layers.Dense(3, activation="softmax")(layers.Flatten()(x))
    model = keras.Model(x, -10.0 * y)
    with pytest.raises(
        ValueError, match="made of probabilities, but not in 0–1"
    ):
        value(model, class_probability(1))


def test_in_doubt_it_is_said_and_the_advice_works():
    """A sigmoid by hand, and outputs that a function hides."""
    x = keras.Input(SIZE)
    y = layers.Dense(4)(layers.Flatten()(x))
    for end in 1 / (1 + ops.exp(-y)), (ops.tanh(y) + 1) / 2:
        model = keras.Model(x, end)
        with pytest.raises(ValueError, match="can't be seen.*outputs.:, 3"):
            value(model, class_probability(3))
        given = float(model(IMAGES)[0, 3])
        assert value(model, lambda outputs: outputs[:, 3]) == pytest.approx(
            given
        )


def test_scores_that_look_like_probabilities_are_scores():
    """What the model is decides, not what its numbers happen to be."""
    x = keras.Input((1, 1, 3))
    model = keras.Model(x, layers.Dense(3)(layers.Flatten()(x)))
    model.set_weights([np.eye(3), np.zeros(3)])
    scores = np.array([0.25, 0.5, 0.25])
    image = scores.reshape(1, 1, 3)
    found = occlusion(model, image, class_score(1), patch=1, stride=1)
    assert found.baseline == 0.5
    found = occlusion(model, image, class_probability(1), patch=1, stride=1)
    assert found.baseline == pytest.approx(softmax(scores)[1])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_soft_max_is_taken_as_it_is(policy):
    """For each picture, though its sum is not one to the last bit."""
    logits = net(10)
    sharper = layers.Rescaling(4.0)(logits.output)
    y = layers.Activation("softmax", dtype=policy)(sharper)
    model = keras.Model(logits.input, layers.Lambda(lambda y: y**1.0)(y))
    images = np.random.default_rng(0).normal(size=(200, *SIZE), scale=2)
    images = images.astype("float32")
    off = np.abs(model(images).numpy().sum(axis=1) - 1)
    images = images[np.argsort(-off)[:4]]  # the sum is furthest from one
    found = [
        occlusion(model, image, class_probability(7), patch=6, stride=6)
        for image in images
    ]
    np.testing.assert_allclose(
        [result.baseline for result in found],
        model(images).numpy()[:, 7],
        rtol=0.02,
        atol=1e-6,
    )
    for image in images:
        with pytest.raises(ValueError, match="soft-max"):
            gradient(model, image[None], class_score(7))


def test_float16_maps_of_probabilities_are_not_lost():
    images, labels, _ = stickers.make(12, seed=0)
    full = networks.stickers_net()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = networks.stickers_net()
    finally:
        keras.config.set_dtype_policy("float32")
    expected = saliency(full, images, class_probability(labels))
    found = saliency(half, images, class_probability(labels))
    assert found.dtype == np.float32
    for ours, theirs in zip(found, expected):
        assert theirs.any()
        assert spearmanr(ours.ravel(), theirs.ravel())[0] >= 0.99
        assert ours.sum() == pytest.approx(theirs.sum(), rel=0.1)


# Several outputs.


def two_outputs():
    x = keras.Input(SIZE)
    y = layers.Conv2D(2, 3, activation="relu", name="conv")(x)
    flat = layers.Flatten()(y)
    first = layers.Dense(2, name="first")(flat)
    # The second hangs on the first: its gradient must not count twice.
    second = layers.Dense(4, "softmax", name="second")(first)
    return keras.Model(x, {"a": first, "b": second, "again": first})


def test_outputs_keep_their_names():
    model = two_outputs()
    for target in (
        lambda outputs: outputs["a"][:, 1],
        lambda outputs: outputs["b"][:, 3],
        lambda outputs: outputs["again"][:, 0] + outputs["b"][:, 0],
    ):
        same(gradient(model, IMAGES, target), bare(model, target))
        same(project(model, IMAGES, target, "gradient"), bare(model, target))
    found = occlusion(
        model,
        IMAGES[0],
        lambda outputs: outputs["b"][:, 1],
        patch=3,
        stride=3,
        also={"map": unit("conv", 1), "a": lambda outputs: outputs["a"][:, 0]},
    )
    clean = model(IMAGES[:1])
    assert found.baseline == pytest.approx(float(clean["b"][0, 1]), rel=1e-4)
    covered = IMAGES[:1].copy()
    covered[0, :3, :3] = IMAGES[0].mean(axis=(0, 1))
    assert found.also["a"][0, 0] == pytest.approx(
        float(model(covered)["a"][0, 0]), rel=1e-4, abs=1e-5
    )
    features = keras.Model(model.input, model.get_layer("conv").output)
    assert found.also["map"][0, 0] == pytest.approx(
        features(covered).numpy()[..., 1].sum(), rel=1e-4
    )


def test_which_output_and_the_advice_works():
    model = two_outputs()
    with pytest.raises(
        ValueError, match=r"3 outputs, 'a', 'b', 'again'.*outputs\['a'\]\[:, 3"
    ):
        gradient(model, IMAGES, class_score(1))
    assert gradient(model, IMAGES, lambda outputs: outputs["a"][:, 1]).any()


def test_a_target_inside_a_target():
    model = two_outputs()
    for k in 1, [0, 1, 1]:
        found = gradient(
            model, IMAGES, lambda outputs, k=k: class_score(k)(outputs["a"])
        )
        chosen = np.broadcast_to(k, 3)
        expected = bare(
            model, lambda o, k=chosen: tf.gather(o["a"], k, batch_dims=1)
        )
        same(found, expected)
    found = occlusion(
        model,
        IMAGES[0],
        lambda outputs: class_probability(1)(outputs["a"]),
        patch=3,
        stride=3,
    )
    clean = softmax(model(IMAGES[:1])["a"].numpy()[0])
    assert found.baseline == pytest.approx(clean[1], rel=1e-4)
    same(
        gradient(model, IMAGES, lambda o: loss("mse", [[1.0, 2.0]])(o["a"])),
        bare(model, lambda o: tf.reduce_mean((o["a"] - [1.0, 2.0]) ** 2, 1)),
    )
    with pytest.raises(ValueError, match="class index must be below 2; got 5"):
        gradient(model, IMAGES, lambda outputs: class_score(5)(outputs["a"]))


def segmentation():
    x = keras.Input(SIZE)
    return keras.Model(x, layers.Conv2D(5, 3, padding="same")(x))


def test_a_segmentation_says_what_to_write():
    model = segmentation()
    for target in class_score(0), class_probability(0), predicted_class:
        with pytest.raises(
            ValueError,
            match=r"\(n, 6, 7, 5\).*tf.reduce_mean\(outputs\[..., 0\], axis=",
        ):
            gradient(model, IMAGES, target)
    advised = lambda outputs: tf.reduce_mean(outputs[..., 0], axis=[1, 2])  # noqa: E731
    same(gradient(model, IMAGES, advised), bare(model, advised))
    truth = np.zeros((3, 6, 7, 5))
    with pytest.raises(ValueError, match=r"one number.*reduce_mean.*\[1, 2\]"):
        gradient(model, IMAGES, loss("mse", truth))
    advised = lambda outputs: tf.reduce_mean(outputs**2, axis=[1, 2, 3])  # noqa: E731
    same(gradient(model, IMAGES, advised), bare(model, advised))


# What a target returns.


@pytest.mark.parametrize(
    "target, message",
    [
        (lambda o: o[0], r"shape \(n,\).*got shape"),
        (lambda o: o[:, :1], r"got shape"),
        (lambda o: tf.reduce_sum(o), r"got shape"),
        (lambda o: tf.reduce_sum(o, axis=0), r"got shape"),
        (lambda o: tf.reshape(o, [-1]), "number for each image; it returns 9"),
        (lambda o: 3.0, "got <class 'float'>"),
        (lambda o: np.max(o, axis=1), "TensorFlow or keras.ops.*reduce_max"),
        (lambda o: tf.constant([1.0, 2.0, 3.0]), "got shape"),
        (lambda o: o.numpy()[:, 1], "in TensorFlow.*AttributeError"),
        (lambda o: o[:, 1] if o[0, 0] > 0 else o[:, 0], "outputs alone"),
        (keras.losses.MeanSquaredError(), "outputs alone.*y_pred"),
    ],
    ids=range(11),
)
def test_not_one_number_an_image(target, message):
    with pytest.raises(ValueError, match=message):
        gradient(net(), IMAGES, target)


def test_the_first_score_for_all_positions():
    """`(n, 1)` has the same rank as what is wanted, once it is indexed."""
    with pytest.raises(ValueError, match="one number for each image"):
        occlusion(net(1), IMAGES[0], lambda o: o[0], patch=3, stride=3)


def test_a_norm_of_zero():
    blank = np.concatenate([IMAGES, np.zeros((2, *SIZE), "float32")])
    x = keras.Input(SIZE)
    rooted = keras.Model(x, ops.sqrt(ops.sum(x**2, axis=(1, 2, 3)))[:, None])
    with pytest.raises(ValueError, match="gradient.*2 of 5 images.*norm"):
        gradient(rooted, blank, lambda outputs: outputs[:, 0])
    divided = keras.Model(
        x, ops.sum(x, axis=(1, 2)) / ops.norm(x, axis=(1, 2))
    )
    for function in gradient, saliency:
        with pytest.raises(ValueError, match="target is NaN.*2 of 5 images"):
            function(divided, blank, lambda outputs: outputs[:, 0])
    with pytest.raises(ValueError, match="clean image is NaN"):
        occlusion(
            divided, blank[3], lambda o: o[:, 0], patch=3, stride=3, fill=1
        )
    with pytest.raises(ValueError, match="occluded image is NaN.* 1 of 6"):
        occlusion(
            divided,
            np.pad(np.ones((3, 3, 3)), ((0, 3), (0, 4), (0, 0))),
            lambda o: o[:, 0],
            patch=3,
            stride=3,
            fill=0,
        )


# Arguments.


def test_a_position_where_there_is_none():
    with pytest.raises(ValueError, match="position must be None.*it is"):
        gradient(net(), IMAGES, unit("end", 0, (1, 2)))
    for position in (1,), (1, 2, 3), 5:
        with pytest.raises(ValueError, match="position must be .row, column"):
            unit("conv", 0, position)
    for layer in 3, "", None:
        with pytest.raises(TypeError, match="layer must be a layer's name"):
            unit(layer, 0)
        with pytest.raises(TypeError, match="layer must be a layer's name"):
            strongest(net(), IMAGES, layer, top=1)
        with pytest.raises(TypeError, match="layer must be a layer's name"):
            receptive_field(net(), layer, (0, 0))
    for position in (1.7, 2), (1,), 1, (0, 0, 0), "ab", (np.nan, 0):
        with pytest.raises(TypeError, match="position must be"):
            receptive_field(net(), "conv", position)
    with pytest.raises(ValueError, match="one of conv.*got 'conv/x'"):
        gradient(net(), IMAGES, unit("conv/x", 0))


def test_a_call_forgotten():
    for target in class_score, class_probability, loss, unit:
        with pytest.raises(TypeError, match="such as class_score.3."):
            gradient(net(), IMAGES, target)


def test_class_indices_beyond_32_bits():
    for index in 2**31, 2**32, [0, 2**40]:
        with pytest.raises(ValueError, match="below 2³¹; got"):
            class_score(index)


def test_values_beyond_the_precision_of_the_model():
    with pytest.raises(ValueError, match="finite in the model's float32.*e"):
        gradient(net(), np.full((1, *SIZE), 1e300), class_score(0))
    x = keras.Input(SIZE, dtype="float16")
    y = layers.Dense(2, dtype="float16")(layers.Flatten(dtype="float16")(x))
    model = keras.Model(x, y)
    with pytest.raises(ValueError, match="finite in the model's float16.*7"):
        gradient(model, np.full((1, *SIZE), 70_000), class_score(0))
    with pytest.raises(ValueError, match="fill must be"):
        occlusion(
            model, IMAGES[0], class_score(0), patch=3, stride=3, fill=70_000
        )


def test_grey_pictures_without_a_channel_and_the_advice_works():
    model = net(shape=(28, 28, 1))
    images = np.random.default_rng(0).normal(size=(5, 28, 28))
    with pytest.raises(ValueError, match=r"channel axis, images\[..., None\]"):
        gradient(model, images, class_score(0))
    assert gradient(model, images[..., None], class_score(0)).shape == (
        *images.shape,
        1,
    )


@pytest.mark.parametrize("order", ["first", "last", "named"])
def test_two_inputs_and_the_advice_works(order):
    picture, other = (
        keras.Input(SIZE, name="x"),
        keras.Input((2,), name="more"),
    )
    y = layers.Concatenate()([layers.Flatten()(picture), other])
    value = np.float32([3.0, 4.0])
    arrange = {
        "first": lambda picture, other: [picture, other],
        "last": lambda picture, other: [other, picture],
        "named": lambda picture, other: {"more": other, "x": picture},
    }[order]
    model = keras.Model(arrange(picture, other), layers.Dense(3)(y))
    with pytest.raises(ValueError, match="one input; it has 2") as error:
        gradient(model, IMAGES, class_score(0))
    advice = str(error.value).partition("constant: ")[2]
    names = {"keras": keras, "model": model, "value": value}
    exec(advice.replace("(h, w, c)", str(SIZE)), names)
    wrapped = names["model"]
    w = model.layers[-1].kernel.numpy()[:126, 1].reshape(SIZE)
    same(gradient(wrapped, IMAGES, class_score(1))[2], w)
    np.testing.assert_allclose(
        wrapped(IMAGES),
        model(arrange(IMAGES, np.tile(value, (3, 1)))),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_list_of_pictures_and_the_advice_works():
    images = np.empty(3, object)
    images[:] = list(IMAGES)
    with pytest.raises(TypeError, match=r"np.stack\(list\(images\)\)"):
        gradient(net(), images, class_score(0))
    same(
        gradient(net(), np.stack(list(images)), class_score(0)),
        gradient(net(), IMAGES, class_score(0)),
    )


def test_a_layer_is_no_model_and_the_advice_works(tmp_path):
    net().export(tmp_path / "exported", verbose=False)
    layer = layers.TFSMLayer(tmp_path / "exported", call_endpoint="serve")
    with pytest.raises(TypeError, match="TFSMLayer, a layer. Wrap") as error:
        gradient(layer, IMAGES, class_score(0))
    names = {"keras": keras, "layer": layer}
    advice = str(error.value).partition("Wrap it: ")[2]
    exec(advice.replace("(h, w, c)", str(SIZE)), names)
    same(
        gradient(names["model"], IMAGES, class_score(1)),
        gradient(net(), IMAGES, class_score(1)),
    )


def test_a_model_of_keras_2():
    old = types.new_class("Functional", exec_body=lambda space: None)
    old.__module__ = "tf_keras.src.engine.functional"
    with pytest.raises(TypeError, match="of Keras 2. Save it.*load_model"):
        gradient(old(), IMAGES, class_score(0))


def test_a_dataset_and_the_advice_works():
    for dataset in (
        tf.data.Dataset.from_tensor_slices(IMAGES).batch(2),
        tf.data.Dataset.from_tensor_slices((IMAGES, [0, 1, 2])).batch(2),
    ):
        with pytest.raises(TypeError, match="next.iter.dataset") as error:
            gradient(net(), dataset, class_score(0))
        names = {"dataset": dataset}
        exec(str(error.value).partition("batch of it, ")[2], names)
        same(
            gradient(net(), names["images"], class_score(0)),
            gradient(net(), IMAGES[:2], class_score(0)),
        )


def test_bfloat16_inputs_and_the_default_fill():
    x = keras.Input(SIZE, dtype="bfloat16")
    y = layers.Dense(2, dtype="bfloat16")(layers.Flatten(dtype="bfloat16")(x))
    model = keras.Model(x, y)
    for image in IMAGES[0], tf.cast(IMAGES[0], tf.bfloat16).numpy():
        for fill in "mean", "blur", 3:
            found = occlusion(
                model, image, class_score(1), patch=6, stride=6, fill=fill
            )
            assert found.baseline == pytest.approx(
                float(model(IMAGES[:1])[0, 1]), rel=0.02, abs=0.02
            )
    w = model.layers[-1].kernel.numpy()[:, 1].astype("float32")
    found = gradient(model, IMAGES, class_score(1))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0].ravel(), w, rtol=0.01, atol=1e-3)


def test_also_is_a_dict_of_names():
    for also in [class_score(0)], class_score(0), {1: class_score(0)}:
        with pytest.raises(TypeError, match="also must be a dict name -> tar"):
            occlusion(
                net(), IMAGES[0], class_score(0), patch=3, stride=3, also=also
            )


# What a unit can see.


def seen(model, layer, position):
    """The pixels that change a unit, one by one."""
    inner = keras.Model(model.input, model.get_layer(layer).output)
    height, width, _ = model.input.shape[1:]
    image = np.random.default_rng(0).uniform(1, 2, (1, height, width, 3))
    changed = np.repeat(image, height * width, axis=0)
    for number, place in enumerate(np.ndindex(height, width)):
        changed[number][place] += 1
    before, after = inner(image).numpy(), inner(changed).numpy()
    at = (slice(None), *position)
    moved = np.abs(after[at] - before[at]).reshape(len(changed), -1).max(1)
    return (moved > 1e-9).reshape(height, width)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: layers.Concatenate(axis=1)(
            [layers.Conv2D(2, 3)(x), layers.Conv2D(2, (1, 3))(x)]
        ),
        lambda x: layers.Softmax(axis=1)(layers.Conv2D(2, 3)(x)),
        lambda x: (
            layers.Conv2D(2, 3)(x)
            + layers.AveragePooling2D((6, 7))(layers.Conv2D(2, (3, 3))(x))
        ),
        lambda x: layers.ZeroPadding2D(3)(layers.Conv2D(2, 3)(x)),
        lambda x: layers.Cropping2D(((2, 0), (0, 3)))(layers.Conv2D(2, 3)(x)),
        lambda x: layers.UpSampling2D(2)(layers.Conv2D(2, 3, strides=2)(x)),
        lambda x: layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(
            x
        ),
        lambda x: layers.GlobalMaxPooling2D(keepdims=True)(
            layers.Cropping2D(1)(x)
        ),
        lambda x: layers.Permute((2, 1, 3))(layers.Conv2D(2, (1, 3))(x)),
    ],
    ids=[
        "concatenated rows",
        "spatial soft-max",
        "broadcast",
        "padding",
        "cropping",
        "upsampling",
        "dilated",
        "global",
        "transposed",
    ],
)
def test_receptive_fields_by_changing_each_pixel(make):
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 9, 3))
    y = layers.Activation("linear", name="end")(make(x))
    model = keras.Model(x, y)
    model.set_weights([np.abs(w) + 0.1 for w in model.get_weights()])
    rows, columns = y.shape[1:3]
    for position in (0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1):
        top, left, bottom, right = receptive_field(model, "end", position)
        places = np.nonzero(seen(model, "end", position))
        if not len(places[0]):
            assert (top, left, bottom, right) == (0, 0, 0, 0)
            continue
        assert (top, left) == tuple(np.min(places, axis=1))
        assert (bottom, right) == tuple(np.max(places, axis=1) + 1)
