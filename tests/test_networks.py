"""The networks: right on unseen pictures, pixels in, logits out."""

import inspect
import warnings

import keras
import numpy as np
import pandas as pd
import pytest

from xai_utils import networks, photos, silhouettes, training


def end_of_curve(name, column):
    """The last number of a shipped learning curve."""
    curve = pd.read_csv(networks.WEIGHTS / f"{name}.csv")
    assert list(curve.epoch) == list(range(1, len(curve) + 1))
    return curve[column].iloc[-1]


def test_stickers_net_is_right_on_98_percent_of_unseen_pictures():
    found = training.accuracy(networks.stickers_net(), n=5_000)
    assert found >= 0.98
    assert end_of_curve("stickers", "val_accuracy") == pytest.approx(
        found, abs=0.01
    )


@pytest.mark.parametrize("population", ["independent", "correlated"])
def test_silhouettes_net_is_off_by_at_most_2_percent_of_the_range(population):
    model = networks.silhouettes_net(population)
    low, high = silhouettes.RANGES["waist"]
    found = training.error(model, population, n=2_000)
    assert found <= 0.02 * (high - low)
    assert end_of_curve(f"silhouettes_{population}", "val_mae") == (
        pytest.approx(found, abs=0.05)
    )


def test_shipped_weights_are_small():
    files = list(networks.WEIGHTS.glob("*.h5"))
    assert len(files) == 3
    for path in files:
        assert path.stat().st_size < 2_000_000


@pytest.mark.parametrize(
    "name",
    [
        "MobileNet",
        "MobileNetV2",
        "ResNet50V2",
        "VGG16",
        "DenseNet121",
        "EfficientNetB0",
        "MobileNetV3Small",
        "Xception",
    ],
)
def test_photos_net_is_the_keras_model_on_prepared_pixels(name):
    """Same seed, same random weights: only the preprocessing moved inside."""
    build = getattr(keras.applications, name)
    model = networks.photos_net(name, weights=None)
    side = model.input_shape[1]
    options = {"alpha": 0.75} if name == "MobileNet" else {}
    plain = build(weights=None, classifier_activation=None, **options)
    plain.set_weights(model.get_weights())
    pixels = (
        np.random.default_rng(0)
        .integers(0, 256, (1, side, side, 3))
        .astype("float32")
    )
    prepare = inspect.getmodule(build).preprocess_input
    expected = plain(prepare(pixels.copy())).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model(pixels).numpy()
    assert found.shape == (1, 1000) and np.abs(expected).max() > 0
    np.testing.assert_allclose(
        found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
    )
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


def test_photos_net_knows_the_samples(imagenet):
    model = networks.photos_net()
    names = networks.labels(model)
    for sample, label, probability in (
        ("chelsea", "Egyptian cat", 0.63),
        ("coffee", "espresso", 0.94),
        ("motorcycle", "moped", 0.90),
        ("camera", "tripod", 0.99),
    ):
        scores = model(photos.sample(sample, 224)[None].astype("float32"))
        p = keras.ops.softmax(scores).numpy()[0]
        assert names[p.argmax()] == label
        assert p.max() == pytest.approx(probability, abs=0.01)


def test_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
    def offline(*_, **__):
        raise Exception("URL fetch failure")

    module = inspect.getmodule(keras.applications.MobileNet)
    monkeypatch.setattr(module.file_utils, "get_file", offline)
    with pytest.raises(RuntimeError, match="can't be had.*URL fetch.*copy"):
        networks.photos_net()


def test_labels_and_bad_names():
    assert networks.labels(networks.stickers_net())[1] == "aeroplane"
    untrained = networks.silhouettes_net(weights=None)
    assert networks.labels(untrained) == ["waist in cm"]
    x = keras.Input((4,))
    with pytest.raises(ValueError, match="labels are known for"):
        networks.labels(keras.Model(x, keras.layers.Dense(3)(x)))
    for name in ("NoNet", "mobilenet", None):
        with pytest.raises(ValueError, match="a model of keras.applications"):
            networks.photos_net(name)
    with pytest.raises(ValueError, match="'correlated' or None; got 'dogs'"):
        networks.silhouettes_net("dogs")


def test_resnet_can_be_cut_where_notebook_08_says():
    """Trunk and last blocks, one after the other, are the whole network."""
    model = networks.photos_net("ResNet50V2", weights=None)
    cut, last = (
        model.get_layer(name).output
        for name in ("conv4_block6_out", "post_relu")
    )
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3))
    maps = keras.Model(model.input, cut)(pixels)
    whole = keras.Model(model.input, last)(pixels).numpy()
    np.testing.assert_allclose(
        keras.Model(cut, last)(maps), whole, atol=1e-4 * whole.max()
    )
