"""Folder and table: what is wrong is named, all of it, before training."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xai_utils.data import tables

pytestmark = pytest.mark.quick


@pytest.fixture
def folder(tmp_path):
    """Six pictures, and a table as a data frame to spoil and write."""
    (tmp_path / "in").mkdir()
    for i in range(6):
        Image.new("RGB", (40, 30), (i, 0, 0)).save(
            tmp_path / "in" / f"{i:03}.png"
        )
    return tmp_path


def frame():
    return pd.DataFrame(
        {
            "file": [f"{i:03}.png" for i in range(6)],
            "waist": [70, 80.5, 90, 100, 110, 75],
            "hips": np.arange(90, 96),
        }
    )


def write(rows, folder, name="table.csv"):
    path = folder / name
    rows.to_csv(path, index=False) if name.endswith("csv") else (
        rows.to_parquet(path)
    )
    return path


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "T.CSV"])
def test_paths_and_labels_in_the_order_of_the_table(folder, name):
    rows = frame()[::-1]
    if name == "T.CSV":
        rows.to_csv(folder / name, index=False)
    else:
        write(rows, folder, name)
    paths, labels = tables.read(
        folder / name, str(folder / "in"), label="waist"
    )
    assert [path.name for path in paths] == list(rows.file)
    assert all(path.is_file() for path in paths)
    assert labels.dtype == np.float32 and labels.shape == (6,)
    np.testing.assert_array_equal(labels, rows.waist.astype(np.float32))


def test_several_labels_and_another_column_of_names(folder):
    table = write(frame().rename(columns={"file": "picture"}), folder)
    _, labels = tables.read(
        table, folder / "in", file="picture", label=["waist", "hips"]
    )
    assert labels.shape == (6, 2) and labels[1].tolist() == [80.5, 91]


def test_names_that_look_like_numbers_stay_names(folder):
    """pandas alone would make 000 and 001 the numbers 0 and 1."""
    rows = frame()
    rows["file"] = [f"{i:03}" for i in range(6)]
    for path in (folder / "in").iterdir():
        path.rename(path.with_suffix(""))
    paths, _ = tables.read(write(rows, folder), folder / "in", label="waist")
    assert paths[1].name == "001"


SPOIL = {
    "missing": (
        lambda rows, folder: (folder / "in/002.png").unlink(),
        "no such picture: 002.png",
    ),
    "nan": (
        lambda rows, folder: rows.__setitem__(
            "waist", [70, None, 90, 100, np.inf, 75]
        ),
        r"not a finite number: 001.png: waist = nan; 004.png: waist = inf",
    ),
    "text": (
        lambda rows, folder: rows.__setitem__(
            "waist", ["70", "80,5", "90", "100", "110", "75"]
        ),
        "not a finite number: 001.png: waist = 80,5",
    ),
    "twice": (
        lambda rows, folder: rows.__setitem__(
            "file",
            [
                "000.png",
                "001.png",
                "000.png",
                "003.png",
                "./003.png",
                "005.png",
            ],
        ),
        r"named more than once: 000.png \(rows 1, 3\); 003.png \(rows 4, 5",
    ),
    "nameless": (
        lambda rows, folder: rows.__setitem__(
            "file", ["000.png", None, "002.png", "003.png", " ", "005.png"]
        ),
        "no file name: row 2; row 5",
    ),
    "damaged": (
        lambda rows, folder: (folder / "in/004.png").write_bytes(
            (folder / "in/004.png").read_bytes()[:60]
        ),
        "picture can't be used: .*004.png is a damaged",
    ),
    "empty": (
        lambda rows, folder: (folder / "in/004.png").write_bytes(b""),
        "picture can't be used: .*004.png is empty",
    ),
    "shape": (
        lambda rows, folder: Image.new("RGB", (30, 40)).save(
            folder / "in/003.png"
        ),
        r"differ in shape .*30 × 40 \(000.png\); 40 × 30 \(003.png\)",
    ),
}


@pytest.mark.parametrize("fault", SPOIL)
def test_a_fault_is_named(folder, fault):
    rows = frame()
    spoil, message = SPOIL[fault]
    spoil(rows, folder)
    with pytest.raises(ValueError, match=message) as caught:
        tables.read(write(rows, folder), folder / "in", label="waist")
    assert str(caught.value).count("\n- ") == 1, "only what is wrong"


def test_all_faults_come_in_one_message(folder):
    rows = frame()
    for fault in ("missing", "nan", "damaged"):
        SPOIL[fault][0](rows, folder)
    with pytest.raises(ValueError) as caught:
        tables.read(write(rows, folder), folder / "in", label="waist")
    assert str(caught.value).count("\n- ") == 3


def test_many_cases_are_counted_not_listed(folder):
    rows = pd.concat([frame()] * 2).assign(
        file=[f"nobody{i}.png" for i in range(12)]
    )
    with pytest.raises(ValueError, match=r"nobody4.png and 7 more$"):
        tables.read(write(rows, folder), folder / "in", label="waist")


def test_pictures_of_any_shape_with_a_size(folder):
    Image.new("RGB", (80, 90)).save(folder / "in/003.png")
    table = write(frame(), folder)
    paths, _ = tables.read(table, folder / "in", label="waist", size=32)
    assert len(paths) == 6


def test_table_or_folder_that_is_none(folder):
    table = write(frame(), folder)
    with pytest.raises(FileNotFoundError, match="no file .*other.csv"):
        tables.read(folder / "other.csv", folder / "in", label="waist")
    with pytest.raises(FileNotFoundError, match="no folder .*out"):
        tables.read(table, folder / "out", label="waist")
    with pytest.raises(ValueError, match="missing: .'waste'.*there are: fil"):
        tables.read(table, folder / "in", label="waste")
    (folder / "decimal.csv").write_text("waist,file\n81,5,1.png\n82,5,2.png")
    with pytest.raises(ValueError, match="more fields than its header"):
        tables.read(folder / "decimal.csv", folder / "in", label="waist")
    large = frame()
    large["waist"] = 1_700_000_000 + np.arange(len(large))
    with pytest.raises(ValueError, match="too close for float32.*: waist"):
        tables.read(write(large, folder), folder / "in", label="waist")
    noisy = frame()  # 0.1 + 0.2 beside 0.3 is no problem
    noisy["waist"] = [0.3, 0.1 + 0.2, *range(len(noisy) - 2)]
    tables.read(write(noisy, folder), folder / "in", label="waist")
    frame().to_csv(folder / "excel.csv", sep=";", index=False)
    with pytest.raises(ValueError, match="with commas between columns"):
        tables.read(folder / "excel.csv", folder / "in", label="waist")
    with pytest.raises(ValueError, match="end in .csv or .parquet; got"):
        tables.read(
            table.rename(folder / "table.xlsx"), folder / "in", label="waist"
        )
    with pytest.raises(ValueError, match="has no rows"):
        tables.read(write(frame()[:0], folder), folder / "in", label="waist")
    (folder / "x.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match="x.parquet can't be read"):
        tables.read(folder / "x.parquet", folder / "in", label="waist")
