"""A folder of pictures with a table of labels, checked before training."""

from os import PathLike
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from .._core.progress import bar
from .photos import load


def read(
    table: str | PathLike,
    folder: str | PathLike,
    *,
    file: str = "file",
    label: str | list[str] = "label",
    size: int | None = None,
) -> tuple[list[Path], np.ndarray]:
    """Read a table of labels and look at every picture that it names.

    Training that stops after an hour on one bad picture is lost. So all is
    looked at first, and one error names everything that is wrong.

    Args:
        table: a CSV or Parquet file with a row for each picture.
        folder: where the pictures lie.
        file: the column with the pictures' names, relative to `folder`.
        label: the column with the numbers to learn, or a list of columns.
        size: as in `photos.load`; None where the pictures are used as they
            are, which must then have one common shape.

    Returns:
        paths: list of the pictures' paths, in the order of the table.
        labels: float32 `(n,)`, or `(n, k)` for a list of k columns.

    Raises:
        FileNotFoundError: there is no such table or folder.
        ValueError: the table is not CSV or Parquet, has no rows or lacks a
            column; or, all in one message: rows without a name, names that
            come twice, labels that are no finite numbers, pictures that are
            missing or can't be read, pictures of different shapes.
    """
    rows = _rows(table, file)
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"folder must hold the pictures; there is no "
            f"folder {folder} (working folder: "
            f"{Path.cwd()})"
        )
    columns = [label] if isinstance(label, str) else list(label)
    missing = [name for name in (file, *columns) if name not in rows]
    if missing or not columns:
        raise ValueError(
            f"file and label must be columns of {table}; missing: "
            f"{missing}, there are: {', '.join(map(str, rows))}"
            + _how_to_separate(rows)
        )
    numbers = rows[columns].apply(pd.to_numeric, errors="coerce")
    labels = numbers.to_numpy(np.float32)
    # One spelling for each name: ./a.png is a.png.
    names = [
        str(PurePath(str(name))) if str(name).strip() else None
        for name in rows[file].fillna("")
    ]
    problems = [
        *_bad_labels(names, rows[columns], numbers, labels),
        *_bad_names(names),
        *_bad_pictures(folder, names, size),
    ]
    if problems:
        raise ValueError(
            f"{table} and {folder} can't be used as they are:"
            + "".join(f"\n- {line}" for line in problems)
        )
    paths = [folder / name for name in names]
    return paths, labels[:, 0] if isinstance(label, str) else labels


def _how_to_separate(rows):
    """The end of an error message, for a table with other separators."""
    (only, *more) = map(str, rows)
    if not more and (";" in only or "\t" in only):
        return ": one column; save the table with commas between columns"
    return ""


def _rows(table, file):
    table = Path(table)
    if not table.is_file():
        raise FileNotFoundError(
            f"table must be a CSV or Parquet file; there "
            f"is no file {table} (working folder: "
            f"{Path.cwd()})"
        )
    readers = {
        ".parquet": pd.read_parquet,
        ".pq": pd.read_parquet,
        # As text, or a picture named 007 would become the number 7.
        ".csv": lambda path: _csv(path, file),
    }
    if table.suffix.lower() not in readers:
        raise ValueError(f"table must end in .csv or .parquet; got {table}")
    try:
        rows = readers[table.suffix.lower()](table)
    except Exception as error:  # each format has errors of its own
        raise ValueError(f"{table} can't be read: {error}") from error
    if not len(rows):
        raise ValueError(f"{table} has no rows")
    return rows.reset_index(drop=True)


def _csv(path, file):
    rows = pd.read_csv(path, dtype={file: str})
    if not rows.index.equals(pd.RangeIndex(len(rows))):
        raise ValueError(
            "its rows have more fields than its header; numbers need a "
            "decimal point, and lines no comma at their end"
        )
    return rows


def _bad_labels(names, given, numbers, labels):
    for name, column in zip(numbers, labels.T):
        exact = numbers[name]
        spread, lost = np.ptp(exact), np.abs(column - exact).max()
        if 0 < spread < 1000 * lost:
            yield f"labels too close for float32 (subtract a constant): {name}"
    bad = ~np.isfinite(labels)
    yield from _shorten(
        "label is not a finite number",
        [
            f"{names[row]}: {given.columns[column]} = "
            f"{given.iloc[row, column]}"
            for row, column in zip(*np.nonzero(bad))
        ],
    )


def _bad_names(names):
    rows = {}
    for row, name in enumerate(names, start=1):
        rows.setdefault(name, []).append(str(row))
    yield from _shorten(
        "no file name", [f"row {row}" for row in rows.pop(None, [])]
    )
    yield from _shorten(
        "named more than once",
        [
            f"{name} (rows {', '.join(lines)})"
            for name, lines in rows.items()
            if len(lines) > 1
        ],
    )


def _bad_pictures(folder, names, size):
    missing, unreadable, shapes = [], [], {}
    with bar(len(names)) as progress:
        for name in filter(None, dict.fromkeys(names)):
            try:
                shapes.setdefault(load(folder / name, size).shape, name)
            except FileNotFoundError:
                missing.append(name)
            except (ValueError, TypeError, OSError) as error:
                unreadable.append(str(error))
            progress.update()
    yield from _shorten("no such picture", missing)
    yield from _shorten("picture can't be used", unreadable)
    if len(shapes) > 1:
        yield from _shorten(
            "pictures differ in shape (bring them to one scale yourself, or "
            "give size)",
            [
                f"{shape[0]} × {shape[1]} ({name})"
                for shape, name in shapes.items()
            ],
        )


def _shorten(problem, cases):
    """One line for a kind of problem, with its first five cases."""
    if cases:
        more = f" and {len(cases) - 5} more" if len(cases) > 5 else ""
        yield f"{problem}: {'; '.join(cases[:5])}{more}"
