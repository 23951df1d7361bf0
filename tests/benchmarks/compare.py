"""This package beside five others: what the same map costs in each.

``python tests/benchmarks/compare.py`` makes an environment for each library
in a temporary folder, lets all of them make the same maps of the same picture
with the same network in turns, and prints a table; ``--write`` also stores it
in ``xai_utils/results/libraries.csv``. This package runs in the environment
that runs this file. With ``--folder`` the environments are kept there, and
found again: a quarter of an hour on two idle cores, without what
installing takes. `peers/` has a worker for each library, which says what it
calls; `peers/serve.py` has the settings that all share.

For each task each library gets a new process. Columns:

- ratio: the median time of a call (occlusion: of a position) over this
  package's, of rounds in which the libraries take turns, after one call to
  warm up. Where a library takes a batch size, it has the fastest of
  `BATCHES`; this package keeps its default.
- peak MiB: the largest resident memory of that process, up to its first map.
- seconds to first map: from the start of that process, imports included; its
  files have been read once before.
- agreement with this package's map: the largest difference as a share of the
  range, and the rank correlation, over all pixels and channels, with signs.
  SmoothGrad's noise differs; this package's own row says by how much two
  seeds differ.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from xai_utils.data import photos

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OURS = "xai_utils"
#: Library -> what pip installs for it.
LIBRARIES = {
    OURS: [],
    "Captum": ["captum"],
    "Xplique": ["xplique"],
    "tf-keras-vis": ["tf-keras-vis", "tensorflow"],
    "tf-explain": [
        "tf-explain",
        "opencv-python-headless",
        "tensorflow",
        "tf-keras",
    ],
    "saliency": ["saliency", "tensorflow"],
}
#: Library -> variables of its process.
VARIABLES = {"tf-explain": {"TF_USE_LEGACY_KERAS": "1"}}
#: Task -> rounds.
TASKS = {
    "gradient, 1 image": 15,
    "gradient, 32 images": 5,
    "SmoothGrad 50": 5,
    "Integrated Gradients 50": 5,
    "occlusion 32/8": 3,
    "occlusion 16/4": 3,
}
#: Tried where a library takes a batch size; 50 is all samples or steps.
BATCHES = (8, 16, 50)
#: Seconds to the first map from which on a library has one round, not all.
SLOW = 60


def environment(library, folder):
    """The Python of the library's environment, which is made if need be."""
    if library == OURS:
        return Path(sys.executable)
    place = folder / library.lower()
    python = place / (
        "Scripts/python.exe" if os.name == "nt" else "bin/python"
    )
    if not python.exists():
        print(f"{library}: installing", flush=True)
        pip = [python, "-m", "pip", "install", "--quiet", *LIBRARIES[library]]
        try:
            for command in ([sys.executable, "-m", "venv", place], pip):
                subprocess.run(
                    command,
                    cwd=folder,
                    check=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
        except subprocess.CalledProcessError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise RuntimeError(one_line(error.stdout, folder)) from error
    return python


def one_line(text, folder):
    """What an error says, of all that was printed, at most 150 letters."""
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    lines = [line for line in lines if "ERROR" in line] or lines  # of pip
    return lines[-1].strip().replace(str(folder), "…")[:150]


class Worker:
    """A process in a library's environment that does one task after another.

    Its own messages go to a file; an error of the library is a RuntimeError
    here.
    """

    def __init__(self, library, python, folder):
        script = f"with_{library.lower().replace('-', '_')}.py"
        self.folder, self.log = folder, folder / f"{library}.log"
        self.start = time.perf_counter()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [python, HERE / "peers" / script, folder],
                cwd=ROOT,
                env=os.environ | VARIABLES.get(library, {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.about = self._answer()

    def do(self, task, batch=None):
        """Dict of seconds (a call, or a position) and peak (MiB)."""
        return self._ask({"task": task, "batch": batch})

    def save(self, path):
        """Store what the last task found, in forms that can be compared."""
        self._ask({"save": str(path)})

    def _ask(self, asked):
        with contextlib.suppress(BrokenPipeError):  # `_answer` tells why
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError(one_line(self.log.read_text(), self.folder))
        answer = json.loads(line)
        if "error" in answer:
            self.stop()
            raise RuntimeError(one_line(answer["error"], self.folder))
        return answer

    def stop(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()  # the end of its input ends it
        self.process.wait()


def prepare(library, folder):
    """A dict of what is needed to run it: its Python, what it says about
    itself, and its fastest batch size for each task that takes one."""
    python = environment(library, folder)
    worker = Worker(library, python, folder)
    worker.do("logits")
    worker.save(folder / f"{library} logits.npz")
    logits = [
        np.load(folder / f"{name} logits.npz")["logits"]
        for name in (OURS, library)
    ]
    difference = np.abs(logits[1] - logits[0]).max()
    if difference > 1e-3:
        worker.stop()
        raise RuntimeError(f"logits differ by {difference:.1e}")
    batches = {}
    for task in worker.about["batched"]:
        trial = "occlusion 32/16" if task.startswith("occlusion") else task
        times = {}
        for batch in BATCHES:
            worker.do(trial, batch)
            times[batch] = worker.do(trial, batch)["seconds"]
        batches[task] = min(times, key=times.get)
    worker.stop()
    print(f"{library} {worker.about['version']}: ready {batches}", flush=True)
    return {
        "library": library,
        "python": python,
        "batches": batches,
        **worker.about,
    }


def measure(task, rounds, ready, folder):
    """Rows of the table: every library, in turns."""
    rows = {
        library: first_row(task, known) for library, known in ready.items()
    }
    batch = {name: known["batches"].get(task) for name, known in ready.items()}
    workers = {}
    try:
        for library, row in rows.items():
            if task not in ready[library]["tasks"]:
                row["remark"] = "it has none"
                continue
            try:
                worker = Worker(library, ready[library]["python"], folder)
                done = worker.do(task, batch[library])
                seconds = time.perf_counter() - worker.start
                worker.save(folder / f"{library} map.npz")
            except RuntimeError as error:
                row["remark"] = f"error: {error}"
                continue
            row["seconds to first map"] = round(seconds, 1)
            row["peak MiB"] = done["peak"] and round(done["peak"])
            workers[library] = worker
        times = {library: [] for library in workers}
        for number in range(rounds):
            for library in list(workers):
                if number and rows[library]["seconds to first map"] > SLOW:
                    continue
                try:
                    done = workers[library].do(task, batch[library])
                    times[library].append(done["seconds"])
                except RuntimeError as error:
                    rows[library]["remark"] = f"error: {error}"
                    del workers[library]
        if OURS not in workers:
            raise RuntimeError(rows[OURS]["remark"])
        if task.startswith("SmoothGrad"):
            workers[OURS].do(f"{task}, another seed")
            workers[OURS].save(folder / "seed.npz")
    finally:
        for worker in workers.values():
            worker.stop()
    ours = statistics.median(times[OURS])
    for library in workers:
        ratio = statistics.median(times[library]) / ours
        rows[library]["ratio"] = round(ratio, 2)
        rows[library]["agreement"] = agreement(task, library, folder)
        if len(times[library]) < rounds:
            rows[library]["remark"] += "; timed once"
    unit = "a position" if task.startswith("occlusion") else "a call"
    rows[OURS]["remark"] += f"; {1000 * ours:.1f} ms {unit}"
    return list(rows.values())


def first_row(task, known):
    """What is known before the task is done."""
    remarks = [known["remarks"].get(task, "")]
    if task in known["batches"]:
        remarks.insert(0, f"batch {known['batches'][task]}")
    return {
        "library": known["library"],
        "version": known["version"],
        "task": task,
        "remark": "; ".join(filter(None, remarks)),
    }


def agreement(task, library, folder):
    """With this package's map, in the form that both have."""
    other = folder / f"{library} map.npz"
    if library == OURS:
        other = folder / "seed.npz"
        if not task.startswith("SmoothGrad"):
            return ""
    with np.load(folder / f"{OURS} map.npz") as ours, np.load(other) as found:
        name = next(iter(set(ours) & set(found)))
        first, second = ours[name], found[name]
    difference = np.abs(second - first).max() / np.ptp(first)
    rank = spearmanr(first, second, axis=None).statistic
    return f"{difference:.1e}, rank {rank:.4f}"


def processor():
    """Its name, for the table."""
    name = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        names = [li.split(": ")[1] for li in lines if "model name" in li]
        name = f"{len(names)} cores of {names[0]}"
    return f"{name}, Python {platform.python_version()}"


def compare(folder, tasks):
    """The table of these tasks, and what could not be compared."""
    picture = photos.sample("chelsea", 224).astype(np.float32)
    # The 31 others: the same, pushed to the right by more and more.
    rolled = [np.roll(picture, 7 * number, axis=1) for number in range(32)]
    np.save(folder / "pictures.npy", np.stack(rolled))
    ready, failed = {}, []
    for library in LIBRARIES:
        try:
            ready[library] = prepare(library, folder)
        except RuntimeError as error:
            if library == OURS:
                raise
            print(f"{library}: {error}", flush=True)
            failed.append({"library": library, "remark": f"error: {error}"})
    rows = []
    for task in tasks:
        rows += measure(task, TASKS[task], ready, folder)
        print(f"{task}: done", flush=True)
    columns = [
        "library",
        "version",
        "task",
        "ratio",
        "peak MiB",
        "seconds to first map",
        "agreement",
        "remark",
    ]
    table = pd.DataFrame(rows + failed, columns=columns)
    table["peak MiB"] = table["peak MiB"].astype("Int64")
    table["machine"] = processor()
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--folder", type=Path, help="keep the environments here, or find them"
    )
    parser.add_argument(
        "--write", action="store_true", help="store the table in results/"
    )
    parser.add_argument(
        "--tasks", nargs="+", choices=TASKS, default=TASKS, help="only these"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        table = compare(folder, asked.tasks)
    machine = table["machine"][0]
    print(machine, table.drop(columns="machine").to_string(), sep="\n")
    if asked.write:
        table.to_csv(ROOT / "xai_utils/results/libraries.csv", index=False)


if __name__ == "__main__":
    main()
