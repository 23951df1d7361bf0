"""Readers' own folders and tables, through notebooks 08 and 09: only the cell
tagged ``paths`` is changed."""

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image
from skimage.draw import disk

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

#: Shape, dtype, the ending of the files, and what multiplies the label.
KINDS = {
    "grey 64 × 64": ((64, 64), np.uint8, "png", 1),
    "colour 300 × 200": ((200, 300, 3), np.uint8, "jpg", 1000),
    "16-bit": ((80, 96), np.uint16, "png", 0.01),
}


def draw(kind, folder):
    """Forty discs of random size and place; a table with their radius."""
    shape, dtype, ending, factor = KINDS[kind]
    rng, rows = np.random.default_rng(0), []
    folder.mkdir()
    for i in range(40):
        radius = rng.uniform(0.1, 0.3) * min(shape[:2])
        middle = [rng.uniform(radius, side - radius) for side in shape[:2]]
        picture = np.full(shape, np.iinfo(dtype).max // 8, dtype)
        picture[disk(middle, radius)] = np.iinfo(dtype).max * 0.8
        name = f"disc {i}.{ending}"
        Image.fromarray(picture).save(folder / name)
        rows.append({"picture": name, "radius": radius * factor})
    return pd.DataFrame(rows)


def heading(cell):
    return (re.findall("^## .*", cell.source, re.M) or [""])[-1]


def run(name, paths, look, whole):
    """Run a notebook, or only the reader's part; the values of expressions,
    and what cells of that part put out (the camera of 08 is not the
    reader's)."""
    notebook = nbformat.read(NOTEBOOKS / name, 4)
    (end,) = (
        i
        for i, cell in enumerate(notebook.cells)
        if "## Check against the truth" in cell.source
    )
    part = notebook.cells[:end]
    (own,) = (
        cell for cell in part if "paths" in cell.metadata.get("tags", [])
    )
    own.source = paths
    values = ", ".join(f"{what!r}: {how}" for what, how in look.items())
    last = nbformat.v4.new_code_cell(
        f"import json\nprint(json.dumps({{{values}}}))"
    )
    notebook.cells = [*(notebook.cells if whole else part), last]
    resources = {"metadata": {"path": NOTEBOOKS}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    told, under = [], ""
    for cell in part:
        under = heading(cell) or under
        if not under.endswith("Which changes leave the label alone?"):
            for output in cell.get("outputs", []):
                told += [output.get("text", ""), str(output.get("metadata"))]
    return json.loads(last.outputs[0].text), "\n".join(told)


WHOLE = "colour 300 × 200"  # a minute and a half alone


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.exhaustive)
        if kind == WHOLE
        else kind
        for kind in KINDS
    ],
)
def test_trained_and_explained(kind, tmp_path):
    folder, table = tmp_path / "my discs", tmp_path / "my table.csv"
    rows, shape = draw(kind, folder), KINDS[kind][0][:2]
    rows.to_csv(table, index=False)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    model = tmp_path / "mine.keras"
    paths = (
        f"FOLDER, TABLE, MODEL = {str(folder)!r}, {str(table)!r}, "
        f"{str(model)!r}\n"
        "FILE, LABEL, UNIT, SIZE = 'picture', 'radius', 'bananas', None\n"
        "PICTURE, FILL = 5, 30\n"  # of 09 only
    )
    look = {
        "labels": "labels.tolist()",
        "first": "float(loaded.predict(images, verbose=0)[5, 0])",
        "error": "float(off.mean())",
    }
    whole = kind == WHOLE  # the rest of it is of drawn people
    trained, told = run("08_training.ipynb", paths, look, whole)
    np.testing.assert_allclose(trained["labels"], rows.radius, rtol=1e-6)
    assert trained["error"] < np.ptp(rows.radius)
    assert told.count("bananas") > 3 and "always the mean" in told
    assert before == {
        path: path.stat().st_mtime_ns for path in folder.iterdir()
    }, "the folder is as it was"
    look = {
        "truth": "truth",
        "measured": "measured",
        "gradient": "gradient_map.tolist()",
        "occlusion": "occlusion_map.tolist()",
    }
    explained, more = run("09_regression.ipynb", paths, look, whole)
    assert explained["truth"] == pytest.approx(rows.radius[5])
    assert explained["measured"] == pytest.approx(trained["first"], rel=1e-5)
    for name in ("gradient", "occlusion"):
        values = np.array(explained[name])
        assert values.shape == shape, name
        assert np.isfinite(values).all() and values.max() > 0, name
    assert "bananas" in more
    told = told.replace("waist = nan", "")  # in the spoilt folder of 08
    ours = re.search(r"\b(cm|waist|body|bodies|band)\b", told + more)
    assert not ours, "that is of our drawn people"


def test_three_broken_rows_are_named(tmp_path):
    folder, table = tmp_path / "discs", tmp_path / "table.csv"
    rows = draw("grey 64 × 64", folder).astype({"radius": object})
    rows.loc[3, "radius"] = "about 9"
    rows.loc[7, "picture"] = "lost.png"
    (folder / rows.picture[11]).write_bytes(b"no picture")
    rows.to_csv(table, index=False)
    paths = (
        f"FOLDER, TABLE, MODEL = {str(folder)!r}, {str(table)!r}, None\n"
        "FILE, LABEL, UNIT, SIZE = 'picture', 'radius', 'px', None\n"
    )
    with pytest.raises(CellExecutionError) as stop:
        run("08_training.ipynb", paths, {}, whole=False)
    for part in ("disc 3.png: radius = about 9", "lost.png", "disc 11.png"):
        assert part in stop.value.evalue
