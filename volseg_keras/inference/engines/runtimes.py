"""Engines of each library: Keras, TensorFlow, OpenVINO and ONNX Runtime.

Those of OpenVINO and ONNX Runtime run the graph of `networks.inference_graph`, which returns levels
for two classes. OpenVINO also runs SavedModels.
"""

import math
import warnings
from contextlib import suppress
from functools import partial
from hashlib import sha256
from threading import RLock

import numpy as np
from filelock import FileLock

from ...networks.devices import cpu_has_bfloat16
from ...resources import usable_cores
from ..lru_cache import LruCache
from .output import to_labels

# Labels of a class that bfloat16 may change in a tile: this share of them, or this many voxels.
CHANGED, SPECKS = 0.01, 100
# How many compiled models are kept: samples in both precisions, and tiles at two zooms, as they are
# and transposed, full-size and at the border. And how many comparisons of precisions are kept.
COMPILED, COMPARED = 10, 16
LONGEST_WAIT = 60  # seconds to wait for another process that compiles; then the cache is not used
LARGE_TILE = 2**23  # voxels; the memory of larger tiles is released after a volume


def keras_engine(model):
    """Return an engine that runs a Keras model; 2D models take the z slices as their batch."""
    import keras

    predict = model.predict_on_batch
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Without XLA: on a CPU it compiles for minutes and its 3D convolutions are slow.
        predict = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    return with_batch_axis(in_float32(predict), spatial_dims=len(model.inputs[0].shape) - 2)


def in_float32(predict):
    """Return `predict` for any type of input; for two classes it returns the foreground only."""

    def run(batch):
        result = np.asarray(predict(np.asarray(batch, np.float32)))
        return result[..., 1:] if result.shape[-1] == 2 else result

    return run


def savedmodel_engine(loaded, spatial_dims):
    """Return an engine that runs the `serve` endpoint of a loaded SavedModel."""
    return with_batch_axis(in_float32(lambda x: loaded.serve(x)["probability"]), spatial_dims)


class OpenVinoEngineFactory:
    """A factory of OpenVINO engines on the CPU, compiled once for every shape of tiles.

    Args:
        path: an .xml file, beside which compiled models are cached; or a SavedModel's folder.
        spatial_dims: of the network.
        levels: whether the model returns levels, like the inference graph for two classes.
    """

    def __init__(self, path, spatial_dims, levels=True):
        import openvino as ov

        self._core, self._spatial_dims, self._levels = ov.Core(), spatial_dims, levels
        self._options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": usable_cores()}
        self._model = ov.convert_model(path) if path.is_dir() else self._core.read_model(path)
        self._cache = None if path.is_dir() else path.parent
        self._compiled, self._changes = LruCache(COMPILED), LruCache(COMPARED)
        self._lock = RLock()

    def __call__(self, sample):
        """Return an engine for the volume that `sample` is a tile of.

        It computes in bfloat16 if the CPU supports it and the labels of `sample` hardly change,
        which depends on the intensities of a volume. The comparison is kept for the same sample.

        Args:
            sample: `(z, y, x)` or `(z, y, x, channels)` tile of the volume to be segmented.
        """
        if not cpu_has_bfloat16():
            return self._engine("f32")
        key = sample.shape, sample.dtype.str, sha256(np.ascontiguousarray(sample)).digest()
        changes = first_changed_class(self._changes.get(key, lambda: self._compare(sample)))
        if not changes:
            return self._engine("bf16")
        class_id, changed, voxels = changes
        warnings.warn(
            f"computing in float32: bfloat16 would change {changed} labels of a tile "
            f"that has {voxels} of class {class_id}",
            stacklevel=2,
        )
        return self._engine("f32")

    def release(self):
        """Release the memory of large tiles."""
        with self._lock:
            for (_, shape, _), model in self._compiled.items():
                if math.prod(shape) > LARGE_TILE:
                    model.release_memory()

    def _compare(self, sample):
        """Return `(class id, labels changed by bfloat16, labels)` of each foreground class."""
        exact, fast = (to_labels(self._engine(precision)(sample)) for precision in ("f32", "bf16"))
        classes = np.union1d(exact, fast)
        return [
            (int(c), np.count_nonzero((exact == c) != (fast == c)), np.count_nonzero(exact == c))
            for c in classes[classes > 0]
        ]

    def _engine(self, precision):
        return with_batch_axis(partial(self._run, precision), self._spatial_dims)

    def _run(self, precision, batch):
        """Return the values of the model for a batch."""
        key = precision, batch.shape, batch.dtype.str[1:]
        with self._lock:  # a compiled model has only one input buffer
            result = self._compiled.get(key, lambda: self._compile(*key))(batch)[0]
        return result[..., 1:] if result.shape[-1] == 2 else result

    def _compile(self, precision, shape, dtype):
        ready = with_element_types(self._model.clone(), dtype, self._levels)
        ready.reshape(shape)  # a fixed shape lets OpenVINO fuse more
        options = {**self._options, "INFERENCE_PRECISION_HINT": precision}
        compiled = partial(self._core.compile_model, ready, "CPU")
        if self._cache:
            # A process must not read what another one is writing.
            with suppress(OSError), FileLock(self._cache / "compiled.lock", timeout=LONGEST_WAIT):
                return compiled({**options, "CACHE_DIR": str(self._cache)})
        return compiled(options)


def first_changed_class(changes):
    """Return the first row `(class id, changed labels, labels)` with too many changes, or None."""
    return next((row for row in changes if row[1] > max(CHANGED * row[2], SPECKS)), None)


def with_element_types(model, dtype, levels):
    """Return an OpenVINO model that takes voxels of a type, and returns levels as uint8."""
    from openvino import Type
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(Type(np.dtype(dtype)))
    if levels:
        steps.output().tensor().set_element_type(Type.u8)
    return steps.build()


def onnxruntime_engine(path, spatial_dims, levels=True):
    """Return an engine that runs an ONNX file; arguments as in `OpenVinoEngineFactory`."""
    run = onnx_runner(path)
    typed_run = (lambda batch: run(batch).astype(np.uint8)) if levels else run
    return with_batch_axis(typed_run, spatial_dims)


def onnx_runner(path, providers=None):
    """Return a function that runs an ONNX file on a batch.

    Args:
        path: of the file.
        providers: names of execution providers, by default all that are available.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    providers = providers or onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch.astype(np.float32)})[0]


def with_batch_axis(run, spatial_dims):
    """Wrap `(batch, *spatial, channels) -> (batch, *spatial, maps)` as an engine."""

    def engine(tile):
        tile = tile if tile.ndim == 4 else tile[..., None]
        batch = tile if spatial_dims == 2 else tile[None]
        result = unfold(np.asarray(run(batch)), batch.shape[1:-1])
        return result if spatial_dims == 2 else result[0]

    return engine


def unfold(result, spatial):
    """Rearrange the voxels of a block, which are side by side as maps, to full resolution.

    Args:
        result: `(batch, *spatial / f, f**d * maps)`, position in the f^d block first.
        spatial: full sizes.

    Returns:
        `(batch, *spatial, maps)`.
    """
    factor = spatial[0] // result.shape[1]
    if factor == 1:
        return result
    full = np.empty(
        (len(result), *spatial, result.shape[-1] // factor ** len(spatial)), result.dtype
    )
    blocks = result.reshape(*result.shape[:-1], *[factor] * len(spatial), -1)
    dims = len(spatial)
    for position in np.ndindex(*[factor] * dims):
        target = (slice(None), *(slice(p, None, factor) for p in position))
        full[target] = blocks[(slice(None),) * (1 + dims) + position]
    return full
