"""The shared code of the notebooks: saliency maps for any Keras model.

To read it, begin with `targets` (which number a map explains) and `gradients`,
then `occlusion`, `deconvnet`, `receptive_field` and `class_model`: one method
a file. `evaluation` measures maps, `localisation` makes boxes of them, `plots`
draws them; `diagrams` draws mechanisms. `networks` has the networks,
`training` and `small_nets` how they came about, `data` the pictures. `_core`
runs models: compiled, in batches.
"""

import os

# TensorFlow reads it when it starts, and reports less on the machine.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
