"""A notebook alone on a fresh machine, with older versions, as on Colab.

``python -m pytest -m colab`` downloads TensorFlow once more; COLAB_PYTHON
names a Python 3.11 or 3.12, where the tests run on another.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.colab

ROOT = Path(__file__).parents[1]
ADDRESS = "https://github.com/Gab314/xai-saliency-maps"
NAME = "02_occlusion_sensitivity.ipynb"  # the one with a widget

# What such a machine ships: the oldest TensorFlow and Keras that are
# supported, and the old ipywidgets that Colab keeps.
SHIPPED = [
    "tensorflow==2.16.*",
    "keras==3.8.*",
    "ipywidgets==7.7.1",
    "matplotlib",
    "scikit-image",
    "tqdm",
    "ipykernel",
    "nbclient",
]

RUN = """
import nbformat, sys
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
try:
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
finally:
    nbformat.write(notebook, sys.argv[1])
"""


def run(*command, **options):
    return subprocess.run(
        command,
        check=True,
        text=True,
        timeout=1200,  # seconds: slow networks
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    ).stdout


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """The Python of a fresh environment that ships `SHIPPED`."""
    folder = tmp_path_factory.mktemp("machine")
    older = os.environ.get("COLAB_PYTHON", sys.executable)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    try:
        run(older, "-m", "venv", folder)
        run(python, "-m", "pip", "install", "-q", *SHIPPED)
    except subprocess.CalledProcessError as error:
        pytest.fail(error.stdout[-3000:])
    colab = folder / "stand_in" / "google" / "colab"
    colab.mkdir(parents=True)
    (colab / "__init__.py").touch()
    return python


@pytest.fixture
def repository(tmp_path):
    """A clone of the working tree as it is now."""
    clone = tmp_path / "repository"
    shutil.copytree(
        ROOT / "xai_utils",
        clone / "xai_utils",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (
        ["init", "-q"],
        ["add", "."],
        [*author, "commit", "-qm", "as it is"],
    ):
        run("git", *command, cwd=clone)
    return clone


def test_one_notebook_alone(machine, repository, tmp_path):
    content = tmp_path / "content"
    content.mkdir()
    notebook = nbformat.read(ROOT / "notebooks" / NAME, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, content / NAME)
    environment = {
        **os.environ,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
        "PYTHONPATH": str(machine.parents[1] / "stand_in"),
    }
    versions = [machine, "-m", "pip", "list", "--format=json"]
    before = json.loads(run(*versions))
    try:
        run(machine, "-c", RUN, NAME, cwd=content, env=environment)
    except subprocess.CalledProcessError as error:
        pytest.fail(error.stdout[-3000:])
    assert json.loads(run(*versions)) == before, "a package was changed"
    done = nbformat.read(content / NAME, as_version=4)
    for old, new in zip(notebook.cells, done.cells):
        if old.cell_type == "code":
            kinds = {output.output_type for output in new.outputs}
            assert "error" not in kinds
            noise = [
                output.text
                for output in new.outputs
                if output.get("name") == "stderr"
            ]
            assert not noise, noise
    assert {path.name for path in content.iterdir()} == {
        NAME,
        "xai-saliency-maps",
    }
