import os

os.environ["TQDM_DISABLE"] = "1"


def pytest_addoption(parser):
    parser.addoption(
        "--arithmetic",
        default="farthest",
        help="the name, in tests/arithmetics.py, of the arithmetic under "
        "which `-m arithmetic` runs the notebooks",
    )
