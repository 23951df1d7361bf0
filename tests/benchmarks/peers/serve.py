"""What all workers share: the settings, the network in Keras, and the loop
that does one task after another for `compare.py`.

A worker runs in the environment of its library, where this package can't be
imported; so this file needs NumPy alone, and what it says of Keras is said
once more than in `xai_utils.networks`.
"""

import importlib.metadata
import json
import sys
import time
from pathlib import Path

import numpy as np

WEIGHTS = Path(__file__).parents[3] / "xai_utils/weights/squeezenet.npz"

#: The same for every library: the class whose logit is explained (ImageNet's
#: Egyptian cat), the noise of SmoothGrad in grey levels, samples and steps,
#: the black baseline of Integrated Gradients, the grey that covers.
TARGET, SIGMA, SAMPLES, STEPS, BASELINE, FILL = 285, 25.0, 50, 50, 0.0, 127.5

#: Fire modules of SqueezeNet v1.1: number, squeezed and expanded channels.
FIRES = (
    (2, 16, 64),
    (3, 16, 64),
    (4, 32, 128),
    (5, 32, 128),
    (6, 48, 192),
    (7, 48, 192),
    (8, 64, 256),
    (9, 64, 256),
)
MEAN = (-123.68, -116.779, -103.939)  # added to the pixels
POOLED = (3, 5)  # fires before a max-pooling


def pictures():
    """`(32, 224, 224, 3)`, float32 in 0–255, which `compare.py` stored."""
    return np.load(Path(sys.argv[1]) / "pictures.npy")


def keras_squeezenet(keras):
    """SqueezeNet v1.1 with this package's weights, in any version of Keras."""
    layers = keras.layers
    pixels = keras.Input((224, 224, 3))
    x = layers.Rescaling(1.0, offset=list(MEAN), name="subtract_mean")(pixels)
    x = layers.Conv2D(64, 3, strides=2, activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(3, 2)(x)
    for number, squeeze, expand in FIRES:
        fire = f"fire{number}"
        x = layers.Conv2D(
            squeeze, 1, activation="relu", name=f"{fire}_squeeze"
        )(x)
        sides = [
            layers.Conv2D(
                expand,
                side,
                padding="same",
                activation="relu",
                name=f"{fire}_expand{side}",
            )(x)
            for side in (1, 3)
        ]
        x = layers.Concatenate(name=fire)(sides)
        if number in POOLED:
            x = layers.MaxPooling2D(3, 2)(x)
    x = layers.Conv2D(1000, 1, name="conv10")(x)
    model = keras.Model(pixels, layers.GlobalAveragePooling2D()(x))
    with np.load(WEIGHTS) as stored:
        for layer in model.layers:
            if layer.weights:
                names = (f"{layer.name}/kernel", f"{layer.name}/bias")
                layer.set_weights([stored[name] for name in names])
    return model


def covers(patch, stride):
    """How many patches lie over each pixel, `(224, 224)`."""
    side = np.zeros(224)
    for start in range(0, 224 - patch + 1, stride):
        side[start : start + patch] += 1
    return np.outer(side, side)


def peak():
    """The largest resident memory of this process so far, in MiB, where the
    system tells (Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (li for li in status.read_text().splitlines() if "VmHWM" in li)
    return int(line.split()[1]) / 1024


def serve(packages, tasks, comparable, positions, batched=(), remarks=None):
    """Answer on stdout, a line each, what stdin asks, a line each: JSON.

    Args:
        packages: names of packages; the first is the library.
        tasks: name -> function of the batch size (None: the library's own)
            that returns what the library returns. Only this is timed.
        comparable: (task, what it returned) -> dict name -> array, in a form
            that `with_xai_utils.py` has, too.
        positions: task -> positions of the occluder; else 1.
        batched: the tasks in which the library takes a batch size.
        remarks: task -> what is not as in the other libraries.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print, too
    library, *below = map(importlib.metadata.version, packages)
    names = [f"{p} {v}" for p, v in zip(packages[1:], below)]
    ready = {
        "version": f"{library} with {' and '.join(names)}",
        "tasks": list(tasks),
        "batched": list(batched),
        "remarks": remarks or {},
    }
    print(json.dumps(ready), file=answers, flush=True)
    task = found = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "save" in asked:
                np.savez(asked["save"], **comparable(task, found))
                answer = {}
            else:
                task = asked["task"]
                start = time.perf_counter()
                found = tasks[task](asked["batch"])
                seconds = time.perf_counter() - start
                seconds /= positions.get(task, 1)
                answer = {"seconds": seconds, "peak": peak()}
        except Exception as error:  # reported, for any library's any error
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
