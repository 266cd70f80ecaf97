"""Engines: callables from a standardised tile `(z, y, x)` to probabilities `(z, y, x, classes)`."""

import numpy as np


def keras_engine(model):
    """Return an engine that runs a Keras model; 2D models take the z slices as their batch."""
    import keras

    run = model.predict_on_batch
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Without XLA: on a CPU it compiles for minutes and its 3D convolutions are slow.
        run = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    return with_batch_axis(run, spatial_dims=len(model.inputs[0].shape) - 2)


def savedmodel_engine(loaded, spatial_dims):
    """Return an engine that runs the `serve` endpoint of a loaded SavedModel."""
    return with_batch_axis(lambda x: loaded.serve(x)["probability"], spatial_dims)


def with_batch_axis(run, spatial_dims):
    """Wrap `(batch, *spatial, 1) -> (batch, *spatial, classes)` as an engine."""

    def engine(tile):
        tile = np.asarray(tile, np.float32)[..., None]
        if spatial_dims == 2:
            return np.asarray(run(tile))
        return np.asarray(run(tile[None]))[0]

    return engine
