"""Batch normalisations that stay as they are while the rest of a network trains."""

from contextlib import contextmanager

import keras


def batch_norms(model):
    """Return the batch normalisations of a network, those inside of `NormPReLU` too."""
    norms = (getattr(layer, "norm", layer) for layer in model.layers)
    return [norm for norm in norms if isinstance(norm, keras.layers.BatchNormalization)]


@contextmanager
def frozen_norms(model, freeze=True):
    """Freeze batch normalisations as long as the context lasts.

    Args:
        model: a Keras model; compile it inside of the context.
        freeze: False leaves them as they are.
    """
    norms = [norm for norm in batch_norms(model) if freeze and norm.trainable]
    for norm in norms:
        norm.trainable = False
    try:
        yield
    finally:
        for norm in norms:
            norm.trainable = True
