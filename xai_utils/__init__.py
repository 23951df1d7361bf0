"""The shared code of the notebooks: saliency maps for any Keras model."""

import os

# TensorFlow reads it when it starts: no reports on processor and drivers.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
