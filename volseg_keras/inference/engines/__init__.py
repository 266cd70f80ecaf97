"""Engines: callables from a tile of intensities `(z, y, x)` to probabilities `(z, y, x, maps)`.

Tiles for networks of several channels are `(z, y, x, channels)`. A single map is the foreground's.
Probabilities are float32, or uint8 levels of 1/256.

- `names` lists those that a user can ask for. `runtimes` make them with Keras, TensorFlow, OpenVINO
  or ONNX Runtime, and `factories` return the one of a model for a volume.
- `wrappers` are engines around engines: they standardise, smooth, average or resample.
- `graph_cache` keeps the graphs they run, so that only the first use of a model needs Keras.
- `output` converts what engines return to probabilities and class ids.
"""
