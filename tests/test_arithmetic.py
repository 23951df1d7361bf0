"""The notebooks as another processor would compute them.

``python -m pytest -m arithmetic --arithmetic eigen`` runs all of them under
one of the arithmetics of `arithmetics.py`, and names each cell, text and
figure that differs. With ``-rP`` it tells how far the figures are off where
they pass, too.
"""

import difflib
import os
from pathlib import Path

import nbformat
import pytest
from arithmetics import ARITHMETICS
from nbclient import NotebookClient
from notebook_checks import (
    difference,
    distance,
    figures,
    other_matplotlib,
    texts,
)

pytestmark = pytest.mark.arithmetic
ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def compare(number, stored, new):
    """What differs between two runs of a cell, in words."""
    found = [
        f"cell {number}: {line}"
        for line in difflib.unified_diff(
            texts(stored), texts(new), "stored", "now", "", "", 0, ""
        )
        if line[:2] not in ("@@", "--", "++")
    ]
    old, drawn = figures(stored), figures(new)
    if len(old) != len(drawn):
        found.append(f"cell {number}: {len(old)} figures, now {len(drawn)}")
    coarse = bool(other_matplotlib())
    for pair in zip(old, drawn):
        if pair[0].shape == pair[1].shape and any(distance(*pair)):
            mean, worst = distance(*pair)
            print(
                f"cell {number}: figure off by {mean:.2f}, worst {worst:.1f}"
            )
        if difference(*pair, coarse=coarse):
            found.append(f"cell {number}: {difference(*pair, coarse=coarse)}")
    return found


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_same_outputs(path, pytestconfig):
    variables = ARITHMETICS[pytestconfig.getoption("arithmetic")]
    stored = nbformat.read(path, as_version=4)
    new = nbformat.read(path, as_version=4)
    client = NotebookClient(
        new,
        timeout=900,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": path.parent}},
    )
    client.execute(env={**os.environ, **variables, "TQDM_DISABLE": "1"})
    pairs = [
        (old.outputs, cell.outputs)
        for old, cell in zip(stored.cells, new.cells)
        if cell.cell_type == "code"
    ]
    found = [
        line
        for number, (old, now) in enumerate(pairs)
        for line in compare(number, old, now)
    ]
    assert not found, "\n" + "\n".join(found)
