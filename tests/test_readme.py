"""What README, environment.yml and pyproject.toml claim."""

import re
from pathlib import Path

import keras
import numpy as np
import yaml
from packaging.requirements import Requirement
from PIL import Image

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_own_model_in_ten_lines(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in code.splitlines() if line]) <= 10
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    ).save("my_model.keras")
    noise = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
    Image.fromarray(noise).save("my_picture.jpg")
    names = {}
    exec(code, names)
    assert names["gradient_map"].shape == (64, 64)
    assert names["gradient_map"].max() > 0
    p = names["model"](names["image"][None]).numpy()[0]
    assert names["drop"].baseline == np.float64(p.max())
    assert names["drop"].heatmap.shape == (64, 64)


def test_table_of_notebooks_is_complete():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{path.name})" in README
        assert f"/blob/main/notebooks/{path.name})" in README
    for target in re.findall(r"\]\(((?!https)[^)]+)\)", README):
        assert (ROOT / target).is_file(), target
    for alt in re.findall(r"!\[(.*?)\]", README):
        assert len(alt) > 10


def test_environment_and_pyproject_are_in_step():
    """Every dependency is pinned once, within its range; nothing else is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {}
    for line in [
        *project["dependencies"],
        *project["optional-dependencies"]["lab"],
        *project["optional-dependencies"]["test"],
    ]:
        requirement = Requirement(line)
        if not requirement.marker or requirement.marker.evaluate():
            wanted[requirement.name] = requirement
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip = (line for line in environment["dependencies"][:2])
    assert python.split("=")[0] == "python" and pip == "pip"
    assert (
        python.split("=")[1] + ".0"
        in Requirement("python" + project["requires-python"]).specifier
    )
    lines = environment["dependencies"][2]["pip"]
    assert lines[-1] == "--editable ."
    pins = dict(line.split("==") for line in lines[:-1])
    assert set(pins) == set(wanted)
    for name, version in pins.items():
        assert version in wanted[name].specifier, name


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    titles = [entry["title"] for entry in citation["references"]]
    assert len(titles) == 3
    assert citation["references"][0]["authors"][0]["family-names"] == "Kotani"
    for address in ("1312.6034", "1311.2901"):
        assert address in README
    assert "Kotani2023TensorflowSaliencyMaps" in README
