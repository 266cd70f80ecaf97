"""The network that a training run is asked for, checked before Keras is imported."""

from ..errors import require
from ..networks.variants import VARIANTS, find_variant
from ..pretrained.choice import AUTO
from ..pretrained.presets import model_file

SCRATCH = "scratch"  # as the name of a model to start from


def check_network(model, start, self_train):
    """Raise ValueError unless the network, or the model to start from, exists.

    Args:
        model: a name of `networks.variants.VARIANTS`, to train from scratch; "auto" to choose.
        start: name, run or file to start from, "scratch", or None to choose.
        self_train: whether the network also learns its own predictions.
    """
    expected = "none with --from, which determines the network"
    named = model != AUTO
    require(not (start and named), "model", expected, f"model={model}, from={start}")
    require(not (self_train and named), "self_train", "no --model with it", model)
    if start and start != SCRATCH:
        model_file(start, "start")
    networks = f"auto, or a network to train from scratch ({', '.join(VARIANTS)})"
    expected = f"{networks}; published models and runs are given by --from"
    require(not named or find_variant(model), "model", expected, model)
