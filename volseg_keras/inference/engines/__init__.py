"""Engines: callables from a tile of intensities to probabilities.

- `names` lists them. `factories` make one for a model and a volume, of a library that `runtimes`
  adapts: Keras, OpenVINO, ONNX Runtime or TensorFlow.
- `wrappers` are engines around engines: they standardise, average views or resample.
- `output` converts what engines return to probabilities and class ids.
"""
