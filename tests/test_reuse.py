"""Exact reuse: what full passes give, from the changed windows alone."""

import gc
import weakref
from functools import partial
from itertools import pairwise, product

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from keras import layers
from random_nets import FORMS, PIECES, floats, network, pieces, randomise

from xai_utils import networks, reuse
from xai_utils._core.changes import Place, spans
from xai_utils._core.fills import filler
from xai_utils._core.forward import forward
from xai_utils._core.reading import Reading, numbers
from xai_utils._core.runner import runner
from xai_utils.comparison import RESULTS
from xai_utils.data import photos, silhouettes, stickers
from xai_utils.occlusion import occlusion
from xai_utils.targets import (
    as_target,
    class_probability,
    class_score,
    loss,
    unit,
)

quick = pytest.mark.quick
exhaustive = pytest.mark.exhaustive


def an_image(shape, dtype="float64", seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def squares(y_true, outputs):
    return tf.reduce_mean((outputs - y_true) ** 2, axis=1)


def with_cut(model, image, targets, positions, patch, fill, cut, at_once):
    """The scores if the windows end at another cut than the cheapest: a
    share of all steps. Arrays `(targets, rows, columns)`."""
    image = image.astype(model.inputs[0].dtype)
    targets = [as_target(target) for target in targets]
    run = runner(model, forward, targets, image[None])
    plan = reuse.plan(run, positions, patch, 16)
    steps = len(plan.changes.steps)
    plan = plan._replace(cut=max(1, round(cut * steps)), at_once=at_once)
    covered = filler(image, fill, sigma=patch / 2)
    values, numbers = np.empty((len(targets), positions[..., 0].size)), []
    for at, results in reuse.scores(plan, run, image, positions, covered):
        numbers.extend(at)
        values[:, at] = results
    assert sorted(numbers) == list(range(values.shape[1]))  # each once
    return values.reshape(-1, *positions.shape[:2])


def agree(
    model, image, targets, patch, stride, fill, noise=0, cuts=(), own=True
):
    """Reuse with the cut of its own choice, and with others, gives what full
    passes give; `targets` is a dict.

    In float64 to 1e-9 of the range of the scores, in float32 to 1e-4 and the
    noise: for each target, what rounding does to its scores.
    """
    target, *_ = targets.values()
    asked = {"patch": patch, "stride": stride, "fill": fill, "also": targets}
    full = occlusion(model, image, target, **asked, reuse=False)
    assert full.method == "full passes"
    expected = np.stack(list(full.also.values()))
    share = {"float64": 1e-9, "float32": 1e-4}[model.inputs[0].dtype]
    rounding = 10 * np.finfo(model.inputs[0].dtype).eps
    tolerance = share * np.ptp(expected, axis=(1, 2)) + noise
    tolerance += rounding * np.abs(expected).max(axis=(1, 2)) + rounding
    tables = {
        cut: with_cut(
            *(model, image, targets.values(), full.positions),
            *(patch, fill, cut, at_once),
        )
        for cut, at_once in cuts
    }
    if own:
        found = occlusion(model, image, target, **asked, reuse=True)
        assert found.method.startswith("reuse")
        tables[found.method] = np.stack(list(found.also.values()))
        np.testing.assert_array_equal(found.positions, full.positions)
        np.testing.assert_allclose(
            found.heatmap, full.heatmap, rtol=0, atol=2 * tolerance[0]
        )
    for way, table in tables.items():
        off = np.abs(table - expected).max(axis=(1, 2))
        assert (off <= tolerance).all(), (way, off, tolerance)


def noise_of(model, exact, image, targets, patch, stride, fill):
    """What float32 does to the scores of full passes."""
    found = [
        occlusion(
            each,
            image,
            next(iter(targets.values())),
            patch=patch,
            stride=stride,
            fill=fill,
            also=targets,
            reuse=False,
        ).also
        for each in (model, exact)
    ]
    off = [np.abs(found[0][name] - found[1][name]).max() for name in targets]
    return 4 * np.array(off)


@some.composite
def occlusions(draw):
    """Image size, patch, stride, fill."""
    shape = [draw(some.integers(8, 21)), draw(some.integers(8, 21))]
    shape.append(draw(some.integers(1, 3)))
    patch = draw(some.integers(1, 8))
    stride = draw(some.integers(max(1, patch // 2), patch))
    fill = draw(some.sampled_from([0.5, "colour", "mean", "blur"]))
    if fill == "colour":
        fill = [0.5, -1, 0.25][: shape[2]]
    return shape, patch, stride, fill


def random_network(pieces, form, end, asked, dtype, several, cuts, own=True):
    shape, patch, stride, fill = asked
    model, path = network(pieces, shape, form, end, dtype)
    image = an_image(shape)
    targets = {
        "score": class_score(1),
        "probability": class_probability(2),
        "loss": loss(squares, [[1.0, 0.5, -1.0]]),
        "map": unit(path, 1),
        "unit": unit(path, 0, (0, 0)),
    }
    if several < len(targets):
        name = [*targets][several]
        targets = {name: targets[name]}
    noise = 0
    if dtype == "float32":
        exact, _ = network(pieces, shape, form, end, "float64")
        exact.set_weights(model.get_weights())
        noise = noise_of(model, exact, image, targets, patch, stride, fill)
    agree(model, image, targets, patch, stride, fill, noise, cuts, own)


anything = given(
    pieces=pieces,
    form=some.sampled_from(FORMS),
    end=some.integers(0, 3),
    asked=occlusions(),
    dtype=some.sampled_from(["float64", "float64", "float32"]),
    several=some.integers(0, 6),
    cuts=some.tuples(
        some.just((1.0, 5)),
        some.tuples(some.floats(0, 1), some.integers(1, 70)),
    ),
)
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@settings(calm, max_examples=18, derandomize=True)
@anything
def test_random_networks(cuts, **options):
    """As many windows as there can be, and no other cut: it must be quick."""
    random_network(**options, cuts=cuts[:1], own=False)


@exhaustive
@settings(calm, max_examples=200)
@anything
def test_many_random_networks(**options):
    random_network(**options)


def conv(y, size=3, filters=3):
    return layers.Conv2D(filters, size, padding="same")(y)


def by_rows(y):
    return layers.Concatenate(axis=1)([y, conv(y, filters=2)])


def padded_pool(kind):
    """A pooling whose own border lies around zeros that count."""
    return lambda y: kind(3, 2, "same")(layers.ZeroPadding2D(1)(conv(y)))


def smaller_below_larger(y):
    """The first branch reaches up and left, the second down and right."""
    up = layers.ZeroPadding2D(((2, 0), (2, 0)))(y)
    down = layers.ZeroPadding2D(((0, 2), (0, 2)))(y)
    up, down = (layers.Conv2D(2, 3)(each) for each in (up, down))
    return layers.Concatenate()([up, down, y])


def strided_join(y):
    """Both are strided, and reach from other sides."""
    up = layers.Conv2D(2, 4, 2, padding="same")(y)
    down = layers.Conv2D(2, 2, 2, padding="same")(y)
    wide = layers.AveragePooling2D(5, 2, "same")(y)
    return layers.Add()([up, down, conv(wide, 1, 2)])


def constant_map(y):
    """Something that is not the same everywhere."""
    ramp = np.linspace(0, 1, y.shape[1]).reshape(-1, 1, 1)
    return layers.Lambda(lambda t: t * tf.constant(ramp, t.dtype))(y)


def one_place_everywhere(y):
    """A map of one place is spread over another."""
    place = layers.GlobalMaxPooling2D(keepdims=True)(y)
    place = layers.Conv2D(2, 1)(place)
    other = layers.Conv2D(2, y.shape[1:3])(y)  # 1 × 1, and followed
    y = layers.Add()([conv(y, filters=2), other])
    return layers.Add()([y, place])


def without_row_means(y):
    return layers.Lambda(lambda t: t - tf.reduce_mean(t, [2, 3], True))(y)


SPECIAL = {
    "row means": without_row_means,
    "rows": by_rows,
    "padded max": padded_pool(layers.MaxPooling2D),
    "padded mean": padded_pool(layers.AveragePooling2D),
    "both sides": smaller_below_larger,
    "strides": strided_join,
    "a constant map": constant_map,
    "slopes by place": lambda y: layers.PReLU()(conv(y)),
    "squeeze-excite": lambda y: PIECES["squeeze_excite"](conv(y), 0),
    "over channels": lambda y: layers.LayerNormalization()(conv(y)),
    "soft-max": lambda y: layers.Softmax()(conv(y)),
    "soft-max over rows": lambda y: layers.Softmax(axis=1)(conv(y)),
    "normed by rows": lambda y: layers.BatchNormalization(axis=1)(conv(y)),
    "one place": one_place_everywhere,
    "means": lambda y: layers.AveragePooling2D(3, 1, "same")(
        layers.AveragePooling2D((2, 3), 2, "same")(y)
    ),
    "maxima below zero": lambda y: layers.MaxPooling2D(3, 2, "same")(
        layers.Rescaling(1.0, offset=-9.0)(conv(y))
    ),
    "padding alone": lambda y: layers.ZeroPadding2D(((1, 2), (0, 3)))(conv(y)),
    "padding twice": lambda y: layers.Conv2D(3, 3, padding="same")(
        layers.ZeroPadding2D(((1, 2), (0, 3)))(y)
    ),
    "holes": lambda y: layers.Lambda(
        lambda t: tf.nn.conv2d(
            t, tf.ones((3, 2, 2, 1), t.dtype), 1, "SAME", None, (2, 3)
        )
    )(y),
    "silu": lambda y: conv(layers.Activation("silu")(conv(y))),
}


@quick
@pytest.mark.parametrize("name", SPECIAL)
def test_networks_that_invite_a_mistake(name):
    with floats("float64"):
        keras.utils.set_random_seed(0)
        x = keras.Input((11, 14, 2))
        y = layers.Activation("tanh")(SPECIAL[name](layers.Rescaling(2.0)(x)))
        y = layers.Conv2D(2, 2, 2, "same")(y)
        y = layers.Dense(3)(layers.GlobalAveragePooling2D()(y))
        model = keras.Model(x, y)
    randomise(model)
    targets = {"score": class_score(1)}
    image = an_image((11, 14, 2))
    agree(model, image, targets, 3, 2, [0.5, 2], cuts=[(1.0, 4)], own=False)


# Real architectures.


def architecture(name, shape, dtype="float64"):
    with floats(dtype):
        keras.utils.set_random_seed(0)
        pixels = keras.Input(shape)
        model = getattr(keras.applications, name)(
            weights=None,
            input_tensor=layers.Rescaling(1 / 127.5, offset=-1)(pixels),
            classifier_activation=None,
            classes=5,
        )
        if name != "VGG16":  # no batch-norm in it
            randomise(model)
        return model


ARCHITECTURES = {
    "VGG16": "layer 'flatten' (Reshape)",
    "ResNet50": "",
    "MobileNetV2": "",
    "DenseNet121": "",
    "InceptionV3": "",
    "EfficientNetB0": "block1a_se_excite",
}


@exhaustive
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures(name):
    shape = (96, 80, 3)
    model = architecture(name, shape)
    image = np.random.default_rng(0).uniform(0, 255, shape)
    targets = {"score": class_score(1), "probability": class_probability(4)}
    for patch, stride, fill, cut in (
        (17, 16, "blur", 1.0),
        (30, 22, (10, 250, 90), 0.6),
    ):
        cuts = [(cut, 7)]
        agree(model, image, targets, patch, stride, fill, cuts=cuts)
    run = runner(model, forward, [as_target(class_score(1))], image[None])
    some_positions = np.zeros((1, 1, 2), int)
    stop = reuse.plan(run, some_positions, 8, 4).changes.stop
    assert (ARCHITECTURES[name] in stop) if ARCHITECTURES[name] else not stop


SHIPPED = {
    "SqueezeNet": lambda dtype: (
        networks.photos_net(dtype=dtype),
        photos.sample("chelsea", 224),
    ),
    "stickers_net": lambda dtype: (
        networks.stickers_net(dtype=dtype),
        stickers.make(1, seed=3)[0][0],
    ),
    "silhouettes_net": lambda dtype: (
        networks.silhouettes_net(dtype=dtype),
        silhouettes.make(1, seed=3)[0][0],
    ),
}


def first(outputs):
    return outputs[:, 0]


@exhaustive
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks(name, dtype):
    model, image = SHIPPED[name](dtype)
    exact, _ = SHIPPED[name]("float64")
    targets = {"score": first}
    if model.output.shape[1] > 1:
        targets = {"score": class_score(1), "p": class_probability(7)}
    for patch, stride, fill in ((32, 24, "blur"), (19, 19, 127)):
        noise = 0
        if dtype == "float32":
            noise = noise_of(model, exact, image, targets, patch, stride, fill)
        cuts = [(1.0, 16)]
        agree(model, image, targets, patch, stride, fill, noise, cuts)


# Geometry.


def places_of(model, image):
    """All places, and the number of that of the model's output, a map."""
    run = runner(model, forward, [as_target(largest)], image[None])
    positions = np.zeros((1, 1, 2), int)
    changes = reuse.plan(run, positions, 1, 1).changes
    assert "Max" in changes.stop  # not earlier
    return changes.places, changes.steps[-1].place


def largest(outputs):
    return tf.reduce_max(outputs, axis=[1, 2, 3])


SPREADING = {"conv", "depthwise", "pool", "zeros", "explicit", "branches"}


def positive(piece):
    """No branch takes away what another one adds."""
    name, (a, _, c, _, e) = piece
    if name == "zeros":
        return e < 2 and c < 5  # and a convolution reads it
    if name == "conv":
        return c < 5  # Keras turns the map inside out for holes
    return name != "branches" or a in (0, 3, 5)


spreading = (
    pieces.map(
        lambda drawn: [
            piece
            for piece in drawn
            if piece[0] in SPREADING and positive(piece)
        ]
    )
    .filter(bool)
    .map(lambda drawn: drawn[:4])
)


@quick
@settings(calm, max_examples=12, derandomize=True)
@given(drawn=spreading, sides=some.tuples(*[some.integers(8, 19)] * 2))
def test_windows_are_what_ones_reach(drawn, sides):
    """Weights of one carry each change on, and to nowhere else."""
    with floats("float64"):
        x = keras.Input((*sides, 1))
        y = x
        for name, numbers in drawn:
            y = PIECES[name](y, *numbers)
        model = keras.Model(x, y)
    model.set_weights(
        [np.full(w.shape, float(w.ndim > 1)) for w in model.get_weights()]
    )
    places, last = places_of(model, an_image((*sides, 1)))
    for patch in 1, 3:
        corners = list(product(*(range(s - patch + 1) for s in sides)))
        pictures = np.zeros((len(corners), *sides, 1))
        for picture, (top, left) in zip(pictures, corners):
            picture[top : top + patch, left : left + patch] = 1
        reached = model(pictures).numpy().any(axis=-1)
        for axis in 0, 1:
            starts = np.array(corners)[:, axis]
            low, high = spans(places, axis, starts, starts + patch)
            found = low[last], high[last]
            length = reached.shape[1 + axis]
            assert (found[0] >= 0).all() and (found[1] <= length).all()
            assert (found[1] > found[0]).all()
            there = reached.any(axis=2 - axis)
            for begin, end, row in zip(*found, there):
                if row.any():
                    at = np.flatnonzero(row)
                    assert begin <= at[0] and at[-1] < end
                    # A kernel with holes may leave out the first, or last.
                    exact = (begin, end) == (at[0], at[-1] + 1)
                    assert exact or "explicit" in dict(drawn)


@quick
def test_krypton_s_formulas_for_one_layer():
    for kernel, stride, before, length, width in product(
        (1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (9, 14), (1, 4)
    ):
        if before >= kernel:
            continue
        size = (length + before - kernel) // stride + 1
        place = Place(
            (0,), (kernel,) * 2, (stride,) * 2, ((before, 0),) * 2, (size,) * 2
        )
        pixels = Place((), (1, 1), (1, 1), ((0, 0),) * 2, (length,) * 2)
        x = np.arange(length - width + 1)
        low, high = spans([pixels, place], 1, x, x + width)
        start = np.maximum(np.ceil((before + x - kernel + 1) / stride), 0)
        most = np.ceil((width + kernel - 1) / stride)
        inside = start < size  # else no kernel reaches them
        assert (low[1] == start)[inside].all()
        assert (high[1] - low[1] <= most).all()
        # The last that is changed reads a changed pixel, the next none.
        end = high[1][inside]
        assert ((end - 1) * stride - before < (x + width)[inside]).all() or (
            stride > kernel
        )
        beyond = end * stride - before >= (x + width)[inside]
        assert (beyond | (end == size)).all()
        starts = np.stack([[x, x], [low[1], low[1]]]).transpose(0, 2, 1)
        widths = np.full((2, 2), [[width], [1]])
        reading = Reading((length,) * 2, None, 1, place)
        read = numbers(reading, starts, widths)
        assert read.shape[1:] == (kernel, kernel)
        columns = read[:, 0, 0] % (length + before) - before
        np.testing.assert_array_equal(columns, low[1] * stride - before)


@quick
def test_numbers_by_hand():
    """A map of 3 × 4 with zeros above and left of it: 4 × 5 pixels, and then
    two windows of 1 × 2."""
    place = Place((0,), (2, 2), (1, 1), ((1, 0), (1, 0)), (3, 4))
    starts = np.array([[[1, 1], [0, 2]], [[1, 1], [0, 3]]])
    sizes = np.array([[1, 2], [1, 1]])
    read = numbers(Reading((3, 4), 0, 1, place), starts, sizes)
    assert read.dtype == np.int32
    assert read.tolist() == [[[6, 7], [11, 20]], [[3, 4], [22, 23]]]
    clean = numbers(Reading((3, 4), None, 1, place), starts, sizes)
    assert clean.tolist() == [[[6, 7], [11, 12]], [[3, 4], [8, 9]]]
    same = numbers(Reading((3, 4), 0, 1), starts, sizes)
    assert same.tolist() == [[[12]], [[15]]]
    everything = numbers(Reading((3, 4), 0, None), starts, sizes)
    assert everything.tolist() == [
        [[0, 1, 2, 3], [4, 12, 13, 7], [8, 9, 10, 11]],
        [[0, 1, 14, 15], [4, 5, 6, 7], [8, 9, 10, 11]],
    ]
    strided = place._replace(stride=(2, 2), kernel=(2, 3), shape=(2, 2))
    starts = np.array([[[1, 1], [0, 2]], [[1, 0], [0, 0]]])
    sizes = np.array([[1, 2], [1, 2]])
    read = numbers(Reading((3, 4), 0, 1, strided), starts, sizes)
    assert read.tolist() == [
        [[10, 11, 20, 21, 14], [15, 16, 17, 18, 19]],
        [[0, 1, 2, 3, 4], [5, 6, 7, 22, 23]],
    ]


# Never stale, nothing kept, nothing compiled again.


def small_net(seed=0):
    keras.utils.set_random_seed(seed)
    x = keras.Input((15, 18, 3))
    y = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    y = layers.BatchNormalization()(y)
    y = layers.MaxPooling2D(3, 2, "same")(layers.LeakyReLU()(y))
    y = layers.DepthwiseConv2D(3, padding="same", name="depth")(y)
    y = layers.AveragePooling2D(2, 1, "same")(y)
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(3)(y))
    randomise(model, seed)
    return model


IMAGE = an_image((15, 18, 3), "float32")


def table(model, image=IMAGE, target=None, patch=4, stride=3, fill=0.5, on=1):
    target = target or class_score(1)
    also = {"unit": unit("conv", 2)}
    found = occlusion(
        model,
        image,
        target,
        patch=patch,
        stride=stride,
        fill=fill,
        also=also,
        reuse=bool(on),
    )
    return np.append(found.scores, found.also["unit"])


def as_fresh(model, **options):
    """Reuse on a model that was explained before, full passes on a new one."""
    fresh = small_net()
    fresh.set_weights(model.get_weights())
    found, expected = table(model, **options), table(fresh, **options, on=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)
    return found


def new_weights(model):
    model.set_weights([1.5 * w + 0.1 for w in model.get_weights()])


def one_step(model):
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.train_on_batch(IMAGE[None], np.ones((1, 3)))


def new_statistics(model):
    norm = model.layers[2]
    norm.moving_mean.assign(norm.moving_mean + 1.0)


@quick
@pytest.mark.parametrize("change", [new_weights, one_step, new_statistics])
def test_changed_weights(change):
    model = small_net()
    before = as_fresh(model)
    change(model)
    assert np.abs(as_fresh(model) - before).max() > 1e-3


@quick
def test_another_image_target_patch_fill():
    model, seen = small_net(), []
    for options in (
        {},
        {"image": 2 * IMAGE[::-1]},
        {"target": class_score(2)},
        {"target": class_probability(1)},
        {"target": loss(squares, [[1.0, 2.0, 3.0]])},
        {"target": loss(squares, [[5.0, 2.0, 3.0]])},
        {"patch": 7},
        {"patch": 7, "stride": 5},
        {"fill": "blur"},
        {},
    ):
        seen.append(as_fresh(model, **options))
    for one, other in pairwise(seen):
        shapes_differ = len(one) != len(other)
        assert shapes_differ or np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(seen[0], seen[-1])


@pytest.fixture
def compilations(monkeypatch):
    made, real = [], tf.function

    def counted(*args, **options):
        if "input_signature" in options:  # Keras compiles small ones without
            made.append(1)
        return real(*args, **options)

    monkeypatch.setattr(tf, "function", counted)
    return made


@quick
def test_nothing_is_compiled_twice_and_nothing_grows(compilations):
    model = small_net()
    table(model)
    assert len(compilations) == 3  # the step; clean maps and windows

    def explain(k):
        target = class_score(k % 3)
        image = IMAGE * (1 + k)
        table(model, image, target, fill=[k, 0.5, "mean", "blur"][k % 4])

    for k in range(4):
        explain(k)
    gc.collect()
    before = len(gc.get_objects())
    for k in range(50):
        explain(k)
    gc.collect()
    assert len(compilations) == 3
    assert len(gc.get_objects()) - before < 50
    new_weights(model)  # variables: the graph reads them
    as_fresh(model)
    assert len(compilations) == 3 + 1  # the fresh model's step


@quick
def test_a_dropped_model_is_freed():
    model = small_net()
    reference = weakref.ref(model)
    table(model)
    table(model, patch=5)
    del model
    gc.collect()
    assert reference() is None


# What is said about it.


def row(*steps, shape=(16, 16, 3)):
    keras.utils.set_random_seed(0)
    x = y = keras.Input(shape)
    for step in steps:
        y = step(y)
    return keras.Model(x, y)


def method(model, reuse, patch=4, stride=4):
    image = an_image(model.input_shape[1:], "float32")
    return occlusion(
        model, image, first, patch=patch, stride=stride, reuse=reuse
    ).method


CONV = partial(layers.Conv2D, 2, 3, padding="same")


@quick
def test_method():
    end = layers.GlobalAveragePooling2D(), layers.Dense(3)
    model = row(CONV(), layers.ReLU(), *end)
    assert method(model, False) == "full passes"
    assert method(model, None) == "full passes"  # for so little work
    assert method(model, True) == "reuse"
    for name, kind, step in (
        ("stop", "StridedSlice", layers.Cropping2D(1, name="stop")),
        ("flat", "Reshape", layers.Flatten(name="flat")),
        ("largest", "Max", layers.GlobalMaxPooling2D(name="largest")),
    ):
        fresh = layers.GlobalAveragePooling2D(), layers.Dense(3)
        last = fresh if name == "stop" else ()
        model = row(layers.Conv2D(16, 3, name="before"), step, *last)
        said = f"reuse; whole maps from layer '{name}' ({kind}) on"
        assert method(model, True, 2, 2) == said


@quick
def test_method_names_the_first_whole_map():
    model = row(
        layers.Conv2D(2, 3, name="a"),
        layers.ReLU(name="r"),
        layers.Conv2D(2, 3, name="b"),
        layers.GlobalAveragePooling2D(),
    )
    image = an_image((16, 16, 3), "float32")
    run = runner(model, forward, [as_target(first)], image[None])
    plan = reuse.plan(run, np.zeros((1, 1, 2), int), 3, 4)
    said = [plan._replace(cut=cut).method for cut in (2, 3)]
    assert said == [
        "reuse; whole maps from layer 'r' (Relu) on",
        "reuse; whole maps from layer 'b' (Conv2D) on",
    ]


@quick
def test_the_cut_is_before_the_end_where_windows_fill_the_map():
    model = row(
        *(CONV(name=f"conv{n}") for n in range(8)),
        layers.GlobalAveragePooling2D(),
    )
    said = method(model, True, 6, 5)
    assert said.startswith("reuse; whole maps from layer 'conv")
    assert said.endswith("(Conv2D) on") or said.endswith("(BiasAdd) on")


@quick
@pytest.mark.parametrize(
    "step, said",
    [
        (layers.Flatten(name="flat"), "layer 'flat' (Reshape)"),
        (layers.UpSampling2D(name="up"), "layer 'up/Repeat' ("),
        (layers.GlobalMaxPooling2D(name="top"), "layer 'top' (Max)"),
        (
            layers.LayerNormalization(name="norm"),
            "layer 'norm/moments' (Mean)",
        ),
        (
            layers.Conv2D(3, 3, groups=3, name="groups"),
            "layer 'groups' (StatefulPartitionedCall)",
        ),
    ],
)
def test_a_first_layer_that_changes_everywhere(step, said):
    model = row(step, layers.Flatten(name="flat2"), layers.Dense(2))
    with pytest.raises(ValueError) as caught:
        method(model, True)
    assert "reuse=True needs" in str(caught.value)
    assert said in str(caught.value)
    assert method(model, None) == "full passes"


@quick
@pytest.mark.parametrize("given", ["yes", 2, 0.5, [True], {}, np.ones(2)])
def test_bad_reuse(given):
    with pytest.raises((ValueError, TypeError), match="reuse must be"):
        method(small_net(), given)


@quick
def test_numpy_s_false_forbids_it_too():
    """On a model where it pays."""
    model = networks.stickers_net(weights=None)
    image = stickers.make(1, seed=0)[0][0]
    asked = {"patch": 12, "stride": 4, "fill": 127}
    allowed = occlusion(model, image, first, **asked)
    assert allowed.method.startswith("reuse; whole maps from layer '")
    forbidden = occlusion(model, image, first, **asked, reuse=np.bool_(False))
    assert forbidden.method == "full passes"
    off = np.abs(allowed.scores - forbidden.scores).max()
    assert off <= 1e-4 * np.ptp(forbidden.scores)


@quick
def test_any_image_size_and_several_outputs():
    keras.utils.set_random_seed(0)
    x = keras.Input((None, None, 2))
    y = layers.Conv2D(3, 3, 2, activation="tanh", name="map")(x)
    end = layers.Dense(2)(layers.GlobalAveragePooling2D()(y))
    model = keras.Model(x, {"map": y, "end": end})

    def both(outputs):
        return outputs["end"][:, 1] + outputs["map"][:, 1, 2, 0]

    for shape in (11, 14, 2), (16, 9, 2):
        agree(model, an_image(shape), {"both": both}, 3, 2, "mean", 1e-6)


@quick
def test_half_precision():
    with floats("mixed_float16"):
        half = small_net()
    single = small_net()
    half.set_weights(single.get_weights())
    found, expected = table(half), table(single, on=0)
    off = np.abs(found - expected)
    assert off.max() <= 0.02 * np.abs(expected).max()


def test_where_reuse_is_chosen_it_was_measured_to_be_faster():
    """The table of notebook 12, which its benchmark wrote."""
    table = pd.read_csv(RESULTS / "occlusion_costs.csv")
    found = table[table["way"] == "reuse"]
    rows = -(-(found["size"] - found["patch"]) // found["stride"]) + 1
    assert (found["positions"] == rows**2).all()
    chosen = found["chosen"].astype(bool)
    assert chosen.any() and not chosen.all()
    assert (found["ratio"][chosen] <= 1.05).all()
    assert (found["multiply-adds"] < 1).all()


@quick
def test_a_map_that_is_the_kernel_of_a_convolution():
    """Its sizes are not known, and what it changes is everywhere."""
    keras.utils.set_random_seed(0)
    fixed = an_image((1, 16, 16, 12), "float32")
    x = keras.Input((12, 12, 3))
    y = layers.Conv2D(4, 3, padding="same")(x)

    def seen(t):
        made = tf.nn.conv2d(fixed, t, 1, "SAME")
        return tf.reduce_mean(made, [1, 2]) * tf.reduce_max(t, [1, 2])

    model, image = (
        keras.Model(x, layers.Lambda(seen)(y)),
        an_image((12, 12, 3)),
    )

    def first_output(outputs):
        return outputs[:, 0]

    asked = {"patch": 3, "stride": 3, "batch_size": 1}
    found = occlusion(model, image, first_output, **asked)
    plain = occlusion(model, image, first_output, **asked, reuse=False)
    np.testing.assert_array_equal(found.scores, plain.scores)
