"""On what Keras computes."""

import warnings
from functools import cache

from ..onednn import lacks_onednn
from .backend import keras_backend


def on_gpu():
    """Return whether Keras computes on a GPU."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.is_available()
    return any("gpu" in device.lower() for device in keras.distribution.list_devices())


@cache
def cpu_has_bfloat16():
    """Return whether the CPU computes in bfloat16, according to OpenVINO."""
    import openvino as ov

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def tensorflow_on_cpu():
    """Return whether Keras computes with TensorFlow and without a GPU."""
    return keras_backend() == "tensorflow" and not on_gpu()


@cache
def warn_if_slow():
    """Warn once if Keras computes on a CPU without oneDNN, since it was imported too early."""
    if lacks_onednn() and tensorflow_on_cpu():
        warnings.warn(
            "TensorFlow was imported before volseg_keras and computes without oneDNN, several "
            "times slower: import volseg_keras first, or set TF_ENABLE_ONEDNN_OPTS=1",
            stacklevel=3,
        )
