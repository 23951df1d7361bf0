"""Run the notebooks and store their outputs: ``python tests/execute.py``.

Names of notebooks run only these. What would differ from run to run (times,
ids of widgets, versions) is left out, so that on the same machine the git
diff stays empty. The cell tagged ``hero`` of each notebook gives the figure
at its head, in images/.
"""

import base64
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": path.parent}},
    ).execute()
    clean(notebook)
    for cell in notebook.cells:
        if "hero" in cell.metadata.get("tags", []):
            (png,) = (
                output.data["image/png"]
                for output in cell.outputs
                if "image/png" in output.get("data", {})
            )
            hero = ROOT / "images" / (path.stem + ".png")
            hero.write_bytes(base64.b64decode(png))
    nbformat.write(notebook, path)


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


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"
    chosen = sys.argv[1:] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in map(Path, chosen):
        execute(path.resolve())
        print(path.name)
