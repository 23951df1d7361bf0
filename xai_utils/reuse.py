"""Occlusion for less: recompute only what an occluder changes.

An occluder changes a window of the picture, and in each map behind a layer a
window again, mostly a little larger. All around, the network computes what it
computed for the clean picture. So the clean maps are kept, and the layers are
computed for the windows alone, for many occluders at a time. The scores are
those of full passes, up to the last bits. The idea and its geometry:
Nakandala, Kumar and Papakonstantinou, SIGMOD 2019 ("Krypton").

`_core.changes` follows the windows through a network, `_core.planning` groups
those of like sizes, `_core.windows` computes them.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
import tensorflow as tf

from ._core.planning import Plan, cheapest
from ._core.reading import numbers
from ._core.runner import Runner
from ._core.windows import build, changes_in


def plan(
    run: Runner, positions: np.ndarray, patch: int, batch_size: int
) -> Plan:
    """Choose the way that costs least.

    Args:
        run: the step of a model, from `_core.runner`.
        positions: of the occluders, `(rows, columns, 2)`.
        patch: their side in pixels.
        batch_size: so many whole pictures may be in memory.
    """
    call, derived = run.compiled.call, run.compiled.derived
    if "changes" not in derived:
        derived["changes"] = changes_in(call)
    key = positions.tobytes(), patch, batch_size
    if key not in derived:
        derived[key] = cheapest(
            call, derived["changes"], positions, patch, batch_size
        )
    return derived[key]


def scores(
    plan: Plan,
    run: Runner,
    image: np.ndarray,
    positions: np.ndarray,
    covered: np.ndarray,
) -> Iterator:
    """Compute all occluders of a picture.

    Args:
        plan, run: the step, and the plan for these positions.
        image, covered: the picture, and what an occluder shows of it.
        positions: `(rows, columns, 2)`.

    Yields:
        Some positions, as numbers that count row by row, and for each target
        its scores there.
    """
    derived = run.compiled.derived
    if plan.cut not in derived:
        derived[plan.cut] = build(run.compiled.call, plan.changes, plan.cut)
    clean, changed, readings = derived[plan.cut]
    known = clean(tf.constant(image[None]))
    patch = plan.rows[0].sizes[0]
    for rows, columns in product(plan.rows, plan.columns):
        sizes = np.stack([rows.sizes, columns.sizes], axis=1)
        for row, column, asked in _passes(rows, columns, plan.at_once):
            starts = np.stack(
                [rows.starts[:, row], columns.starts[:, column]], axis=-1
            )
            patches = [
                covered[top : top + patch, left : left + patch]
                for top, left in starts[0]
            ]
            returned = changed(
                tf.constant(np.stack(patches), image.dtype),
                [tf.constant(numbers(r, starts, sizes)) for r in readings],
                [
                    tf.constant(np.repeat(a, len(row), 0))
                    for a in run.arguments
                ],
                known,
            )
            at = rows.members[row] * positions.shape[1]
            at += columns.members[column]
            results = run.arrays(returned)
            yield at[:asked], [scores[:asked] for scores in results]


def _passes(rows, columns, at_once):
    """Numbers of rows and columns in two groups, some at a time, and how many
    of them are wanted: the last pass is filled up, so that all are alike."""
    row, column = np.indices((len(rows.members), len(columns.members)))
    row, column = row.ravel(), column.ravel()
    count = -(-len(row) // at_once)
    each = -(-len(row) // count)
    for first in range(0, len(row), each):
        some = np.minimum(np.arange(first, first + each), len(row) - 1)
        yield row[some], column[some], min(each, len(row) - first)
