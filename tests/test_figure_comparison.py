"""The nbval hook itself: it must fail on a wrong figure, in real runs."""

import base64
import io
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from notebook_checks import difference
from PIL import Image

ROOT = Path(__file__).parents[1]
pytest_plugins = ["pytester"]

CODE = """from IPython.display import Image, display
display(Image(filename="{0}"))"""


def png(seed):
    grey = np.random.default_rng(seed).integers(0, 256, (12, 16), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).resize((160, 120)).save(buffer, "PNG")
    return buffer.getvalue()


def run(pytester, stored, tags=(), environment=None):
    """A notebook that draws picture 0, with `stored` as its output."""
    (pytester.path / "now.png").write_bytes(png(0))
    output = nbformat.v4.new_output(
        "display_data",
        {
            "image/png": base64.b64encode(stored).decode(),
            "text/plain": "<IPython.core.display.Image object>",
        },
    )
    cell = nbformat.v4.new_code_cell(
        CODE.format("now.png"),
        execution_count=1,
        outputs=[output] if stored else [],
        metadata={"tags": list(tags)},
    )
    nbformat.write(
        nbformat.v4.new_notebook(cells=[cell]), pytester.path / "one.ipynb"
    )
    pytester.makeconftest((ROOT / "notebooks" / "conftest.py").read_text())
    shutil.copy(ROOT / "tests" / "notebook_checks.py", pytester.path)
    pytester.makeini("[pytest]\npythonpath = .\n")
    return pytester.runpytest_subprocess(
        "--nbval", "--nbval-current-env", "-rs", "-p", "no:cacheprovider"
    )


def test_the_same_figure_passes(pytester):
    run(pytester, png(0)).assert_outcomes(passed=1)


def test_another_figure_fails(pytester):
    result = run(pytester, png(1))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("*grey levels differ by*")


def test_a_cell_for_imagenet_is_skipped_with_its_reason(pytester, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(pytester.path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no network
    monkeypatch.delenv("CI", raising=False)
    result = run(pytester, png(0), tags=["imagenet"])
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines("*SKIPPED*ImageNet weights*can't be had*")
    monkeypatch.setenv("CI", "true")
    run(pytester, png(0), tags=["imagenet"]).assert_outcomes(errors=1)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: np.full_like(f, 255), "grey levels"),
        (lambda f: f[:, ::-1], "grey levels"),
        (lambda f: f[:-8], "pixels"),
    ],
)
def test_blank_mirrored_and_cropped_figures_differ(change, message):
    figure = np.asarray(Image.open(io.BytesIO(png(0))).convert("RGB"), float)
    assert message in difference(figure, change(figure))


def test_last_bits_do_not_count():
    figure = np.asarray(Image.open(io.BytesIO(png(0))).convert("RGB"), float)
    assert difference(figure, np.clip(figure + 1, 0, 255)) is None
    one_pixel = figure.copy()
    one_pixel[40, 40] = 255 - one_pixel[40, 40]
    assert difference(figure, one_pixel) is None
