"""What README, environment.yml and pyproject.toml claim."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))[
    "project"
]
PYTHONS = SpecifierSet(PROJECT["requires-python"])
MINOR = [f"3.{minor}" for minor in range(9, 20) if f"3.{minor}.0" in PYTHONS]


def fenced(language):
    return re.findall(rf"```{language}\n(.*?)\n```", README, re.S)


def test_own_model_in_ten_lines_and_a_figure(tmp_path):
    """As README has it, in a process of its own. TensorFlow's own report on
    the machine, as it starts, is all that is printed."""
    (code,) = fenced("python")
    assert len([line for line in code.splitlines() if line]) <= 11
    keras.utils.set_random_seed(0)
    keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    ).save(tmp_path / "my_model.keras")
    noise = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "my_picture.jpg")
    code += """
assert gradient_map.shape == drop.heatmap.shape == (64, 64)
assert gradient_map.max() > 0 and drop.heatmap.any()
assert drop.baseline == model(image[None]).numpy()[0].max()
from xai_utils import grad_cam, integrated_gradients, smoothgrad
mse = targets.loss("mse", [[1, 0, 0]])
for target in (target, lambda outputs: outputs[:, 0], mse):
    given = model, image[None], target
    assert gradients.saliency(*given).max() > 0
    options = {"patch": 32, "stride": 16}
    assert occlusion.occlusion(model, image, target, **options).heatmap.any()
    assert smoothgrad.smoothgrad(*given, sigma=0.1).mean.any()
    found = integrated_gradients.integrated_gradients(*given, 0.5)
    assert found.attributions.any()
    assert grad_cam.grad_cam(*given).coarse.any()
"""
    for target in ("lambda outputs: outputs[:, 0]", 'loss("mse", y_true)'):
        assert f"`{target}`" in README
    # As in a reader's shell: without what an earlier import has set here.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    with Image.open(tmp_path / "maps.png") as figure:
        assert figure.width > 1500
    for line in run.stderr.splitlines():
        assert re.match(r"[IWE]\d{4} |WARNING: All log messages before", line)


@pytest.mark.quick
def test_table_of_notebooks_is_complete():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{path.name})" in README
        assert f"/blob/main/notebooks/{path.name})" in README
    headings = re.findall(r"^#+ (.*)$", README, re.M)
    anchors = {"#" + name.lower().replace(" ", "-") for name in headings}
    for target in re.findall(r"\]\(((?!https)[^)]+)\)", README):
        assert target in anchors or (ROOT / target).is_file(), target
    for alt in re.findall(r"!\[(.*?)\]", README):
        assert len(alt) > 10


@pytest.mark.quick
def test_the_two_commands_are_those_that_are_tested():
    assert fenced("bash") == ["python3 run.py lab", "python3 run.py test"]
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "grep -m1 '^python3 run.py test$' README.md" in ci
    browser = (ROOT / "tests" / "test_browser.py").read_text("utf-8")
    assert 're.search(r"```bash\\n(.* lab)\\n```", readme)' in browser


@pytest.mark.quick
def test_pip_by_hand_installs_what_run_py_installs():
    (by_hand,) = fenced("sh")
    assert '-m pip install -e ".[lab,test]"' in by_hand
    assert '"install", "-e", ".[lab,test]"' in (ROOT / "run.py").read_text(
        "utf-8"
    )


@pytest.mark.quick
@pytest.mark.parametrize(
    "version, says", [((3, 10), "too old"), ((3, 14), "too new")]
)
def test_another_python_gets_one_sentence(version, says, monkeypatch):
    check_python = runpy.run_path(str(ROOT / "run.py"))["check_python"]
    for minor in MINOR:
        supported = tuple(map(int, minor.split(".")))
        monkeypatch.setattr(sys, "version_info", (*supported, 1))
        check_python()
    monkeypatch.setattr(sys, "version_info", (*version, 1))
    with pytest.raises(SystemExit, match=says) as stop:
        check_python()
    assert "\n" not in stop.value.code
    for minor in MINOR:
        assert minor in stop.value.code


@pytest.mark.quick
def test_an_old_python_can_read_run_py():
    source = (ROOT / "run.py").read_text("utf-8")
    ast.parse(source, feature_version=(3, 6))


@pytest.mark.quick
def test_the_pythons_are_the_same_everywhere():
    text = (ROOT / ".github/workflows/tests.yml").read_text("utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == MINOR
    ends = {
        entry["versions"]: entry["python"]
        for entry in jobs["versions"]["strategy"]["matrix"]["include"]
    }
    assert ends == {"oldest": MINOR[0], "newest": MINOR[-1]}
    *most, last = MINOR
    assert f"Python {', '.join(most)} or {last}" in README
    classifiers = "\n".join(PROJECT["classifiers"])
    assert re.findall(r":: (3\.\d+)$", classifiers, re.M) == MINOR


@pytest.mark.quick
def test_environment_and_pyproject_are_in_step():
    """Every dependency is pinned once, within its range; nothing else is."""
    wanted = {}
    for line in [
        *PROJECT["dependencies"],
        *PROJECT["optional-dependencies"]["lab"],
        *PROJECT["optional-dependencies"]["test"],
    ]:
        requirement = Requirement(line)
        wanted[requirement.name] = requirement
    text = (ROOT / "environment.yml").read_text("utf-8")
    python, pip, packages = yaml.safe_load(text)["dependencies"]
    assert python.removeprefix("python=") in MINOR and pip == "pip"
    *lines, last = packages["pip"]
    assert last == "--editable ."
    pins = dict(line.split("==") for line in lines)
    assert set(pins) == set(wanted)
    for name, version in pins.items():
        assert version in wanted[name].specifier, name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the tree, without a network."""
    tree, out = (tmp_path_factory.mktemp(name) for name in ("tree", "out"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(
        ROOT / "xai_utils",
        tree / "xai_utils",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps"]
    command += ["--no-build-isolation", "-w", str(out), str(tree)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_has_every_file_of_the_package(wheel):
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "xai_utils").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {
        "xai_utils/weights/squeezenet.npz",
        "xai_utils/weights/imagenet_classes.txt",
        "xai_utils/weights/SQUEEZENET.md",
        "xai_utils/__init__.py",
        "xai_utils/_core/__init__.py",
        "xai_utils/_core/inputs.py",
        "xai_utils/data/__init__.py",
        "xai_utils/data/photos.py",
        "xai_utils/data/silhouettes.py",
    } < package
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == package


def test_wheel_names_both_licences(wheel):
    (name,) = (n for n in wheel.namelist() if n.endswith("/METADATA"))
    metadata = wheel.read(name).decode().split("\n\n")[0].splitlines()
    assert "License-Expression: MIT AND BSD-2-Clause" in metadata
    for path in ("LICENSE", "xai_utils/weights/SQUEEZENET.md"):
        assert f"License-File: {path}" in metadata
        licence = name.replace("METADATA", f"licenses/{path}")
        assert wheel.read(licence) == (ROOT / path).read_bytes()


@pytest.mark.quick
def test_licences_and_origin_of_the_weights_are_named():
    for text in (
        README,
        (ROOT / PROJECT["license-files"][1]).read_text("utf-8"),
    ):
        assert "Iandola" in text and "1602.07360" in text
        assert "DeepScale" in text and "BSD" in text


@pytest.mark.quick
def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    titles = [entry["title"] for entry in citation["references"]]
    assert len(titles) == 4
    assert citation["references"][0]["authors"][0]["family-names"] == "Kotani"
    for address in ("1312.6034", "1311.2901", "1602.07360"):
        assert address in README
    assert "Kotani2023TensorflowSaliencyMaps" in README
