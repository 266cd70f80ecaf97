"""Training a network as it predicts: nothing dropped, means instead of random samples."""

from contextlib import contextmanager

import keras

from ..networks.layers import StochasticDownsample


@contextmanager
def settled(model, active=True):
    """Let a network compute in training what it computes in prediction, as long as this lasts.

    Dropout and stochastic downsampling give the layers behind them other statistics in training
    than in prediction. What is trained without them towards the end, batch normalisations included,
    fits what the network will meet.

    Args:
        model: a Keras model; trace its training step inside of the context.
        active: False leaves it as it is.
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
