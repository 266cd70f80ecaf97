"""Batch normalisations that stay as they are while the rest of a network trains."""

from contextlib import contextmanager

import keras


@contextmanager
def frozen_norms(model, freeze=True):
    """Freeze batch normalisations, those inside of `NormPReLU` too, as long as the context lasts.

    Args:
        model: a Keras model; compile it inside of the context.
        freeze: False leaves them as they are.
    """
    norms = [getattr(layer, "norm", layer) for layer in model.layers] if freeze else []
    norms = [n for n in norms if isinstance(n, keras.layers.BatchNormalization) and n.trainable]
    for norm in norms:
        norm.trainable = False
    try:
        yield
    finally:
        for norm in norms:
            norm.trainable = True
