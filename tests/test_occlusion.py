"""Occlusion against a brute-force loop that is written out here."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from skimage.filters import gaussian

from xai_utils import networks, targets
from xai_utils.data import stickers
from xai_utils.occlusion import occlusion
from xai_utils.targets import class_probability, class_score, loss, unit

pytestmark = pytest.mark.quick


def small_net(shape=(11, 17, 3), **end):
    keras.utils.set_random_seed(0)
    x = keras.Input(shape)
    y = layers.Conv2D(4, 3, activation="tanh", name="conv")(x)
    return keras.Model(x, layers.Dense(3, **end)(layers.Flatten()(y)))


def an_image(shape=(11, 17, 3)):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def brute_force(model, image, score, patch, stride, filler):
    """A picture a position; covered, summed and counted pixel by pixel."""
    height, width = image.shape[:2]

    def starts(length):
        found = [0]
        while found[-1] + patch < length:
            found.append(min(found[-1] + stride, length - patch))
        return found

    places = [(top, left) for top in starts(height) for left in starts(width)]
    pictures = [image]
    for top, left in places:
        covered = image.copy()
        for i in range(top, top + patch):
            for j in range(left, left + patch):
                covered[i, j] = filler[i, j]
        pictures.append(covered)
    clean, *rest = map(score, model(np.stack(pictures)).numpy())
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for (top, left), covered in zip(places, rest):
        for i in range(top, top + patch):
            for j in range(left, left + patch):
                total[i, j] += clean - covered
                count[i, j] += 1
    table = np.reshape(rest, (len(starts(height)), -1))
    return clean, table, total / count


def softmax(scores):
    return np.exp(scores) / np.exp(scores).sum()


def mse(scores):
    return np.mean((scores - [1, 2, 3]) ** 2)


FILLS = {
    "grey": (0.5, lambda image: np.full_like(image, 0.5)),
    "colour": ([1, 0, -1], lambda image: np.full_like(image, [1, 0, -1])),
    "mean": (
        "mean",
        lambda image: (
            np.zeros_like(image) + [image[..., c].mean() for c in range(3)]
        ),
    ),
    "blur": (
        "blur",
        lambda image: np.stack(
            [gaussian(image[..., c], sigma=2) for c in range(3)], axis=-1
        ),
    ),
}


@pytest.fixture(scope="module")
def net():
    """One network, so that each target is compiled once."""
    return small_net()


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize(
    "target, score",
    [
        (class_score(1), lambda s: s[1]),
        (class_probability(2), lambda s: softmax(s)[2]),
        (loss("mse", [[1.0, 2.0, 3.0]]), mse),
    ],
    ids=["score", "probability", "loss"],
)
@pytest.mark.parametrize("stride", [1, 3, 4])
def test_brute_force(net, fill, target, score, stride):
    model, image = net, an_image()
    given, filler = FILLS[fill]
    clean, table, heat = brute_force(
        model, image, score, 4, stride, filler(image)
    )
    found = occlusion(
        model, image, target, patch=4, stride=stride, fill=given, batch_size=7
    )
    assert found.baseline == pytest.approx(clean, abs=1e-5)
    np.testing.assert_allclose(found.scores, table, atol=1e-5)
    np.testing.assert_allclose(found.heatmap, heat, atol=1e-5)


def test_positions_say_where_each_score_was_taken():
    model, image = small_net(), an_image()
    found = occlusion(model, image, class_score(0), patch=4, stride=3, fill=9)
    for row, column in ((0, 0), (2, 4), (3, 5)):
        top, left = found.positions[row, column]
        covered = image.copy()
        covered[top : top + 4, left : left + 4] = 9
        assert found.scores[row, column] == pytest.approx(
            model(covered[None]).numpy()[0, 0], abs=1e-5
        )
    assert (found.positions[-1, -1] == [7, 13]).all()  # ends at the edge


def test_linear_network_in_closed_form():
    """Covering by zero takes away exactly weight × pixel."""
    x = keras.Input((8, 12, 1))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(x)))
    image = an_image((8, 12, 1))
    w = model.get_weights()[0][:, 1].reshape(8, 12)
    found = occlusion(model, image, class_score(1), patch=4, stride=4, fill=0)
    blocks = (w * image[..., 0]).reshape(2, 4, 3, 4).sum(axis=(1, 3))
    np.testing.assert_allclose(
        found.baseline - found.scores, blocks, atol=1e-5
    )
    np.testing.assert_allclose(
        found.heatmap, np.kron(blocks, np.ones((4, 4))), atol=1e-5
    )


def test_other_targets_come_from_the_same_pass():
    model, image = small_net(), an_image()
    found = occlusion(
        model,
        image,
        class_score(0),
        patch=5,
        stride=3,
        fill=0,
        also={"label": targets.predicted_class, "map": unit("conv", 2)},
    )
    features = keras.Model(model.input, model.get_layer("conv").output)
    for (row, column), label in np.ndenumerate(found.also["label"]):
        top, left = found.positions[row, column]
        covered = image.copy()[None]
        covered[0, top : top + 5, left : left + 5] = 0
        assert label == model(covered).numpy().argmax()
        assert found.also["map"][row, column] == pytest.approx(
            features(covered).numpy()[0, ..., 2].sum(), abs=1e-4
        )


def test_one_pass_runs_the_model_once_a_position():
    model, image = small_net(), an_image()
    seen = []
    real = model.call

    def counted(inputs, **options):
        tf.numpy_function(lambda x: seen.append(len(x)), [inputs], [])
        return real(inputs, **options)

    model.call = counted
    occlusion(
        model,
        image,
        class_score(0),
        patch=5,
        stride=3,
        fill=0,
        also={"label": targets.predicted_class},
        batch_size=8,
        reuse=False,
    )
    assert sum(seen) == 3 * 5 + 1 and max(seen) <= 8


def test_a_stickers_picture_and_the_untouched_input():
    images, labels, _ = stickers.make(1, seed=0)
    before = images[0].copy()
    found = occlusion(
        networks.stickers_net(),
        images[0],
        class_score(labels[0]),
        patch=16,
        stride=8,
        fill=127,
    )
    assert (images[0] == before).all()
    assert found.scores.shape == (11, 11) and found.heatmap.shape == (96, 96)


def test_softmax_several_outputs_and_mixed_precision():
    with pytest.raises(ValueError, match="ends in a soft-max"):
        occlusion(
            small_net(activation="softmax"),
            an_image(),
            class_score(0),
            patch=4,
            stride=4,
        )
    x = keras.Input((11, 17, 3))
    y = layers.Flatten()(x)
    two = keras.Model(x, {"a": layers.Dense(2)(y), "b": layers.Dense(3)(y)})
    with pytest.raises(ValueError, match="2 outputs"):
        occlusion(two, an_image(), class_score(0), patch=4, stride=4)
    found = occlusion(
        two, an_image(), lambda o: o["b"][:, 1], patch=4, stride=4
    )
    assert found.baseline == pytest.approx(
        two(an_image()[None])["b"].numpy()[0, 1], abs=1e-5
    )
    images, labels, _ = stickers.make(1, seed=0)
    full = occlusion(
        networks.stickers_net(),
        images[0],
        class_score(labels[0]),
        patch=24,
        stride=12,
        fill=127,
    )
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = networks.stickers_net()
    finally:
        keras.config.set_dtype_policy("float32")
    found = occlusion(
        half, images[0], class_score(labels[0]), patch=24, stride=12, fill=127
    )
    np.testing.assert_allclose(
        found.scores, full.scores, atol=0.02 * np.abs(full.scores).max()
    )


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"stride": 5}, ValueError, "uncovered; got stride 5, patch 4"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"stride": 0}, ValueError, "stride must be at least 1"),
        ({"patch": 12}, ValueError, "larger than the image, 11 × 17; got 12"),
        ({"patch": 4.0}, TypeError, "patch must be a whole number"),
        ({"patch": [4, 2]}, TypeError, "patch must be a whole number"),
        ({"stride": [1, 2]}, TypeError, "stride must be a whole number"),
        ({"also": [class_score(0)]}, TypeError, "also must be a dict"),
        ({"fill": "gray"}, ValueError, "fill must be a grey level"),
        ({"fill": [1, 2]}, ValueError, "each of the 3 channels"),
        ({"fill": np.nan}, ValueError, "one finite number"),
        (
            {"image": np.zeros((1, 11, 17, 3))},
            ValueError,
            r"one picture of shape",
        ),
        (
            {"image": np.zeros((17, 11, 3))},
            ValueError,
            r"image must.*\(n, 11, 17",
        ),
        ({"target": class_score(3)}, ValueError, "below 3"),
        ({"target": class_score([0, 1])}, ValueError, "2 classes"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {
        "image": an_image(),
        "target": class_score(0),
        "patch": 4,
        "stride": 4,
        "fill": 0,
        **change,
    }
    with pytest.raises(error, match=message):
        occlusion(small_net(), **arguments)
