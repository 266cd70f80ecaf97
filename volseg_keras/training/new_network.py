"""The network that a training run begins with: new, published, or with a new last convolution."""

import keras

from ..errors import require
from ..networks.models import HEAD, build_model, split_normalization, with_normalization
from ..pretrained.presets import load_pretrained

# The network to train from scratch, by the number of axes.
NETWORKS = {2: "D", 3: "H"}


def network_from(name, num_classes, spatial_dims=None, channels=1):
    """Return a network with published weights, or those of a run or a file, or a new one.

    Args:
        name: see `load_pretrained`; None for a network with new weights.
        num_classes: number of classes; weights of another number get a new head.
        spatial_dims: axes of a new network.
        channels: of the image.
    """
    if name is None:
        return build_model(NETWORKS[spatial_dims], num_classes=num_classes, in_channels=channels)
    model = load_pretrained(name)
    return model if model.output_shape[-1] == num_classes else with_new_head(model, num_classes)


def with_new_head(model, num_classes):
    """Return a copy of a model with a new last convolution; frozen layers stay frozen."""
    network, constants = split_normalization(model)
    names = [layer.name for layer in network.layers]
    expected = "a network of `build_model`, to give it another number of classes"
    require(HEAD in names, "start", expected, network.name)

    def copied(layer):
        head = {"filters": num_classes, "trainable": True} if layer.name == HEAD else {}
        return type(layer).from_config({**layer.get_config(), **head})

    new = keras.models.clone_model(network, clone_function=copied)
    for old, layer in zip(network.layers, new.layers, strict=True):
        if layer.name != HEAD:
            layer.set_weights(old.get_weights())
    return with_normalization(new, *constants) if constants else new
