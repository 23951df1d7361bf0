"""What occlusion costs, in full passes: the table of notebook 12.

``python tests/benchmarks/occlusion_costs.py`` writes
``xai_utils/results/occlusion_costs.csv``: a quarter of an hour on two idle
cores. With names of networks after it, it measures only these and keeps the
rows of the others. Every ratio is taken within one run, of medians of rounds
in which all ways take turns. The unit is the time of the same occluded
pictures in batches through the compiled Keras model, at its best batch size.
What is done once for a network, such as to compile, is not in the times.
MobileNet needs its weights, the others none.
"""

import platform
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers

from xai_utils import networks, reuse
from xai_utils._core.changes import spans
from xai_utils._core.forward import forward
from xai_utils._core.runner import runner
from xai_utils._core.windows import operations_of
from xai_utils.comparison import RESULTS
from xai_utils.gradients import gradient
from xai_utils.occlusion import occlusion
from xai_utils.targets import as_target, class_score

#: Full passes are timed on so many pictures; they cost the same, all of them.
SAMPLE = {"VGG16": 16, "ResNet50": 32, "DenseNet121": 32}
#: So often all ways take turns.
ROUNDS = {"VGG16": 3, "ResNet50": 3, "DenseNet121": 3}


def application(name, size):
    """An architecture of Keras, with random weights."""
    pixels = keras.Input((size, size, 3))
    build = getattr(keras.applications, name)
    scaled = layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    return build(weights=None, input_tensor=scaled, classifier_activation=None)


#: Network, how to build it, [(patch, stride)].
CASES = [
    ("stickers_net", networks.stickers_net, [(12, 4), (16, 4), (24, 8)]),
    ("silhouettes_net", networks.silhouettes_net, [(16, 4)]),
    (
        "SqueezeNet",
        networks.photos_net,
        [(32, 8), (16, 4), (16, 16), (32, 16), (64, 16), (112, 16)],
    ),
    (
        "MobileNet",
        partial(networks.photos_net, "MobileNet"),
        [(32, 8), (16, 4)],
    ),
    ("VGG16", partial(application, "VGG16", 224), [(32, 8)]),
    ("ResNet50", partial(application, "ResNet50", 224), [(32, 8)]),
    ("DenseNet121", partial(application, "DenseNet121", 224), [(32, 8)]),
    ("EfficientNetB0", partial(application, "EfficientNetB0", 224), [(32, 8)]),
]


def processor():
    """Its name, and that of what computes on it."""
    name = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        names = [li.split(": ")[1] for li in lines if "model name" in li]
        name = f"{len(names)} cores of {names[0]}"
    return f"{name}, TensorFlow {tf.__version__}"


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def take_turns(ways, rounds):
    """Median seconds of each way, after one round to warm up."""
    for function in ways.values():
        function()
    times = [
        {name: seconds(function) for name, function in ways.items()}
        for _ in range(rounds)
    ]
    return {
        name: statistics.median(row[name] for row in times) for name in ways
    }


def compiled(model):
    """The Keras model as it is, for batches of any size."""
    return tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))],
    )


def in_batches(function, images, size):
    for start in range(0, len(images), size):
        function(tf.constant(images[start : start + size])).numpy()


def one_by_one(model, images):
    for image in images:
        model.predict(image[None], verbose=0)


def multiply_adds(operation):
    """Of one pass; 0 for what has no weights."""
    if operation.type not in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
        return 0
    kernel = operation.inputs[1].shape
    read = kernel[:2] if operation.type[0] == "D" else kernel[:-1]
    return np.prod(read) * np.prod(operation.outputs[0].shape[1:])


def share(run, plan, positions, patch):
    """Multiply-adds of exact windows over those of whole maps."""
    changes = plan.changes
    sizes = []
    for axis, starts in enumerate((positions[:, 0, 0], positions[0, :, 1])):
        low, high = spans(changes.places, axis, starts, starts + patch)
        sizes.append((high - low).mean(axis=1))
    full = np.array([np.prod(place.shape) for place in changes.places])
    part = sizes[0] * sizes[1] / full
    windows = {step.operation: part[step.place] for step in changes.steps}
    operations = operations_of(run.compiled.call)
    return sum(
        multiply_adds(each) * windows.get(each, 1) for each in operations
    ) / sum(map(multiply_adds, operations))


def measure(name, model, patch, stride):
    """Rows of the table, one for each way."""
    height, width, _ = model.input_shape[1:]
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, model.input_shape[1:]).astype(np.float32)
    target = class_score(0)
    if name == "silhouettes_net":
        target = as_target(lambda outputs: outputs[:, 0])
    explain = partial(
        occlusion, model, image, target, patch=patch, stride=stride, fill=127
    )
    found = explain(reuse=True)
    count = found.scores.size
    sample = SAMPLE.get(name, 64)
    some = np.repeat(image[None], sample, axis=0)
    function = compiled(model)
    ways = {
        f"batches of {size}": partial(in_batches, function, some, size)
        for size in (1, 4, 8, 16, 32, 64)
        if size <= sample
    }
    ways["one predict a position"] = partial(one_by_one, model, some[:8])
    rounds = ROUNDS.get(name, 5)
    times = take_turns(ways, rounds)
    each = {way: taken / sample for way, taken in times.items()}
    each["one predict a position"] *= sample / 8
    best = min((v, k) for k, v in each.items() if k.startswith("batches"))[1]
    unit = int(best.split()[-1])
    helpers = {
        best: partial(in_batches, function, some, unit),
        "reuse": partial(explain, reuse=True),
    }
    if count * each[best] < 20:
        helpers["full passes"] = partial(explain, reuse=False)
    if name != "EfficientNetB0":
        helpers["first order"] = lambda: gradient(model, image[None], target)
    again = take_turns(helpers, rounds)
    bare = again.pop(best) / sample
    each = {way: value / each[best] for way, value in each.items()}
    each |= {way: taken / count / bare for way, taken in again.items()}
    run = runner(model, forward, [as_target(target)], image[None])
    plan = reuse.plan(run, found.positions, patch, 16)
    windows = share(run, plan, found.positions, patch)
    for way, ratio in each.items():
        print(f"{name} {patch}/{stride} {way}: {ratio:.3f}", flush=True)
        yield {
            "network": name,
            "size": height,
            "patch": patch,
            "stride": stride,
            "positions": count,
            "way": way,
            "ratio": round(float(ratio), 4),
            "multiply-adds": round(float(windows), 4)
            if way == "reuse"
            else "",
            "method": found.method if way == "reuse" else "",
            "chosen": plan.pays if way == "reuse" else "",
        }


def main(names):
    """Measure these networks, or all, and keep the rows of the others."""
    table = pd.DataFrame(
        row
        for name, build, settings in CASES
        if name in names or not names
        for patch, stride in settings
        for row in measure(name, build(), patch, stride)
    )
    table["machine"] = processor()
    path = RESULTS / "occlusion_costs.csv"
    if names:
        old = pd.read_csv(path)
        table = pd.concat([old[~old["network"].isin(names)], table])
    table.to_csv(path, index=False)


if __name__ == "__main__":
    main(sys.argv[1:])
