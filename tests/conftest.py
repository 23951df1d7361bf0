import os

os.environ["TQDM_DISABLE"] = "1"
# On a GPU, TensorFlow would round products to ten bits; the tests want more.
os.environ["NVIDIA_TF32_OVERRIDE"] = "0"


def pytest_addoption(parser):
    parser.addoption(
        "--arithmetic",
        default="farthest",
        help="the name, in tests/arithmetics.py, of the arithmetic under "
        "which `-m arithmetic` runs the notebooks",
    )
