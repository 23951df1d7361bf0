"""What the helpers cost over the bare network: times and memory.

``python -m pytest tests/benchmarks/bench_speed.py -s`` prints the table. Not
part of plain ``pytest``: times need a quiet machine. Every ratio is taken
within one run, of medians of five rounds in which both sides take turns.
"""

import statistics
import subprocess
import sys
import time
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from xai_utils import networks
from xai_utils.deconvnet import project
from xai_utils.grad_cam import grad_cam
from xai_utils.gradients import gradient, saliency
from xai_utils.integrated_gradients import integrated_gradients
from xai_utils.occlusion import occlusion
from xai_utils.smoothgrad import smoothgrad
from xai_utils.targets import class_score

MEMORY = """
import sys
import numpy as np
from xai_utils import networks
from xai_utils.occlusion import occlusion
from xai_utils.targets import class_score
model = networks.photos_net(weights=None)
image = np.random.default_rng(0).integers(0, 256, (224, 224, 3))
patch, stride, batch, reuse = map(int, sys.argv[1:])
found = occlusion(
    model,
    image,
    class_score(0),
    patch=patch,
    stride=stride,
    batch_size=batch,
    reuse=bool(reuse),
)
peak, = (line for line in open("/proc/self/status") if "VmHWM" in line)
print(found.scores.size, peak.split()[1])
"""


@pytest.fixture(scope="module")
def model():
    return networks.photos_net(weights=None)


@pytest.fixture(scope="module")
def photographs():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (625, 224, 224, 3)).astype(np.float32)


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def take_turns(first, second, rounds=5):
    """Median seconds of both."""
    first(), second()
    times = [(seconds(first), seconds(second)) for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times)]


def report(what, ours, bare, unit="s"):
    print(
        f"\n{what:45} {ours:9.3f} {unit}  bare {bare:9.3f} {unit}"
        f"  ratio {ours / bare:.3f}"
    )
    return ours / bare


def test_occlusion_over_bare_forward_passes(model, photographs):
    forward = tf.function(
        lambda x: model(x, training=False),
        input_signature=[tf.TensorSpec((None, 224, 224, 3))],
    )

    def bare(batch):
        for start in range(0, 625, batch):
            forward(tf.constant(photographs[start : start + batch])).numpy()

    bare(16)
    trials = {
        batch: min(seconds(partial(bare, batch)) for _ in range(2))
        for batch in (4, 8, 16, 32, 64)
    }
    best = min(trials, key=trials.get)
    print(
        "\nbare forward pass, by batch size:",
        {batch: round(value, 2) for batch, value in trials.items()},
    )
    plain, ours = take_turns(
        lambda: bare(best),
        lambda: occlusion(
            model, photographs[0], class_score(3), patch=32, stride=8, fill=127
        ),
    )
    assert report("occlusion, 625 positions", ours, plain) <= 1.10


@pytest.fixture(scope="module")
def tape(model):
    return bare_tape(model)


def bare_tape(model):
    """The gradient of one class, compiled, and nothing else."""

    @tf.function(input_signature=[tf.TensorSpec((None, 224, 224, 3))])
    def bare(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = model(x, training=False)[:, 3]
        return tape.gradient(score, x)

    return bare


def test_saliency_over_bare_forward_and_backward(model, photographs, tape):
    image = photographs[:1]
    plain, ours = take_turns(
        lambda: [tape(tf.constant(image)).numpy() for _ in range(20)],
        lambda: [saliency(model, image, class_score(3)) for _ in range(20)],
    )
    assert report("saliency of one image, 20 times", ours, plain) <= 1.10


@pytest.fixture(scope="module")
def best_batch(tape, photographs):
    """Of the bare tape."""
    hundred = partial(passes, tape, photographs[:100])
    hundred(16)
    trials = {
        batch: min(seconds(partial(hundred, batch)) for _ in range(2))
        for batch in (4, 8, 16, 32)
    }
    print(
        "\nbare gradient, 100 passes, by batch size:",
        {batch: round(value, 2) for batch, value in trials.items()},
    )
    return min(trials, key=trials.get)


def passes(tape, pictures, batch):
    for start in range(0, len(pictures), batch):
        tape(tf.constant(pictures[start : start + batch])).numpy()


METHODS = {
    "SmoothGrad": lambda *args: smoothgrad(*args, sigma=25, samples=50),
    "Integrated Gradients": lambda *args: integrated_gradients(
        *args, baseline=127, steps=50
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_fifty_gradients_over_a_bare_tape(
    method, model, photographs, tape, best_batch
):
    """Eight images: what the noise costs is shared by all of them."""
    plain, ours = take_turns(
        lambda: passes(tape, photographs[:400], best_batch),
        lambda: METHODS[method](model, photographs[:8], class_score(3)),
        rounds=3,
    )
    assert report(f"{method} 50, 8 images", ours, plain) <= 1.05


FOLDED = {
    "gradient": lambda model, images, target: gradient(
        model, images, target, batch_size=16
    ),
    **METHODS,
}


@pytest.mark.parametrize("method", FOLDED)
def test_folded_gradients_over_a_bare_tape(method, photographs):
    """MobileNet, whose batch normalisation is folded into convolutions."""
    mobilenet = networks.photos_net("MobileNet", weights=None)
    tape, target = bare_tape(mobilenet), class_score(3)
    count = 64 if method == "gradient" else 8
    images = photographs[:count]
    passed = photographs[: count if method == "gradient" else count * 50]
    plain, ours = take_turns(
        lambda: passes(tape, passed, 16),
        lambda: FOLDED[method](mobilenet, images, target),
        rounds=5,
    )
    assert report(f"{method}, MobileNet", ours, plain) <= 0.85


def test_grad_cam_over_bare_forward_and_backward(model, photographs, tape):
    images = photographs[:16]
    plain, ours = take_turns(
        lambda: tape(tf.constant(images)).numpy(),
        lambda: grad_cam(model, images, class_score(3)),
        rounds=9,
    )
    assert report("Grad-CAM, 16 images", ours, plain) <= 1.10


def vgg_like():
    """Convolutions of 3 × 3 alone, as in VGG, but narrow."""
    x = y = keras.Input((224, 224, 3))
    for filters in (16, 32, 64, 64):
        for _ in range(2):
            y = layers.Conv2D(filters, 3, padding="same", activation="relu")(y)
        y = layers.MaxPooling2D()(y)
    return keras.Model(x, layers.Dense(10)(layers.Flatten()(y)))


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
@pytest.mark.parametrize("kind", ["SqueezeNet", "VGG"])
def test_deconvnet_over_the_gradient(kind, rule, model, photographs):
    network = vgg_like() if kind == "VGG" else model
    images, target = photographs[:16], class_score(3)
    plain, ours = take_turns(
        lambda: gradient(network, images, target),
        lambda: project(network, images, target, rule),
        rounds=9,
    )
    assert report(f"{rule}, {kind}, 16 images", ours, plain) <= 1.10


def test_hundredth_image_and_new_classes(model, photographs):
    saliency(model, photographs[:1], class_score(0))
    times = [
        seconds(
            partial(saliency, model, photographs[i : i + 1], class_score(i))
        )
        for i in range(1, 101)
    ]
    early, late = (
        statistics.median(part) for part in (times[:10], times[-10:])
    )
    assert report("saliency, images 91-100 over 1-10", late, early) <= 1.25


def peak_memory(*numbers):
    """Positions, and MiB, of occlusion in a process of its own: patch,
    stride, batch size, whether windows are reused."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *(str(int(n)) for n in numbers)],
        capture_output=True,
        text=True,
        check=True,
    )
    found, peak = map(int, done.stdout.split())
    print(f"\n{found} positions: peak {peak / 1024:.0f} MiB")
    return found, peak / 1024


@pytest.mark.parametrize("reuse", [False, True])
def test_memory_does_not_grow_with_the_positions(reuse):
    few, less = peak_memory(26, 22, 16, reuse)
    many, more = peak_memory(16, 4, 16, reuse)
    assert (few, many) == (100, 2809)
    what = f"memory at 2,809 over 100 positions, reuse={reuse}"
    assert report(what, more, less, "MiB") <= 1.2


def test_memory_of_reuse_over_full_passes():
    """Full passes take as much for a hundred positions as for all."""
    _, full = peak_memory(26, 22, 32, False)
    many, reused = peak_memory(16, 4, 32, True)
    assert many == 2809
    what = "memory of reuse over full passes, batch 32"
    assert report(what, reused, full, "MiB") <= 1.5
