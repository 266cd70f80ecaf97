"""Statistics of batch-normalisation layers, recalibrated for prediction."""

import keras

from .prediction_mode import prediction_mode

# Minimum number of batches to take statistics from, and of patches by number of spatial axes.
BATCHES, PATCHES = 24, {2: 192, 3: 48}


def batches_to_see(spatial_dims, batch_size):
    """Return how many batches statistics are to be taken from."""
    return max(BATCHES, PATCHES[spatial_dims] // batch_size)


def batch_norms(model):
    """Return the batch-normalisation layers of a network, also those inside `NormPReLU`."""
    norms = (getattr(layer, "norm", layer) for layer in model.layers)
    return [norm for norm in norms if isinstance(norm, keras.layers.BatchNormalization)]


def recalibrate_batch_norm(network, batches):
    """Set the moving statistics of batch-normalisation layers to the means of whole batches.

    The statistics of training fit neither averaged weights (Izmailov et al., UAI 2018, Section 3.2)
    nor prediction, where nothing is dropped and `StochasticDownsample` takes means, whose variance
    is smaller than that of single samples.

    Args:
        network: a Keras model; changed in place.
        batches: an iterable of batches of its inputs.
    """
    norms = batch_norms(network)
    momenta = [norm.momentum for norm in norms]
    try:
        with prediction_mode(network):
            for step, batch in enumerate(batches):
                for norm in norms:
                    norm.momentum = step / (step + 1)
                network(batch, training=True)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
