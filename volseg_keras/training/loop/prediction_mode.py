"""Training a network in prediction mode: no dropout, means instead of random samples."""

from contextlib import contextmanager

import keras

from ...networks.layers import StochasticDownsample


@contextmanager
def prediction_mode(model, active=True):
    """Let a network compute in training what it computes in prediction, within this context.

    With dropout and stochastic downsampling the statistics of the layers after them differ between
    training and prediction. Training without them at the end adapts the weights, and the statistics
    of batch-normalisation layers, to prediction.

    Args:
        model: a Keras model; trace its training step inside the context.
        active: False leaves it unchanged.
    """
    layers = [layer for layer in model._flatten_layers() if active]
    dropouts = {layer: layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)}
    random = [layer for layer in layers if isinstance(layer, StochasticDownsample)]
    for layer in dropouts:
        layer.rate = 0.0
    for layer in random:
        layer.averaging = True
    try:
        yield
    finally:
        for layer, rate in dropouts.items():
            layer.rate = rate
        for layer in random:
            layer.averaging = False
