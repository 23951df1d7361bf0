"""The receptive field against the pixels that really change a unit."""

import keras
import numpy as np
import pytest
from keras import layers

from xai_utils import networks
from xai_utils.data import stickers
from xai_utils.deconvnet import strongest
from xai_utils.gradients import gradient
from xai_utils.receptive_field import receptive_field
from xai_utils.targets import unit

pytestmark = pytest.mark.quick


def linear_net(*middle, size=(17, 14)):
    """All weights are positive: what a unit sees has a positive gradient."""
    x = keras.Input((*size, 3))
    y = x
    for layer in middle:
        y = layer(y)
    model = keras.Model(x, y)
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    return model


def three_ways(x):
    return layers.Concatenate()(
        [layers.Conv2D(2, size, padding="same")(x) for size in (3, 5, 1)]
    )


@pytest.mark.parametrize(
    "middle",
    [
        [layers.Conv2D(2, 3)],
        [layers.Conv2D(2, 3, padding="same"), layers.AveragePooling2D(2)],
        [
            layers.Conv2D(2, (4, 3), strides=(2, 3), padding="same"),
            layers.Conv2D(2, 2, padding="same"),
        ],
        [layers.Conv2D(2, 3, dilation_rate=2), layers.AveragePooling2D(3, 2)],
        [
            layers.ZeroPadding2D(((2, 0), (1, 3))),
            layers.Conv2D(2, 3, strides=2),
        ],
        [
            layers.DepthwiseConv2D(3, strides=2, padding="same"),
            layers.BatchNormalization(),
            three_ways,
        ],
        [
            layers.SeparableConv2D(2, 3),
            lambda y: y / 3.0 + 1.0,
            layers.AveragePooling2D(3, padding="same", strides=2),
        ],
        [
            lambda x: keras.ops.stack([x[..., 2], x[..., 0]], axis=-1),
            layers.Conv2D(2, 3),
        ],
    ],
    ids=range(8),
)
def test_exactly_the_pixels_with_a_gradient(middle):
    model = linear_net(*middle)
    name = model.layers[-1].name
    rows, columns = model.output.shape[1:3]
    image = np.random.default_rng(0).uniform(1, 2, (1, 17, 14, 3))
    for row in range(rows):
        for column in range(columns):
            slopes = [
                gradient(model, image, unit(name, k, (row, column)))
                for k in range(model.output.shape[3])
            ]
            top, left, bottom, right = receptive_field(
                model, name, (row, column)
            )
            expected = np.zeros((17, 14), bool)
            expected[top:bottom, left:right] = True
            # With dilation there are gaps, but nothing outside is seen, and
            # the box is no larger than needed.
            seen = np.any(slopes, axis=(0, 1, 4))
            assert not (seen & ~expected).any()
            assert (
                expected.sum() == (np.ptp(np.nonzero(seen), axis=1) + 1).prod()
            )


@pytest.mark.parametrize(
    "layer", ["conv1", "pool1", "conv2", "conv3", "conv4", "pool4"]
)
def test_pixels_outside_change_nothing_for_the_strongest_units(layer):
    model = networks.stickers_net()
    images, _, _ = stickers.make(30, seed=7)
    found = strongest(model, images, layer, top=2)
    inner = keras.Model(model.input, model.get_layer(layer).output)
    channels = range(0, len(found.images), 5)
    changed, inside, want = [], [], []
    for channel in channels:
        for rank in range(2):
            image = images[found.images[channel, rank]].astype(np.float32)
            place = found.positions[channel, rank]
            top, left, bottom, right = receptive_field(model, layer, place)
            other = 255 - image
            other[top:bottom, left:right] = image[top:bottom, left:right]
            changed.append(other)
            inside.append((channel, *place))
            want.append(found.activations[channel, rank])
    features = inner.predict(np.stack(changed), verbose=0)
    got = [
        features[i, row, column, channel]
        for i, (channel, row, column) in enumerate(inside)
    ]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_what_the_weights_are_does_not_matter():
    model = linear_net(
        layers.Conv2D(2, 3, strides=2, padding="same", name="conv"),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, name="depth"),
        layers.Flatten(),
        layers.Dense(2, name="dense"),
    )
    before = receptive_field(model, "depth", (2, 1))
    assert before == (3, 2, 10, 9)  # rows 2 to 4 see 3 to 9, one row padded
    for factor in 0, -1:
        model.set_weights([factor * w for w in model.get_weights()])
        assert receptive_field(model, "depth", (2, 1)) == before
        assert receptive_field(model, "dense") == (0, 0, 17, 14)


def test_dense_layers_see_everything():
    model = networks.stickers_net()
    for layer in "hidden", "logits", "flatten":
        assert receptive_field(model, layer) == (0, 0, 96, 96)


def test_bad_arguments():
    model = networks.stickers_net()
    for arguments, message in (
        (("conv1", None), "position must be .* 96 × 96; got None"),
        (("conv1", (96, 0)), r"got \(96, 0\)"),
        (("conv1", (-1, 0)), r"got \(-1, 0\)"),
        (("hidden", (0, 0)), "position must be None"),
        (("nothing", (0, 0)), "layer must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            receptive_field(model, *arguments)
    odd = linear_net(layers.Conv2DTranspose(2, 3, name="up"))
    with pytest.raises(ValueError, match="what layer 'up' .* reads"):
        receptive_field(odd, "up", (0, 0))
    free = linear_net(
        layers.Conv2D(2, 3, strides=2, padding="same", name="same"),
        size=(None, None),
    )
    with pytest.raises(ValueError, match="fixed input size"):
        receptive_field(free, "same", (0, 0))
