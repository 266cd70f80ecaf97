"""Volume segmentation with convolutional networks from limited training data.

The public names are imported when first used, so that `import volseg_keras` is instant.
"""

from importlib import import_module

from .networks.registration import import_registered, watch
from .onednn import switch_on_onednn

__version__ = "0.1.0"

_HOME = {
    "build_model": "networks.models",
    "VARIANTS": "networks.variants",
    "RankOneConv": "networks.layers",
    "StochasticDownsample": "networks.layers",
    "ZeroPadShortcut": "networks.layers",
    "JaccardLoss": "networks.losses",
    "Jaccard": "networks.metrics",
    "segmentation_scores": "scores",
    "instance_scores": "scores",
    "open_volume": "volumes.volume",
    "save_volume": "volumes.writing",
    "phantom": "datasets.phantom",
    "Augment": "patches.augment",
    "PatchSampler": "patches.sampler",
    "fit": "training.fit",
    "suggest": "training.suggest",
    "Segmenter": "inference.segmenter",
    "predict_volume": "inference.segmenter",
    "instances": "postprocessing.instances",
    "write_instances": "postprocessing.instances",
    "clean_labels": "postprocessing.pipeline",
    "measure": "postprocessing.measures",
    "load_pretrained": "pretrained.presets",
    "export_model": "export.export_model",
    "export_savedmodel": "export.export_model",
}
__all__ = [*_HOME, "__version__"]

switch_on_onednn()
watch()


def __getattr__(name):
    """Import a public name from its home (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    import_registered()
    globals()[name] = value
    return value


def __dir__():
    """List the public names."""
    return sorted(__all__)
