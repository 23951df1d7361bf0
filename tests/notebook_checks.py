"""What nbval leaves out: figures are compared, and exercises are tried."""

import base64
import io
import os
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import prose_checks
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]

#: How far a figure may be off, in levels of 0–255: on average, and in its
#: worst block of pixels.
MEAN, WORST = 1, 40


def figures(outputs):
    """The pictures among a cell's outputs, as levels `(h, w, 3)`."""
    found = []
    for output in outputs:
        data = output.get("data", {})
        for kind in ("image/png", "image/jpeg"):
            if kind in data:
                stored = io.BytesIO(base64.b64decode(data[kind]))
                picture = Image.open(stored).convert("RGB")
                found.append(np.asarray(picture, float))
    return found


def texts(outputs):
    """All that a cell prints or returns, line by line."""
    parts = [
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for output in outputs
    ]
    return "\n".join(parts).splitlines()


def other_matplotlib():
    """None, or in words that this is not the Matplotlib of the outputs.

    Another one sets letters and ticks a little otherwise.
    """
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    stored = text.split("matplotlib==")[1].split()[0]
    if stored.split(".")[:2] == matplotlib.__version__.split(".")[:2]:
        return None
    return (
        f"figures were stored by Matplotlib {stored}, this is "
        f"{matplotlib.__version__}: they are compared coarsely"
    )


def blocks(picture, side):
    """A picture as means of `side` × `side` pixels; the rest is cut off."""
    rows, columns = (length // side for length in picture.shape[:2])
    cut = picture[: rows * side, : columns * side]
    return cut.reshape(rows, side, columns, side, -1).mean(axis=(1, 3))


def distance(stored, new):
    """Levels by which figures differ: mean, and worst 16 × 16 pixels."""
    off = np.abs(stored - new)
    return off.mean(), blocks(off, 16).mean(axis=-1).max()


def difference(stored, new, coarse=False):
    """None, or in words how two figures differ beyond what is allowed.

    With `coarse`, letters may be drawn otherwise: the means of 32 × 32 pixels
    are compared, so that only what is larger than letters counts.
    """
    if coarse and np.abs(np.subtract(stored.shape, new.shape)).max() == 1:
        # Another Matplotlib rounds the size of a figure otherwise.
        height, width, _ = np.minimum(stored.shape, new.shape)
        stored, new = stored[:height, :width], new[:height, :width]
    if stored.shape != new.shape:
        return f"stored {stored.shape[:2]}, now {new.shape[:2]} pixels"
    if coarse:
        off = np.abs(blocks(stored, 32) - blocks(new, 32)).mean(axis=-1)
        mean, worst = off.mean(), off.max()
    else:
        mean, worst = distance(stored, new)
    if mean > MEAN or worst > WORST:
        return (
            f"levels differ by {mean:.1f} on average, and by {worst:.0f} "
            "in the worst block"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    stored, new = figures(item.cell.outputs), figures(item.test_outputs)
    if len(stored) != len(new):
        pytest.fail(f"{len(stored)} figures stored, {len(new)} drawn")
    if new and other_matplotlib():
        warnings.warn(other_matplotlib(), stacklevel=1)
    for number, pair in enumerate(zip(stored, new), start=1):
        found = difference(*pair, coarse=bool(other_matplotlib()))
        if found:
            pytest.fail(f"figure {number} of the cell: {found}")
    if "check" in item.cell.metadata.get("tags", []):
        try_exercise(item)
    return result


def exercises(notebook):
    """Of each exercise: stub, self-check, and the folded solution."""
    cells = notebook.cells
    found = []
    for i, cell in enumerate(cells):
        if "check" in cell.metadata.get("tags", []):
            stub = cells[i - 1]
            assert "exercise" in stub.metadata.get("tags", []), cell.source
            folded = cells[i + 1].source
            assert folded.startswith("<details><summary>Solution"), folded
            solution = folded.split("```python\n")[1].split("```")[0]
            found.append((stub.source, cell.source, solution))
    return found


def answers(stem):
    """What readers may write into each exercise of a notebook."""
    folder = os.environ.get("XAI_EXERCISES", ROOT / "tests" / "exercises")
    path = Path(folder) / f"{stem}.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def try_exercise(item):
    """Run solution, right and wrong answers through the check just run.

    The kernel is the one in which the notebook has been running.
    """
    notebook, stem = item.parent.nb, item.path.stem
    checks = [
        cell
        for cell in notebook.cells
        if "check" in cell.metadata.get("tags", [])
    ]
    number = [cell is item.cell for cell in checks].index(True)
    stub, check, solution = exercises(notebook)[number]
    tried = answers(stem)[number]
    trials = [("Still to do", stub), ("Right", solution)]
    trials += [("Right", answer) for answer in tried.get("right", [])]
    trials += [("Not yet", answer) for answer in tried["wrong"]]
    trials += [("Not yet", tried["wrong type"])]
    for expected, answer in trials:
        run(item, stub)  # so that no trial sees the one before
        printed = run(item, answer)
        if answer == solution:
            compare_solution(item, printed)
        printed += run(item, check)
        lines = [line for line in printed.splitlines() if line.strip()]
        verdict = lines[-1] if lines else "nothing"
        if not verdict.startswith(expected):
            pytest.fail(
                f"exercise {number + 1} answers {verdict!r} instead of "
                f"{expected!r} to\n{answer}"
            )
    run(item, stub)


def compare_solution(item, printed):
    """Fail on a number in a solution's text that nothing prints."""
    given = prose_checks.listed(item.path.stem)
    cells = item.parent.nb.cells
    here = [cell is item.cell for cell in cells].index(True)
    known = prose_checks.numbers(printed)
    for cell in cells[:here]:
        known += prose_checks.printed(cell)
    text = cells[here + 1].source
    for token, value, decimals in prose_checks.claims(text):
        if value not in given and not prose_checks.is_printed(
            value, decimals, known
        ):
            pytest.fail(f"{token} is neither printed nor listed: {text}")


def run(item, code):
    """Run code in the notebook's kernel; what it prints, errors included."""
    printed = []

    def collect(message):
        content = message["content"]
        if message["msg_type"] == "stream":
            printed.append(content["text"])
        elif message["msg_type"] == "error":
            printed.append(f"{content['ename']}: {content['evalue']}\n")

    item.parent.kernel.kc.execute_interactive(
        code,
        store_history=False,
        allow_stdin=False,
        timeout=300,
        output_hook=collect,
    )
    return "".join(printed)
