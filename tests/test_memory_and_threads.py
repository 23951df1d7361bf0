"""What takes a process of its own, or eight threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from test_runner import IMAGES, net

from xai_utils.gradients import gradient
from xai_utils.targets import class_score, unit

LARGE = """
import gc
import keras
import numpy as np
from keras import layers
from xai_utils.deconvnet import project
from xai_utils.grad_cam import grad_cam
from xai_utils.gradients import gradient
from xai_utils.integrated_gradients import integrated_gradients
from xai_utils.smoothgrad import smoothgrad
from xai_utils.targets import class_score

def explain():
    x = keras.Input((32, 32, 3))
    y = layers.Rescaling(1.0, name="map")(x)
    y = layers.Dense(4000, "relu")(layers.Flatten()(y))
    model = keras.Model(x, layers.Dense(3)(y))
    image, target = np.ones((1, 32, 32, 3)), class_score(0)
    gradient(model, image, target)
    project(model, image, target)
    smoothgrad(model, image, target, 1, samples=2)
    integrated_gradients(model, image, target, 0, steps=2)
    grad_cam(model, image, target, "map")
    del x, y, model
    gc.collect()  # a model of Keras refers to itself

def peak():
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

for _ in range(3):
    explain()
before = peak()
for _ in range(10):
    explain()
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux tells it")
def test_the_weights_of_dropped_models_are_freed():
    """Ten models of 49 MB, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 120


def test_pictures_are_cast_by_the_batch():
    """200 MB of pixels; in float32 they would take 800 MB."""
    script = """
import keras
import numpy as np
from xai_utils.deconvnet import strongest
from xai_utils.gradients import saliency
from xai_utils.targets import class_score
x = keras.Input((128, 128, 3))
y = keras.layers.Conv2D(2, 3, strides=8, name="conv")(x)
y = keras.layers.Dense(2)(keras.layers.Flatten()(y))
model = keras.Model(x, y)
saliency(model, np.zeros((32, 128, 128, 3), np.uint8), class_score(0))
strongest(model, np.zeros((128, 128, 128, 3), np.uint8), "conv")
def peak():  # of this process alone; ru_maxrss has its parent's, too
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
images = np.ones((4000, 128, 128, 3), np.uint8)
before = peak()
strongest(model, images, "conv")
first = peak()
saliency(model, images, class_score(0))
print(first - before, peak() - before)
"""
    if sys.platform != "linux":
        pytest.skip("peak memory is read as Linux tells it")
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    of_strongest, of_saliency = map(float, done.stdout.split())
    assert of_strongest < 150
    assert of_saliency < 150 + 4000 * 128 * 128 * 4 / 2**20  # the maps


def test_eight_threads():
    shared, others = net(), [net() for _ in range(4)]
    for k, other in enumerate(others):
        other.set_weights([(k + 1) * w for w in other.get_weights()])
    work = [
        (model, target)
        for target in (class_score(1), unit("conv", 2), unit("hidden", 1))
        for model in [shared] * 4 + others
    ]
    alone = [gradient(m, IMAGES, t) for m, t in work]
    fresh = {id(m): keras.models.clone_model(m) for m, _ in work}
    for model, _ in work:
        fresh[id(model)].set_weights(model.get_weights())
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(
            lambda pair: gradient(fresh[id(pair[0])], IMAGES, pair[1]), work
        )
        for expected, found in zip(alone, together):
            np.testing.assert_allclose(found, expected, rtol=1e-6)
