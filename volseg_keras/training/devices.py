"""What depends on the device: precision, compilation, and several GPUs at once."""

from contextlib import contextmanager

import keras

from ..errors import invalid
from ..inference.engines import cpu_has_bfloat16, on_gpu
from ..inference.tiled_prediction import MULTIPLE
from ..networks.layers import Probability
from ..onednn import uses_onednn


def use_jit():
    """Return whether to compile with XLA: not for TensorFlow on a CPU, where it is slower."""
    return "auto" if keras.backend.backend() != "tensorflow" or on_gpu() else False


@contextmanager
def fastest_precision(model, patch_shape):
    """Let a network of `build_model` compute in bfloat16 inside this context, where that is faster.

    It is on GPUs, and on CPUs with instructions for it (see `tests/benchmarks/training.py`). Other
    networks, and layers with a precision of their own, stay as they are; so does a network whose
    maps are too small: oneDNN computes wrong gradients of kernels in bfloat16 where a 3^d
    convolution has two voxels or fewer along an axis (TensorFlow 2.21).

    Args:
        model: the network, which outputs `Probability`.
        patch_shape: spatial sizes of its patches, in voxels.
    """
    last = model.layers[-1]
    small = min(patch_shape) <= 2 * MULTIPLE
    fast = isinstance(last, Probability) and (on_gpu() or (bfloat16_on_cpu() and not small))
    layers = [each for each in model._flatten_layers() if each is not last and fast]
    layers = [each for each in layers if each.dtype_policy.name == "float32"]
    set_precision(model, layers, "mixed_bfloat16")
    try:
        yield
    finally:
        set_precision(model, layers, "float32")


def set_precision(model, layers, policy):
    """Set the dtype policy of layers of a model, and have its steps compiled again."""
    for layer in layers:
        layer.dtype_policy = policy
    model.train_function = model.test_function = model.predict_function = None


def bfloat16_on_cpu():
    """Return whether TensorFlow computes by instructions for bfloat16; emulated, it is slow."""
    return keras.backend.backend() == "tensorflow" and uses_onednn() and cpu_has_bfloat16()


@contextmanager
def data_parallel():
    """Train on all GPUs, or all CPU devices; build and fit the network inside this context.

    Raises:
        ValueError: the Keras backend is neither TensorFlow nor JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        kind = "GPU" if on_gpu() else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        with tf.distribute.MirroredStrategy(devices).scope():
            yield
    elif backend == "jax":
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(keras.distribution.DataParallel())
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
    else:
        raise invalid("all_gpus", "the Keras backend tensorflow or jax", backend)


def replicas():
    """Return the number of devices that share a step here."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    shared = keras.distribution.distribution()
    parallel = isinstance(shared, keras.distribution.DataParallel)
    return shared.device_mesh.shape[0] if parallel else 1
