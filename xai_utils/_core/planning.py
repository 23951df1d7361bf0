"""Which occluders share a pass, and from which layer on whole maps are
cheaper: decided from what each way costs, in multiply-adds."""

from itertools import product
from typing import NamedTuple

import numpy as np

from .changes import POOLS, Changes, spans
from .graph import where
from .windows import operations_of

#: Rows of occluders, and columns, are put into so many groups at most. Each
#: pair of groups has windows of its own sizes, and for each size oneDNN keeps
#: a program for each layer: 1,024 in all.
GROUPS = 5
#: Times, in multiply-adds: to write a number; to move it into a window; to
#: start an operation; to write one into a graph. With TensorFlow 2.21 on two
#: cores with AVX-512; nothing but the choices above hangs on them.
WRITE, MOVE, START, BUILD = 10, 40, 8e6, 4e8
#: What reuse costs, over full passes, must be less than this to be worth it.
WORTH = 0.8
#: A pass takes as many windows as fit into the memory of `batch_size` full
#: pictures, but no more than so many times as many.
AT_ONCE = 4


class Group(NamedTuple):
    """Rows, or columns, of occluders whose windows have the same sizes."""

    members: np.ndarray  # their numbers
    sizes: np.ndarray  # (places,)
    starts: np.ndarray  # (places, members)


class Plan(NamedTuple):
    """How the scores under all occluders are computed."""

    changes: Changes
    cut: int  # so many steps are computed for windows; 0: none can be
    rows: list  # of `Group`
    columns: list
    at_once: int  # windows in a pass
    ratio: float  # estimated cost over that of full passes
    building: float  # the same for what is done once

    @property
    def pays(self) -> bool:
        """Is it worth it, even for one picture?"""
        return self.ratio + self.building < WORTH

    @property
    def method(self) -> str:
        """In words."""
        if self.cut == len(self.changes.steps) and not self.changes.stop:
            return "reuse"
        stop = self.changes.stop
        if self.cut < len(self.changes.steps):
            stop = where(self.changes.steps[self.cut].operation)
        return f"reuse; whole maps from {stop} on"


def cheapest(
    call, changes: Changes, positions: np.ndarray, patch: int, batch_size: int
) -> Plan:
    """The plan that costs least.

    Args:
        call: the compiled step of a model.
        changes: how changed pixels spread in it.
        positions: of the occluders, `(rows, columns, 2)`.
        patch: their side in pixels.
        batch_size: so many whole pictures may be in memory.
    """
    if not changes.steps:
        return Plan(changes, 0, [], [], 0, 1.0, 0.0)
    count = positions[..., 0].size
    total = sum(_work_on_map(operation) for operation in operations_of(call))
    found = []
    for rows, columns in product(
        _partitions(changes, 0, positions[:, 0, 0], patch),
        _partitions(changes, 1, positions[0, :, 1], patch),
    ):
        sizes = np.stack([_means(rows), _means(columns)], axis=1)
        cut, saved = _cheapest_cut(changes, sizes)
        at_once = batch_size * _windows_at_once(changes, sizes, cut)
        passes = sum(
            -(-len(some.members) * len(others.members) // at_once)
            for some, others in product(rows, columns)
        )
        cost = (total - saved) * count + passes * cut * START
        found.append((cost, cut, rows, columns, at_once))
    cost, *best = min(found, key=lambda each: each[0])
    building = BUILD * len(changes.steps)
    return Plan(changes, *best, cost / total / count, building / total / count)


def _partitions(changes, axis, starts, patch):
    """Ways to put rows (axis 0) or columns (1) of occluders into groups, few
    or many.

    How large windows are hangs on how they meet the strides and the border; a
    group has the largest of its windows for all. So rows are sorted by their
    work, and again and again those neighbours joined where it adds least.
    """
    low, high = spans(changes.places, axis, starts, starts + patch)
    sizes = high - low
    weights = sizes.mean(axis=1) * _work_of_places(changes)
    order = np.argsort(weights @ sizes, kind="stable")
    parts = [order[i : i + 1] for i in range(len(order))]

    def work(members):
        return len(members) * (weights @ sizes[:, members].max(axis=1))

    while True:
        if len(parts) <= GROUPS:
            yield [_group(changes, axis, low, sizes, part) for part in parts]
        if len(parts) == 1:
            return
        joined = [np.append(*pair) for pair in zip(parts, parts[1:])]
        added = [
            work(both) - work(one) - work(other)
            for both, one, other in zip(joined, parts, parts[1:])
        ]
        least = int(np.argmin(added))
        parts[least : least + 2] = [joined[least]]


def _group(changes, axis, low, sizes, members):
    size = sizes[:, members].max(axis=1)
    lengths = np.array([place.shape[axis] for place in changes.places])
    # A window that would stick out of its map is moved back into it.
    last = (lengths - size)[:, None]
    return Group(members, size, np.minimum(low[:, members], last))


def _means(groups):
    """The size of the windows, over all rows or columns: `(places,)`."""
    counts = [len(group.members) for group in groups]
    return np.average([g.sizes for g in groups], axis=0, weights=counts)


def _work(operation):
    """Multiply-adds for one pixel of what an operation puts out."""
    each = WRITE
    if operation.type in POOLS:
        each += np.prod(operation.get_attr("ksize"))
    elif operation.type in ("Conv2D", "MatMul"):
        each += _count(operation.inputs[1].shape[:-1])
    elif operation.type == "DepthwiseConv2dNative":
        each += _count(operation.inputs[1].shape[:2])
    return float(each * _count(operation.outputs[0].shape[-1:]))


def _work_on_map(operation):
    """The same for all pixels."""
    shape = operation.outputs[0].shape
    if not shape.rank or shape.rank == 1:  # unknown, or a number an image
        return 0.0
    return _work(operation) * _count(shape[1:-1])


def _count(sides):
    """Their product; one that is not known counts for nothing."""
    return float(np.prod([side or 1 for side in sides]))


def _work_of_places(changes):
    work = np.zeros(len(changes.places))
    for step in changes.steps:
        work[step.place] += _work(step.operation)
    return work


def _cheapest_cut(changes, sizes):
    """How many steps are best computed for windows.

    Args:
        changes: with their steps.
        sizes: of the windows, `(places, 2)`.

    Returns:
        That number, and the multiply-adds that it saves.
    """
    saved = [0.0]
    filled = np.zeros(len(changes.steps) + 1)  # at each cut: whole maps
    written = dict.fromkeys(changes.at, 0)
    for number, step in enumerate(changes.steps, start=1):
        operation = step.operation
        spared = np.prod(changes.places[step.place].shape)
        spared = _work(operation) * (spared - sizes[step.place].prod())
        for tensor, pixels in _moved(changes, step, sizes):
            spared -= MOVE * tensor.shape[-1] * pixels
        saved.append(saved[-1] + spared)
        for tensor in operation.inputs:
            if tensor.name in written:
                # A cut between where it is written and here fills it up.
                size = float(np.prod(tensor.shape[1:]))
                filled[written[tensor.name] : number] += MOVE * size
                written[tensor.name] = number
        written[operation.outputs[0].name] = number
    saved = (saved - filled)[1:]
    return int(saved.argmax()) + 1, saved.max()


def _moved(changes, step, sizes):
    """Tensors that are put together for a step, and their pixels."""
    place = changes.places[step.place]
    for tensor in step.operation.inputs:
        before, _ = changes.at.get(tensor.name, (step.place, None))
        if before != step.place:
            side = sizes[step.place]
            if step.kind == "kernel":
                side = (side - 1) * place.stride + place.kernel
            yield tensor, side.prod()


def _windows_at_once(changes, sizes, cut):
    """How many take the memory of one picture, of 1 to `AT_ONCE`."""
    whole, windows = 1.0, 1.0
    for number, step in enumerate(changes.steps):
        channels = step.operation.outputs[0].shape[-1]
        full = channels * np.prod(changes.places[step.place].shape)
        whole = max(whole, full)
        if number >= cut:
            windows = max(windows, full)
            continue
        here = channels * sizes[step.place].prod()
        for tensor, pixels in _moved(changes, step, sizes):
            here += tensor.shape[-1] * pixels
        windows = max(windows, here)
    return int(np.clip(whole // windows, 1, AT_ONCE))
