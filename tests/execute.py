"""Run the notebooks and store their outputs: ``python tests/execute.py``.

Names of notebooks run only these. An output that differs from the stored one
by no more than the tests allow is kept as it was, so that on any machine the
git diff stays empty until something has changed; ``--anew`` stores all of
them. What would differ from run to run (times, ids of widgets, versions) is
left out. The cell tagged ``hero`` of each notebook gives the figure at its
head, in images/.
"""

import argparse
import base64
import copy
import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from notebook_checks import difference, figures, other_matplotlib, texts

ROOT = Path(__file__).parents[1]
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path, anew):
    stored = nbformat.read(path, as_version=4)
    notebook = copy.deepcopy(stored)
    NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": path.parent}},
    ).execute()
    clean(notebook)
    for old, cell in zip(stored.cells, notebook.cells):
        if not anew and same(old.get("outputs"), cell.get("outputs")):
            cell.outputs = old.outputs
        if "hero" in cell.metadata.get("tags", []):
            store_hero(path.stem, cell.outputs)
    nbformat.write(notebook, path)


def same(stored, new):
    """Whether the tests would take the new outputs for the stored ones."""
    if not stored or not new or texts(stored) != texts(new):
        return False
    old, drawn = figures(stored), figures(new)
    coarse = bool(other_matplotlib())
    return len(old) == len(drawn) and not any(
        difference(*pair, coarse=coarse) for pair in zip(old, drawn)
    )


def clean(notebook):
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            # Without a kernel, a widget is an error message on the page.
            output.get("data", {}).pop(WIDGET, None)


def store_hero(stem, outputs):
    """The figure at the head of the notebook, in images/."""
    for output in outputs:
        for kind, ending in (("image/png", ".png"), ("image/jpeg", ".jpg")):
            if kind in output.get("data", {}):
                picture = base64.b64decode(output.data[kind])
                (ROOT / "images" / (stem + ending)).write_bytes(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--anew", action="store_true")
    chosen = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    everything = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in chosen.notebooks or everything:
        execute(path.resolve(), chosen.anew)
        print(path.name)
