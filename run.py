"""README's two commands: ``python3 run.py lab`` and ``python3 run.py test``.

The first time, either installs what is needed into `.venv`; after that both
start at once and without a network. If the installation is interrupted, the
same command repairs it. Further arguments go to JupyterLab or to pytest.
"""

# No syntax here that Python 3.6 can't read: it, too, gets a clear sentence.
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "installed.txt"  # what is installed, or that it is unfinished
UNFINISHED = "unfinished"
COMMANDS = {
    "lab": [
        "jupyterlab",
        "--ServerApp.root_dir=" + str(ROOT),  # pictures lie in images/
        "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb",
    ],
    "test": ["pytest"],
}


def say(text):
    print(text, flush=True)


def check_python():
    version = sys.version_info[:2]
    if not (3, 11) <= version <= (3, 13):
        why = "too old" if version < (3, 11) else "too new for TensorFlow"
        sys.exit(
            f"This is Python {version[0]}.{version[1]}, {why}: install Python "
            "3.11, 3.12 or 3.13 and name it in the command, for example "
            "`python3.12 run.py lab` (Windows: `py -3.12 run.py lab`)."
        )


def wanted():
    """What the stamp says when everything is installed."""
    import tomllib  # an older Python comes no further than check_python

    text = (ROOT / "pyproject.toml").read_text("utf-8")
    project = tomllib.loads(text)["project"]
    needs = project["dependencies"], project["optional-dependencies"]
    return repr((str(ROOT), needs))


def stamp():
    return STAMP.read_text("utf-8") if STAMP.is_file() else ""


def works():
    """Whether the Python in `.venv` starts."""
    try:
        check = [str(PYTHON), "-c", "import pip"]
        return subprocess.call(check, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def complete():
    return stamp() == wanted() and works()


@contextmanager
def alone():
    """One installation at a time. A child holds the lock as well, so that
    nobody works on `.venv` beside a pip whose parent was killed."""
    with (ROOT / "run.py").open("r+") as lock:
        try:
            import fcntl

            os.set_inheritable(lock.fileno(), True)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another installation is still running: waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass  # Windows, or a file system without locks
        yield


def install():
    before = stamp()
    if before == UNFINISHED or not works():
        if VENV.exists() and not before:
            sys.exit(
                ".venv has no Python that works, and was not made by this "
                "command: remove or rename it, and try again."
            )
        # What an interrupted pip left may look installed and not be whole.
        if VENV.exists():
            say("Removing .venv: it is incomplete.")
            STAMP.write_text(UNFINISHED, "utf-8")
            shutil.rmtree(str(VENV))
        say("Making .venv.")
        VENV.mkdir()
        STAMP.write_text(UNFINISHED, "utf-8")
        venv = [sys.executable, "-m", "venv", str(VENV)]
        subprocess.check_call(venv, close_fds=False)
        before = UNFINISHED
        say("Installing into .venv: 0.7 GB to download, 3 GB on disk.")
    else:
        STAMP.write_text(UNFINISHED, "utf-8")
        say("Installing into .venv what pyproject.toml has asked for since.")
    pip = [str(PYTHON), "-m", "pip", "install", "-e", ".[lab,test]"]
    if subprocess.call(pip, cwd=str(ROOT), close_fds=False):
        STAMP.write_text(before, "utf-8")  # pip undoes what it began
        sys.exit("pip could not install everything; it says why above.")
    STAMP.write_text(wanted(), "utf-8")


def start(command):
    if os.name == "posix":
        os.chdir(str(ROOT))
        os.execv(command[0], command)  # signals, exit code: the command's own
    child = subprocess.Popen(command, cwd=str(ROOT))
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            pass  # the child got it, too, and decides what to do


def main():
    check_python()
    if not sys.argv[1:] or sys.argv[1] not in COMMANDS:
        sys.exit("usage: python3 run.py lab|test [further arguments]")
    try:
        if not complete():
            with alone():
                if not complete():
                    install()
    except KeyboardInterrupt:
        sys.exit("Interrupted: the same command starts over.")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{error}\nThe same command tries again.")
    name, *arguments = sys.argv[1:]
    command = [str(PYTHON), "-m", *COMMANDS[name], *arguments]
    sys.exit(start(command))


if __name__ == "__main__":
    main()
