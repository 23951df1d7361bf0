"""The networks whose weights Keras fetches: with a Keras home that has
MobileNet's, ``KERAS_HOME=… pytest -m keras_weights``. Outside plain `pytest`,
which needs no network."""

import inspect

import keras
import numpy as np
import pytest

from xai_utils import networks
from xai_utils.data import photos

pytestmark = pytest.mark.keras_weights


@pytest.fixture(scope="module")
def mobilenet():
    return networks.photos_net("MobileNet")


@pytest.mark.parametrize(
    "sample, label, probability",
    [
        ("chelsea", "Egyptian cat", 0.63),
        ("coffee", "espresso", 0.94),
        ("motorcycle", "moped", 0.90),
        ("camera", "tripod", 0.99),
    ],
)
def test_mobilenet_knows_the_samples(mobilenet, sample, label, probability):
    pixels = photos.sample(sample, 224)[None].astype("float32")
    p = keras.ops.softmax(mobilenet(pixels)).numpy()[0]
    assert networks.labels(mobilenet)[p.argmax()] == label
    assert p.max() == pytest.approx(probability, abs=0.01)


def test_it_is_the_keras_model_with_its_soft_max_left_out(mobilenet):
    module = inspect.getmodule(keras.applications.MobileNet)
    plain = keras.applications.MobileNet(alpha=0.75)
    pixels = photos.sample("rocket", 224)[None].astype("float32")
    np.testing.assert_allclose(
        keras.ops.softmax(mobilenet(pixels)),
        plain(module.preprocess_input(pixels.copy())),
        atol=2e-3,
    )


def test_the_shipped_class_names_are_keras_s(mobilenet):
    decode = keras.applications.imagenet_utils.decode_predictions
    theirs = [top[0][1] for top in decode(np.eye(1000), top=1)]
    ours = [name.replace(" ", "_") for name in networks.labels(mobilenet)]
    assert ours == theirs
