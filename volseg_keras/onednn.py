"""oneDNN, by which TensorFlow computes several times faster on most CPUs."""

import os
import sys

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# Whether TensorFlow was imported before this package, and the user left oneDNN to the default.
TENSORFLOW_FIRST = "tensorflow" in sys.modules and ONEDNN not in os.environ


def switch_on_onednn():
    """Have TensorFlow use oneDNN unless the user decided otherwise.

    By itself it does so only where a CPU has AVX-512 VNNI or AMX, but with AVX2 alone its
    convolutions train several times faster too. It is read when TensorFlow is imported, so import
    that, and Keras, afterwards.
    """
    os.environ.setdefault(ONEDNN, "1")


def uses_onednn():
    """Return whether TensorFlow computes with oneDNN."""
    try:
        from tensorflow.python.util._pywrap_util_port import IsMklEnabled
    except ImportError:  # it has no public function
        return True
    return IsMklEnabled()


def lacks_onednn():
    """Return whether TensorFlow computes without oneDNN since it was imported too early."""
    return TENSORFLOW_FIRST and not uses_onednn()
