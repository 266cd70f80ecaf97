"""What depends on the device: precision, compilation, and several GPUs at once."""

from contextlib import contextmanager

import keras

from ..errors import invalid
from ..inference.engines import on_gpu


def use_jit():
    """Return whether to compile with XLA: not for TensorFlow on a CPU, where it is slower."""
    return "auto" if keras.backend.backend() != "tensorflow" or on_gpu() else False


@contextmanager
def fastest_precision():
    """Build and fit networks inside this context in bfloat16 on a GPU.

    On CPUs with instructions for it a step of H takes 0.81 times as long, and one of D 0.77 times,
    but kernels of full 3D convolutions have gradients that are not finite where maps are no
    multiple of 16, as in E (TensorFlow 2.21, Zen 4).
    """
    before = keras.config.dtype_policy()
    if on_gpu():
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


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
