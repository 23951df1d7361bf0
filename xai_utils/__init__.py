"""The shared code of the notebooks: saliency maps for any Keras model."""

import os
from contextlib import contextmanager

# TensorFlow reports on this machine's processor and drivers from C++, some of
# it past every log level. In a notebook that would be the first thing to read,
# and differ on each machine. What goes wrong still raises a Python exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def _silent_stderr():
    try:
        keep = os.dup(2)
    except OSError:  # a window without a console has none
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(keep, 2)
        os.close(keep)


with _silent_stderr():
    import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "xai_utils differentiates with TensorFlow, but Keras runs on "
        f"{keras.backend.backend()!r}: set the environment variable "
        "KERAS_BACKEND to 'tensorflow' before Python starts"
    )
