"""A reader's own folder and table, through notebooks 08 and 09: only the cell
tagged ``paths`` is changed."""

from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xai_utils.data import silhouettes

ROOT = Path(__file__).parents[1]


def run(name, until, paths):
    """Run a notebook's cells before the heading `until`; their names."""
    names = {}
    changed = 0
    for cell in nbformat.read(ROOT / "notebooks" / name, 4).cells:
        if cell.cell_type == "markdown" and f"## {until}" in cell.source:
            assert changed == 1
            return names
        if cell.cell_type == "code":
            own = "paths" in cell.metadata.get("tags", [])
            changed += own
            exec(paths if own else cell.source, names)
    pytest.fail(f"{name} has no heading {until}")


def test_trained_and_explained(tmp_path, monkeypatch):
    """Pictures of another shape, a Parquet table with columns of other names:
    the notebooks themselves use squares and CSV."""
    images, waists, _ = silhouettes.make(30, seed=40)
    images = images[:, ::2, 10:118:2]
    folder, table = tmp_path / "people", tmp_path / "table.parquet"
    folder.mkdir()
    rows = pd.DataFrame(
        {"picture": [f"{i}.png" for i in range(len(images))], "cm": waists}
    )
    for name, image in zip(rows.picture, images):
        Image.fromarray(image).save(folder / name)
    rows.to_parquet(table)
    model = tmp_path / "mine.keras"
    monkeypatch.chdir(ROOT / "notebooks")
    paths = (
        f"FOLDER, TABLE, MODEL = {str(folder)!r}, {str(table)!r}, "
        f"{str(model)!r}\nFILE, LABEL = 'picture', 'cm'\n"
    )
    trained = run("08_training.ipynb", "Check against the truth", paths)
    np.testing.assert_allclose(trained["labels"], waists, rtol=1e-6)
    assert trained["SHAPE"] == images[0].shape and model.is_file()
    assert sorted(folder.iterdir()) == sorted(
        folder / name for name in rows.picture
    ), "the folder is as it was"
    explained = run("09_regression.ipynb", "Step 8", paths)
    assert explained["waist"] == np.float32(waists[0])
    assert explained["measured"] == pytest.approx(
        trained["loaded"](images[:1].astype(np.float32)).numpy()[0, 0]
    )
    for name in ("gradient_map", "occlusion_map"):
        values = explained[name]
        assert values.shape == images[0].shape[:2], name
        assert np.isfinite(values).all() and values.max() > 0, name
