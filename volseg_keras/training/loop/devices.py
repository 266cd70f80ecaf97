"""What depends on the device: precision, compilation, and several GPUs at once."""

from contextlib import contextmanager

import keras

from ...errors import invalid
from ...networks.devices import cpu_has_bfloat16, on_gpu
from ...networks.layers import Probability
from ...networks.variants import find_variant
from ...onednn import uses_onednn


def jit_option():
    """Return whether to compile with XLA: not for TensorFlow on a CPU, where it is slower."""
    return "auto" if keras.backend.backend() != "tensorflow" or on_gpu() else False


@contextmanager
def fastest_precision(model, patch_shape):
    """Let a network compute in bfloat16 inside this context, where that is faster.

    It is on GPUs, and on CPUs with instructions for it (see `tests/benchmarks/training.py`). Only
    networks of `build_model` under their own names are changed, and of those only what computes in
    float32; probabilities stay in that. On CPUs no map may be smaller than three voxels: oneDNN
    computes wrong gradients of kernels in bfloat16 for smaller ones (TensorFlow 2.21).

    Args:
        model: the network.
        patch_shape: spatial sizes of its patches, in voxels.

    Yields:
        "bfloat16" or "float32", what its convolutions are computed in.
    """
    variant, layers = find_variant(model.name), []
    if variant and (on_gpu() or (large_enough(variant, patch_shape) and bfloat16_on_cpu())):
        layers = [
            layer
            for layer in model._flatten_layers()
            if layer.dtype_policy.name == "float32" and not isinstance(layer, Probability)
        ]
    try:
        set_precision(model, layers, "mixed_bfloat16")
        lower = {layer.compute_dtype for layer in model._flatten_layers()} - {"float32"}
        yield lower.pop() if lower else "float32"
    finally:
        set_precision(model, layers, "float32")


def large_enough(variant, patch_shape):
    """Return whether no map of a network has fewer than three voxels along an axis."""
    return min(patch_shape) >= 3 * variant.reduction


def set_precision(model, layers, policy):
    """Set the dtype policy of layers of a model, whose steps are then compiled again."""
    for layer in layers:
        layer.dtype_policy = policy
    if layers:
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
