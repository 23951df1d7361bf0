"""Whatever changes between two calls, the second is right; no model is kept,
changed, or in the way of another thread."""

import copy
import dataclasses
import gc
import pickle
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from bare_tape import bare
from keras import layers

from xai_utils.deconvnet import project, strongest
from xai_utils.grad_cam import grad_cam
from xai_utils.gradients import gradient, saliency
from xai_utils.integrated_gradients import integrated_gradients
from xai_utils.occlusion import occlusion
from xai_utils.smoothgrad import smoothgrad
from xai_utils.targets import class_score, loss, unit

pytestmark = pytest.mark.quick

IMAGES = np.random.default_rng(1).normal(size=(3, 6, 7, 3)).astype("float32")


def net(*end, dtype="float32"):
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 7, 3))
    y = layers.Conv2D(4, 3, name="conv", dtype=dtype)(x)
    y = layers.ReLU(name="relu", dtype=dtype)(y)
    y = layers.Dense(5, name="hidden", dtype=dtype)(layers.Flatten()(y))
    for layer in end or [layers.Dense(3, name="end", dtype=dtype)]:
        y = layer(y)
    return keras.Model(x, y)


def first(outputs):
    return outputs[:, 0]


def follows(model, target, function=None, images=IMAGES, rtol=1e-4):
    """Whether gradient and deconvnet agree with a bare tape."""
    expected = bare(model, function or target, images)
    size = np.abs(expected).max()
    assert size > 0
    for found in (
        gradient(model, images, target),
        project(model, images, target, "gradient"),
    ):
        np.testing.assert_allclose(found, expected, rtol, atol=rtol * size)
    clean = occlusion(model, images[0], target, patch=3, stride=3).baseline
    wanted = (function or target)(model(images[:1], training=False))
    assert clean == pytest.approx(float(wanted[0]), rel=1e-4, abs=1e-5)


# What a target captured.

K = 0


def global_class(outputs):
    return outputs[:, K]


def test_a_global_that_a_target_reads(monkeypatch):
    model = net()
    for k in range(3):
        monkeypatch.setitem(globals(), "K", k)
        follows(model, global_class, lambda outputs: outputs[:, K])


def test_a_variable_in_a_closure():
    model, k = net(), 0

    def target(outputs):
        return outputs[:, k]

    for k in range(3):  # noqa: B007, the target reads it
        follows(model, target)


def test_a_list_in_a_default_argument():
    model, at = net(), [0]

    def target(outputs, at=at):
        return outputs[:, at[0]]

    for at[0] in range(3):
        follows(model, target)


class Chosen:
    def __init__(self, k):
        self.k = k

    def __call__(self, outputs):
        return outputs[:, self.k]

    def score(self, outputs):
        return -outputs[:, self.k]


@dataclasses.dataclass
class Weighted:
    weights: list

    def __call__(self, outputs):
        return tf.linalg.matvec(outputs, tf.constant(self.weights))


def test_an_attribute_of_a_callable_object():
    model, target = net(), Chosen(0)
    for target.k in range(3):
        follows(model, target)
        follows(model, target.score)
    target = Weighted([1.0, 2.0, 3.0])
    follows(model, target)
    target.weights[1] = -5.0
    follows(model, target)


def test_a_loss_with_settings():
    model, truth = net(), np.zeros((3, 3), "float32")
    huber = keras.losses.Huber(delta=0.01)
    for delta in (0.01, 5.0):
        huber = keras.losses.Huber(delta)

        def plain(outputs, huber=huber):
            return huber.call(truth[: len(outputs)], outputs)

        expected = bare(model, plain, IMAGES)
        found = gradient(model, IMAGES, loss(huber, truth))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def random_share(outputs):
    return outputs[:, 0] * np.random.default_rng().random()


def test_a_random_number_is_drawn_anew():
    model = net()
    first_draw = gradient(model, IMAGES, random_share)
    assert (first_draw != gradient(model, IMAGES, random_share)).any()


# What changed in a model.


class Scaled(layers.Layer):
    """A layer of one's own, with an activation inside."""

    def __init__(self, **options):
        super().__init__(**options)
        self.factor, self.activation = 1.0, keras.activations.linear

    def call(self, x):
        return self.factor * self.activation(x)


def change_activation(model):
    model.get_layer("hidden").activation = keras.activations.tanh


def own_activation(model):
    model.get_layer("hidden").activation = lambda x: 2 * x


def cap(model):
    model.get_layer("relu").max_value = 0.1


def weights(model):
    model.set_weights([2 * w for w in model.get_weights()])


def low_rank(model):
    model.get_layer("hidden").enable_lora(2)
    kernel = model.get_layer("hidden").lora_kernel_b
    kernel.assign(np.ones(kernel.shape))


def own_call(model):
    layer = model.get_layer("hidden")
    layer.call = lambda x, **_: 3 * x[:, :5]


def own_call_of_the_model(model):
    call = model.call
    model.call = lambda x, **options: 2 * call(x, **options)


@pytest.mark.parametrize(
    "change",
    [
        change_activation,
        own_activation,
        cap,
        weights,
        low_rank,
        own_call,
        own_call_of_the_model,
    ],
)
def test_a_change_in_a_layer(change):
    model = net()
    follows(model, first)
    before = gradient(model, IMAGES, first)
    change(model)
    follows(model, first)
    assert np.abs(gradient(model, IMAGES, first) - before).max() > 1e-3


def noise_paths_and_maps(model, images, target):
    """What SmoothGrad, Integrated Gradients and Grad-CAM find."""
    noisy = smoothgrad(model, images, target, 0.5, samples=2)
    path = integrated_gradients(model, images, target, 0, steps=2)
    maps = grad_cam(model, images, target)
    return {
        "smoothgrad": noisy.mean,
        "integrated gradients": path.attributions,
        "its score": path.scores,
        "grad-cam": maps.coarse,
    }


@pytest.mark.parametrize(
    "change", [change_activation, weights, own_activation, own_call]
)
def test_noise_paths_and_maps_follow_a_change(change):
    model, fresh = net(), net()
    before = noise_paths_and_maps(model, IMAGES, first)
    for changed in model, fresh:
        change(changed)
    expected = noise_paths_and_maps(fresh, IMAGES, first)
    for name, found in noise_paths_and_maps(model, IMAGES, first).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=1e-6)
        assert np.abs(found - before[name]).max() > 1e-3, name


def test_the_same_change_twice():
    model = net()
    for factor in 1.0, 2.0, 3.0:
        model.get_layer("hidden").activation = lambda x, f=factor: f * x
        follows(model, first)


def test_a_dtype_policy():
    model = net()
    before = gradient(model, IMAGES, first)
    model.get_layer("conv").dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    after = gradient(model, IMAGES, first)
    np.testing.assert_allclose(
        after, bare(model, first, IMAGES), rtol=0.05, atol=0.01
    )
    assert np.abs(after - before).max() > 1e-4


def test_int8_weights():
    model = net()
    follows(model, first)
    model.quantize("int8")
    expected = bare(model, first, IMAGES)
    found = gradient(model, IMAGES, first)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    found = project(model, IMAGES, first, "gradient")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_leaky_slope_and_normalisation():
    leaky, normal = layers.LeakyReLU(), layers.Normalization()
    normal.build((None, 5))
    model = net(leaky, normal, layers.Dense(3))
    follows(model, first)
    leaky.negative_slope = 0.9
    follows(model, first)
    normal.adapt(np.random.default_rng(0).normal(3, 9, (50, 5)))
    follows(model, first)


def test_a_custom_layer_and_its_settings():
    own = Scaled()
    model = net(layers.Dense(3), own)
    follows(model, first)
    own.factor = 5.0
    follows(model, first)
    own.activation = keras.activations.tanh
    follows(model, first)


def test_another_head():
    model = keras.Sequential(
        [
            keras.Input((6, 7, 3)),
            layers.Conv2D(2, 3),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    follows(model, first)
    model.pop()
    model.add(layers.Dense(4, "tanh"))
    follows(model, first)


def test_a_model_inside_changes():
    inner = net()
    x = keras.Input((6, 7, 3))
    model = keras.Model(x, layers.Dense(3)(inner(x)))
    follows(model, first)
    inner.get_layer("end").activation = keras.activations.tanh
    follows(model, first)


def test_a_trained_and_a_loaded_model(tmp_path):
    model = net()
    follows(model, first)
    model.compile("sgd", "mse")
    model.fit(IMAGES, np.ones((3, 3)), verbose=0)
    follows(model, first)
    other = net()
    other.save_weights(tmp_path / "other.weights.h5")
    model.load_weights(tmp_path / "other.weights.h5")
    np.testing.assert_array_equal(
        gradient(model, IMAGES, first), gradient(other, IMAGES, first)
    )


# What is not compiled anew.


@pytest.fixture
def compilations(monkeypatch):
    made, real = [], tf.function

    def counted(*args, **options):
        if "input_signature" in options:  # Keras compiles small ones without
            made.append(1)
        return real(*args, **options)

    monkeypatch.setattr(tf, "function", counted)
    return made


def product(outputs, by=2.0):
    return by * outputs[:, 0] * tf.reduce_max(outputs, axis=1)


def test_nothing_is_compiled_twice(compilations):
    model = net()

    def explain_all(k):
        images = IMAGES[: k + 1]
        gradient(model, images, class_score(k))
        saliency(model, images, class_score([k] * (k + 1)))
        gradient(model, images, loss("mse", [[k, 2.0, 1.0]]))
        gradient(model, images, product)
        gradient(model, images, lambda outputs: outputs[:, 2])
        project(model, images, unit("conv", k, (k, k)))
        strongest(model, images, "conv", top=1)
        noise_paths_and_maps(model, images, class_score(k))
        noise_paths_and_maps(model, images, unit("relu", k, (k, k)))
        grad_cam(model, images, class_score(k), "conv", batch_size=k + 1)
        label = {"label": unit("conv", k)}
        for target in class_score(k), product:
            occlusion(
                model,
                images[0],
                target,
                patch=3,
                stride=2 + k // 2,
                fill=k,
                also=label,
            )

    explain_all(0)
    once = len(compilations)
    explain_all(1)
    explain_all(2)
    assert once == 15 and len(compilations) == once


def test_most_layers_of_keras_are_not_compiled_twice(compilations):
    x = keras.Input((8, 8, 3))
    y = layers.Normalization(mean=1.0, variance=2.0)(x) / 2.0
    y = layers.BatchNormalization()(layers.SeparableConv2D(4, 3)(y))
    y = layers.PReLU()(layers.SpatialDropout2D(0.1)(y))
    y = layers.LeakyReLU()(layers.RandomFlip()(y))
    y = layers.GroupNormalization(2)(y)
    y = layers.Reshape((36, 4))(layers.Activation(tf.nn.silu)(y))
    y = layers.MultiHeadAttention(2, 3)(y, y)
    y = layers.TimeDistributed(layers.Dense(3))(layers.LayerNormalization()(y))
    y = layers.Flatten()(y)
    model = keras.Model(x, layers.Softmax()(layers.Dense(3)(y)))
    for _ in range(3):
        gradient(model, np.ones((1, 8, 8, 3)), first)
    assert len(compilations) == 1


# What is kept.


def test_dropped_models_are_freed():
    alive = []
    for k in range(6):
        model = net()
        alive.append(weakref.ref(model))
        images = IMAGES[:1]
        gradient(model, images, class_score(0))
        gradient(model, images, lambda outputs, k=k: outputs[:, 0] + k)
        gradient(model, images, lambda outputs: outputs[:, 0] + k)  # noqa: B023
        for rule in "deconvnet", "guided":
            project(model, images, unit("conv", 0), rule)
        strongest(model, images, "conv", top=1)
        noise_paths_and_maps(model, images, class_score(0))
        occlusion(model, images[0], class_score(1), patch=3, stride=3)
        del model
    gc.collect()
    assert not any(reference() for reference in alive)


def test_a_model_that_was_explained_is_as_it_was(tmp_path):
    model = net()
    before = [weight.copy() for weight in model.get_weights()]
    keys = {layer.name: set(vars(layer)) for layer in model.layers}
    expected = gradient(model, IMAGES, unit("conv", 1))
    project(model, IMAGES, unit("conv", 1))
    occlusion(model, IMAGES[0], unit("conv", 1), patch=3, stride=3)
    noise_paths_and_maps(model, IMAGES, class_score(1))
    assert keys == {layer.name: set(vars(layer)) for layer in model.layers}
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    model.save(tmp_path / "model.keras")
    cloned = keras.models.clone_model(model)
    cloned.set_weights(before)
    for other in (
        cloned,
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        keras.models.load_model(tmp_path / "model.keras"),
    ):
        found = gradient(other, IMAGES, unit("conv", 1))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    keras.backend.clear_session()
    found = gradient(model, IMAGES, unit("conv", 1))
    np.testing.assert_array_equal(found, expected)


class OwnStatistics(keras.Model):
    """Batch statistics also after training, as some people's models do."""

    def __init__(self):
        super().__init__()
        self.norm = layers.BatchNormalization()
        self.flat, self.dense = layers.Flatten(), layers.Dense(3)

    def call(self, x):
        return self.dense(self.flat(self.norm(x, training=True)))


def test_no_variable_is_written():
    model = OwnStatistics()
    model(IMAGES)
    before = [weight.copy() for weight in model.get_weights()]
    gradient(model, IMAGES, first)
    project(model, IMAGES, first, "gradient")
    occlusion(model, IMAGES[0], first, patch=3, stride=3)
    smoothgrad(model, IMAGES, first, 0.5, samples=2)
    integrated_gradients(model, IMAGES, first, 0, steps=2)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)
