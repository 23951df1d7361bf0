"""The nbval hook itself, in real runs: it must fail on a wrong figure, and on
an exercise whose check takes a wrong answer for right or a right one for
wrong."""

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from notebook_checks import difference
from PIL import Image

TESTS = Path(__file__).parent
pytest_plugins = ["pytester"]

DRAW = """from IPython.display import Image, display
display(Image(filename="now.png"))"""
CHECK = """from xai_utils.exercises import check
check(answer, [1, 2, 3], "look again")"""
SOLUTION = """<details><summary>Solution</summary>

```python
answer = [1, 2, 3]
```
</details>"""
ANSWERS = """
- right: ["answer = (1.0, 2.0, 3.0)"]
  wrong: ["answer = [1, 2, 4]", "answer = [1, 2]"]
  wrong type: answer = "1, 2, 3"
"""


def png(seed):
    grey = np.random.default_rng(seed).integers(0, 256, (12, 16), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).resize((160, 120)).save(buffer, "PNG")
    return buffer.getvalue()


def run(pytester, cells):
    """Run a notebook of these cells as the collection's are run."""
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells), pytester.path / "one.ipynb"
    )
    hook = TESTS.parent / "notebooks" / "conftest.py"
    pytester.makeconftest(hook.read_text(encoding="utf-8"))
    pytester.makeini(f"[pytest]\npythonpath = {TESTS} {TESTS.parent}\n")
    return pytester.runpytest_subprocess(
        "--nbval", "--nbval-current-env", "-p", "no:cacheprovider"
    )


def cell_that_draws(stored):
    output = nbformat.v4.new_output(
        "display_data",
        {
            "image/png": base64.b64encode(stored).decode(),
            "text/plain": "<IPython.core.display.Image object>",
        },
    )
    return nbformat.v4.new_code_cell(DRAW, execution_count=1, outputs=[output])


def test_another_figure_fails_and_the_same_passes(pytester):
    (pytester.path / "now.png").write_bytes(png(0))
    same, other = cell_that_draws(png(0)), cell_that_draws(png(1))
    result = run(pytester, [same, other])
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines("*levels differ by*")


def exercise(number, check, solution=SOLUTION):
    done = nbformat.v4.new_output("stream", text="Still to do.\n")
    return [
        nbformat.v4.new_code_cell(
            "answer = None",
            execution_count=2 * number + 1,
            metadata={"tags": ["exercise"]},
        ),
        nbformat.v4.new_code_cell(
            check,
            execution_count=2 * number + 2,
            metadata={"tags": ["check"]},
            outputs=[done],
        ),
        nbformat.v4.new_markdown_cell(solution),
    ]


LENIENT = """from xai_utils.exercises import check
check(answer, [1.0, 2.0, 3.0], "look again", tolerance=1)"""
FRAGILE = """if answer is None:
    print("Still to do.")
elif sum(answer) == 6:
    print("Right.")
else:
    print("Not yet: look again")"""


@pytest.fixture
def lists(pytester, monkeypatch):
    """Answers of four exercises; the only number that needs no output: 3."""
    for name, text in {
        "exercises": 4 * ANSWERS,
        "prose": "settings: [3]",
    }.items():
        (pytester.path / name).mkdir()
        (pytester.path / name / "one.yml").write_text(text)
        monkeypatch.setenv(f"XAI_{name.upper()}", str(pytester.path / name))
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent))


def test_exercises_are_tried(pytester, lists):
    cells = (
        exercise(0, CHECK)
        + exercise(1, LENIENT)
        + exercise(2, FRAGILE)
        + exercise(3, CHECK, SOLUTION.replace("2", "5"))
    )
    result = run(pytester, cells)
    result.assert_outcomes(passed=5, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*exercise 2 answers 'Right.' instead of 'Not yet'*",
            "*exercise 3 answers *TypeError* instead of 'Not yet'*",
            "*exercise 4 answers *look again* instead of 'Right'*",
        ]
    )


def test_numbers_of_solutions_are_compared(pytester, lists):
    printing = SOLUTION.replace("```\n", "print(sum(answer))\n```\n", 1)
    told = [printing + text for text in ("\nIt is 6, of 3.", "\nIt is 7.")]
    cells = exercise(0, CHECK, told[0]) + exercise(1, CHECK, told[1])
    cells += exercise(2, CHECK, SOLUTION + "\nIt is 6.")
    result = run(pytester, cells)
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines("*7 is neither printed nor listed*")
    result.stdout.fnmatch_lines("*6 is neither printed nor listed*")


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: np.full_like(f, 255), "levels"),
        (lambda f: f[:, ::-1], "levels"),
        (lambda f: f[:-8], "pixels"),
    ],
)
def test_blank_mirrored_and_cropped_figures_differ(change, message, coarse):
    figure = np.asarray(Image.open(io.BytesIO(png(0))).convert("RGB"), float)
    assert message in difference(figure, change(figure), coarse)


def test_last_bits_do_not_count():
    figure = np.asarray(Image.open(io.BytesIO(png(0))).convert("RGB"), float)
    assert difference(figure, np.clip(figure + 0.2, 0, 255)) is None
    one_pixel = figure.copy()
    one_pixel[40, 40] = 255 - one_pixel[40, 40]
    assert difference(figure, one_pixel) is None


def test_another_matplotlib_may_set_letters_otherwise():
    """A line of text moved by two pixels: other for the fine comparison, the
    same for the coarse one."""
    figure = np.full((320, 480, 3), 255.0)
    letters = np.random.default_rng(0).random((20, 160, 1)) < 0.5
    figure[100:120, 100:260] = 255 * letters
    moved = np.roll(figure, 2, axis=1)
    assert difference(figure, moved)
    assert difference(figure, moved, coarse=True) is None
    assert difference(figure, figure[:, :-1], coarse=True) is None
    assert "pixels" in difference(figure, figure[:, :-1])
    assert "pixels" in difference(figure, figure[:, :-2], coarse=True)
