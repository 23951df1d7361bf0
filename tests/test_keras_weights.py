"""The networks whose weights Keras fetches: with a Keras home that has
MobileNet's, ``KERAS_HOME=… pytest -m keras_weights``. Outside plain `pytest`,
which needs no network."""

import inspect

import keras
import numpy as np
import pytest

from xai_utils import networks
from xai_utils.data import photos
from xai_utils.occlusion import occlusion
from xai_utils.targets import class_probability, class_score

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


def test_reuse_equals_full_passes(mobilenet):
    """To 1e-4 of the range of each target, and what float32 does to it."""
    image = photos.sample("chelsea", 224)
    exact = networks.photos_net("MobileNet", dtype="float64")
    found = []
    for model, reuse in (
        (exact, False),
        (exact, True),
        (mobilenet, False),
        (mobilenet, True),
    ):
        asked = {"patch": 48, "stride": 40, "fill": "blur", "reuse": reuse}
        also = {"p": class_probability(285)}
        result = occlusion(model, image, class_score(285), **asked, also=also)
        assert result.method.startswith("reuse" if reuse else "full")
        found.append(np.stack([result.scores, result.also["p"]]))
    expected, reused, single, reused_single = found
    size = np.ptp(expected, axis=(1, 2), keepdims=True)
    assert (abs(reused - expected) <= 1e-9 * size).all()
    noise = abs(single - expected).max(axis=(1, 2), keepdims=True)
    assert (abs(reused_single - single) <= 1e-4 * size + 4 * noise).all()
