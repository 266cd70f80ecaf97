"""Volume segmentation with convolutional networks from limited training data.

The public names are imported when first used, so that `import volseg_keras` is instant.
"""

import os
from importlib import import_module

from .nets.registration import register, watch

__version__ = "0.1.0"

# TensorFlow turns oneDNN on by itself only where a CPU has AVX-512 VNNI or AMX, but with AVX2 alone
# its convolutions train several times faster too. Read when TensorFlow is imported, so import it,
# and Keras, afterwards.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_HOME = {
    "build_model": "nets.models",
    "VARIANTS": "nets.variants",
    "RankOneConv": "nets.layers",
    "StochasticDownsample": "nets.layers",
    "ZeroPadShortcut": "nets.layers",
    "JaccardLoss": "nets.losses",
    "Jaccard": "nets.metrics",
    "segmentation_scores": "nets.metrics",
    "instance_scores": "nets.metrics",
    "open_volume": "data.volumes",
    "save_volume": "data.writing",
    "phantom": "data.phantom",
    "Augment": "data.augment",
    "PatchSampler": "data.patches",
    "fit": "training.fit",
    "predict_volume": "zoo.segmenter",
    "instances": "inference.instances",
    "write_instances": "inference.instances",
    "clean_labels": "inference.finish",
    "measure": "inference.measures",
    "load_pretrained": "zoo.presets",
    "export_model": "zoo.export",
    "export_savedmodel": "zoo.export",
}
__all__ = [*_HOME, "__version__"]

watch()


def __getattr__(name):
    """Import a public name from its home (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    register()
    globals()[name] = value
    return value


def __dir__():
    """List the public names."""
    return sorted(__all__)
