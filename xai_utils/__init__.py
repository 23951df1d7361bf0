"""The shared code of the notebooks: saliency maps for any Keras model.

To read it, begin with `targets` (which number a map explains) and `gradients`,
then `smoothgrad`, `integrated_gradients`, `grad_cam`, `occlusion`,
`deconvnet`, `receptive_field` and `class_model`: one method a file. `reuse`
makes `occlusion` cheaper. `evaluation` measures maps against a mask,
`faithfulness` without one, `localisation` makes boxes of them, `plots` draws
them; `diagrams` draws mechanisms. `networks` has the networks, `training` and
`small_nets` how they came about, `comparison` the tables of all methods,
`data` the pictures. `_core` runs models: compiled, in batches.
"""

import os

# TensorFlow reads it when it starts, and reports less on the machine.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
