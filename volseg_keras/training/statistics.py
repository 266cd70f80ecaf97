"""Statistics of batch normalisations, as the network meets them when it predicts."""

import keras

from ..nets.layers import StochasticDownsample
from .freezing import batch_norms

BATCHES = 24


def settle_statistics(network, batches):
    """Set the moving statistics of batch normalisations to the means of whole batches.

    Those of a training are not those of its averaged weights (Izmailov et al., UAI 2018, Section
    3.2), nor of a prediction: there nothing is dropped, and `StochasticDownsample` takes means,
    whose variance is smaller than that of single samples.

    Args:
        network: a Keras model; changed in place.
        batches: an iterable of batches of its inputs.
    """
    copy = keras.models.clone_model(network, clone_function=as_in_prediction)
    copy.set_weights(network.get_weights())
    norms = batch_norms(copy)
    for step, batch in enumerate(batches):
        for norm in norms:
            norm.momentum = step / (step + 1)
        copy(batch, training=True)
    network.set_weights(copy.get_weights())


def as_in_prediction(layer):
    """Return a copy of a layer that does in training what it does in prediction, but normalise."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.Dropout):
        config["rate"] = 0.0
    if isinstance(layer, StochasticDownsample):
        pool = {4: keras.layers.AveragePooling2D, 5: keras.layers.AveragePooling3D}
        return pool[len(layer.output.shape)](layer.stride, padding="same", name=layer.name)
    return type(layer).from_config(config)
