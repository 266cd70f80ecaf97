"""Networks for tests: shallow ones, and ones whose statistics have settled."""

from contextlib import contextmanager

import keras
import numpy as np
import pytest

from volseg_keras import build_model, phantom
from volseg_keras.networks import models

SHALLOW = {
    "ENCODER": (8, 12),
    "HALVING": (8, 12),
    "DECODER": ((8, True), (8, True)),
    "UNET": (4, 8, 12, 16, 20),
}


# For programs of their own.
MAKE_SHALLOW = f"from volseg_keras.networks import models; vars(models).update({SHALLOW})\n"


@contextmanager
def shallow_networks():
    """Make `build_model` stack 2 + 2 blocks instead of 12 + 8, of every kind that there is.

    They are built, traced and exported several times as fast.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHALLOW.items():
            patch.setattr(models, name, value)
        yield


def settled(name, **options):
    """A network whose batch normalisation has seen data, as a trained one's has."""
    keras.utils.set_random_seed(0)
    network = build_model(name, **options)
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    patch = phantom((16, 32, 32))[0].astype(np.float32)[..., None] / 40 - 3
    # Slices are a batch of a 2D network, and a volume one of a 3D network.
    network(patch if network.input_shape[1:-1] == (None, None) else patch[None], training=True)
    return network
