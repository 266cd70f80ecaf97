"""Networks that learn in a second, as they go by the intensity of each pixel alone."""

import json

import keras
import numpy as np

from volseg_keras.networks.models import with_normalization


def one_pixel_network(*slopes):
    """A network with a class for each slope, which marks the darker pixels or the brighter."""
    inputs = keras.Input((None, None, 1))
    head = keras.layers.Conv2D(1 + len(slopes), 1, name="head_conv")
    x = head(keras.layers.Dropout(0.1)(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(x), name="d")
    bias = np.array([0, *[-2] * len(slopes)], np.float32)
    head.set_weights([np.array([[[[0, *slopes]]]], np.float32), bias])
    return with_normalization(model, 128.0, 40.0)


def publish_one_pixel_networks(folder):
    """Fill a folder of published models: one marks what is dark, one what is bright, one is 3D."""
    for name, slope, variant in (("Dark", -4, "d"), ("Bright", 4, "d"), ("Deep", -4, "h")):
        (folder / name).mkdir()
        one_pixel_network(slope).save(folder / name / "model.keras")
        told = {"variant": variant, "voxel_size": [20.0, 5.0, 5.0]}
        (folder / name / "metrics.json").write_text(json.dumps(told))
    return folder
