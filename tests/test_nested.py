"""Models inside models: equal to the same network built flat."""

import keras
import numpy as np
import pytest
from keras import layers

from xai_utils.deconvnet import RULES, project, strongest
from xai_utils.grad_cam import grad_cam, last_map
from xai_utils.gradients import gradient
from xai_utils.integrated_gradients import integrated_gradients
from xai_utils.occlusion import occlusion
from xai_utils.receptive_field import receptive_field
from xai_utils.smoothgrad import smoothgrad
from xai_utils.targets import class_score, unit

pytestmark = pytest.mark.quick

SIZE = (17, 15, 3)
IMAGES = np.random.default_rng(1).normal(size=(4, *SIZE)).astype("float32")


def blocks(number):
    """The layers of a base, made anew but with the same names."""
    return [
        layers.Conv2D(
            4,
            3,
            padding="same",
            activation="relu",
            bias_initializer="ones",  # so that most units are active
            name=f"conv{number}",
        ),
        layers.MaxPooling2D(name=f"pool{number}"),
    ]


def apply(steps, x):
    for step in steps:
        x = step(x)
    return x


def flat():
    keras.utils.set_random_seed(0)
    x = keras.Input(SIZE)
    y = apply(blocks(1) + blocks(2), layers.Rescaling(0.5, name="half")(x))
    y = layers.Flatten(name="flatten")(y)
    return keras.Model(x, layers.Dense(3, name="end")(y))


def functional(steps, shape, name):
    x = keras.Input(shape)
    return keras.Model(x, apply(steps, x), name=name)


def sequential(steps, shape, name):
    return keras.Sequential([keras.Input(shape), *steps], name=name)


def transfer(kind):
    """A base of either kind, called in another model."""
    base = kind(blocks(1) + blocks(2), SIZE, "base")
    x = keras.Input(SIZE)
    y = base(layers.Rescaling(0.5, name="half")(x))
    y = layers.Flatten(name="flatten")(y)
    return keras.Model(x, layers.Dense(3, name="end")(y))


def deep():
    """A model in a model in a model, each of another kind."""
    inner = sequential(blocks(2), (8, 7, 4), "inner")
    middle = functional([*blocks(1), inner], SIZE, "middle")
    return keras.Sequential(
        [
            keras.Input(SIZE),
            layers.Rescaling(0.5, name="half"),
            middle,
            layers.Flatten(name="flatten"),
            layers.Dense(3, name="end"),
        ]
    )


def reloaded(tmp_path):
    deep().save(tmp_path / "deep.keras")
    return keras.models.load_model(tmp_path / "deep.keras")


CASES = {
    "functional": (lambda _: transfer(functional), "base/", "base/"),
    "sequential": (lambda _: transfer(sequential), "base/", "base/"),
    "deep": (lambda _: deep(), "middle/", "middle/inner/"),
    "reloaded": (reloaded, "middle/", "middle/inner/"),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """The flat network, the same nested, and where its blocks are."""
    make, *paths = CASES[request.param]
    model, expected = make(tmp_path), flat()
    model.set_weights(expected.get_weights())
    return expected, model, paths


def same(found, expected):
    size = np.abs(expected).max()
    assert size > 0
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * size)


def test_maps_of_units_and_scores(case):
    plain, nested, (path1, path2) = case
    pairs = [(class_score(2), class_score(2))]
    for name, there in ("conv1", path1), ("pool2", path2):
        options = [0, 1, 2, 3], (2, 1)
        pairs.append((unit(there + name, *options), unit(name, *options)))
    for inside, here in pairs:
        same(gradient(nested, IMAGES, inside), gradient(plain, IMAGES, here))
    for rule in "deconvnet", "guided":
        same(
            project(nested, IMAGES, inside, rule),
            project(plain, IMAGES, here, rule),
        )


def test_strongest_receptive_field_and_occlusion(case):
    plain, nested, (path1, path2) = case
    for name, there in ("conv1", path1), ("conv2", path2):
        for ours, theirs in zip(
            strongest(nested, IMAGES, there + name, top=3),
            strongest(plain, IMAGES, name, top=3),
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        for place in (0, 0), (5, 6):
            assert receptive_field(
                nested, there + name, place
            ) == receptive_field(plain, name, place)
    other = {"unit": unit(path2 + "conv2", 1)}
    there = occlusion(
        nested, IMAGES[0], class_score(1), patch=5, stride=5, also=other
    )
    here = occlusion(
        plain,
        IMAGES[0],
        class_score(1),
        patch=5,
        stride=5,
        also={"unit": unit("conv2", 1)},
    )
    same(there.heatmap, here.heatmap)
    same(there.also["unit"], here.also["unit"])


def test_noise_and_paths(case):
    plain, nested, (_, path2) = case
    for inside, here in (
        (class_score([0, 1, 2, 0]), class_score([0, 1, 2, 0])),
        (unit(path2 + "conv2", 1), unit("conv2", 1)),
    ):
        for there, flat_one in zip(
            smoothgrad(nested, IMAGES, inside, 0.3, samples=3),
            smoothgrad(plain, IMAGES, here, 0.3, samples=3),
        ):
            same(there, flat_one)
        there = integrated_gradients(nested, IMAGES, inside, "mean", steps=3)
        flat_one = integrated_gradients(plain, IMAGES, here, "mean", steps=3)
        same(there.attributions, flat_one.attributions)
        same(there.scores, flat_one.scores)


def test_grad_cam(case):
    plain, nested, (path1, path2) = case
    assert last_map(plain) == "conv2"
    assert last_map(nested) == path2 + "conv2"
    target = class_score([0, 1, 2, 0])
    found = grad_cam(nested, IMAGES, target)
    assert found.layer == path2 + "conv2"
    same(found.coarse, grad_cam(plain, IMAGES, target).coarse)
    for name in path1 + "conv1", path1.strip("/"):  # a layer, and a model
        here = "conv1" if name.endswith("conv1") else "pool2"
        found = grad_cam(nested, IMAGES, target, name)
        same(found.coarse, grad_cam(plain, IMAGES, target, here).coarse)
        same(found.heatmap, grad_cam(plain, IMAGES, target, here).heatmap)


def test_a_layer_that_is_called_twice_means_its_last_call():
    keras.utils.set_random_seed(0)
    x = keras.Input(SIZE)
    layer = layers.Conv2D(
        3, 3, padding="same", activation="relu", name="twice"
    )
    once = layer(x)
    model = keras.Model(x, layers.Flatten()(layer(layers.ReLU()(once))))
    again = layers.Conv2D(3, 3, padding="same", activation="relu", name="last")
    y = again(layers.ReLU()(layer(x)))
    plain = keras.Model(x, layers.Flatten()(y))
    again.set_weights(layer.get_weights())
    for rule in RULES:
        same(
            project(model, IMAGES, unit("twice", 1, (8, 7)), rule),
            project(plain, IMAGES, unit("last", 1, (8, 7)), rule),
        )
    assert receptive_field(model, "twice", (8, 7)) == (6, 5, 11, 10)


def test_a_base_that_other_models_use_too():
    base = functional(blocks(1), SIZE, "base")
    first, second = keras.Input(SIZE), keras.Input(SIZE)
    keras.Model(first, base(layers.Rescaling(9.0)(first)))
    model = keras.Model(second, base(layers.Rescaling(0.5)(second)))
    same(
        gradient(model, IMAGES, unit("base/conv1", 1)),
        0.5 * gradient(base, 0.5 * IMAGES, unit("conv1", 1)),
    )


def test_names_are_listed_and_a_subclassed_model_says_why_not():
    model = transfer(functional)
    with pytest.raises(ValueError, match="one of half, base, base/conv1,"):
        gradient(model, IMAGES, unit("conv1", 0))
    with pytest.raises(ValueError, match="got 'base/none'"):
        gradient(model, IMAGES, unit("base/none", 0))

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = flat()

        def call(self, x):
            return self.inner(x)

    own = Own()
    own(IMAGES)
    x = keras.Input(SIZE)
    around = keras.Model(x, own(x))
    for outer, path in (own, "conv1"), (around, f"{own.name}/conv1"):
        with pytest.raises(ValueError, match="subclassed model hides"):
            gradient(outer, IMAGES, unit(path, 0))
