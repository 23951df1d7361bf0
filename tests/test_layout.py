"""The package's house: imports point one way, nothing happens on import,
every public function says what it takes and gives."""

import ast
import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xai_utils"

METHODS = {"gradients", "occlusion", "deconvnet", "receptive_field"}
METHODS |= {"class_model", "integrated_gradients", "grad_cam", "faithfulness"}
#: What may be imported from what; modules of one folder as the folder.
ALLOWED = {
    "_core": {"_core"},
    "data": {"data", "_core"},
    "targets": {"_core"},
    "diagrams": {"plots"},
    "networks": {"data"},
    "small_nets": {"networks", "data", "_core"},
    "comparison": METHODS
    | {"smoothgrad", "evaluation", "networks", "data", "targets", "_core"},
    "training": {"networks", "data", "_core"},
    **dict.fromkeys(METHODS, {"targets", "_core"}),
    "smoothgrad": {"gradients", "targets", "_core"},
    "occlusion": {"reuse", "targets", "_core"},
    "reuse": {"_core"},
    **dict.fromkeys(
        ("evaluation", "exercises", "localisation", "plots", "__init__"), set()
    ),
}


def place(path):
    """A module's own name, or that of its folder."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """What a module imports from the package, as `place` names it."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level < depth:  # from its own folder
                yield place(path)
            elif node.module:
                yield node.module.partition(".")[0]
            else:
                yield from (name.name for name in node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [name.name for name in node.names]
            assert "xai_utils" not in [
                getattr(node, "module", None),
                *names,
            ], path


@pytest.mark.quick
def test_imports_point_one_way():
    modules = list(PACKAGE.rglob("*.py"))
    assert {place(path) for path in modules} == set(ALLOWED)
    for path in modules:
        assert set(imported(path)) <= ALLOWED[place(path)], path


def public(module):
    for name, thing in vars(module).items():
        own = getattr(thing, "__module__", None) == module.__name__
        if own and inspect.isfunction(thing) and not name.startswith("_"):
            yield thing


@pytest.mark.quick
@pytest.mark.parametrize(
    "name",
    [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for path in sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("data/*.py")])
        if not path.stem.startswith("_")
    ],
)
def test_public_functions_are_annotated_and_described(name):
    for function in public(import_module(name)):
        signature = inspect.signature(function)
        described = inspect.getdoc(function)
        assert described, function
        returned = signature.return_annotation
        assert returned is not signature.empty, function
        for parameter in signature.parameters.values():
            # Arrays of any kind come without: a list or a tensor will do.
            assert parameter.annotation is not parameter.empty or (
                parameter.name in ARRAYS
            ), (function, parameter)


#: Arguments that NumPy makes an array of, or a model's outputs.
ARRAYS = {"images", "image", "y_true", "outputs", "mean", "fill"}
ARRAYS |= {"answer", "truth", "baseline"}


def python(code):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run


def test_an_import_sets_one_default_and_does_nothing_else():
    run = python(
        """
import os, sys
before, modules = dict(os.environ), set(sys.modules)
import xai_utils
assert set(sys.modules) - modules == {"xai_utils"}
assert dict(os.environ) == before | {"TF_CPP_MIN_LOG_LEVEL": "3"}
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"
import importlib
importlib.reload(xai_utils)
assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"
"""
    )
    assert run.stdout == run.stderr == ""


def test_a_report_of_a_driver_is_heard():
    """What writes to file descriptor 2 while TensorFlow is imported."""
    run = python(
        """
import os, sys
class Driver:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            os.write(2, b"a driver failed\\n")
sys.meta_path.insert(0, Driver())
import xai_utils.gradients
"""
    )
    assert "a driver failed" in run.stderr
