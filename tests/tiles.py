"""Prediction of a volume by a function of tiles, without a model."""

from volseg_keras.inference.tiled_prediction import halo_of, planned_slabs, tile_plan


def predict_slabs(engine, volume, spatial_dims, *, tile=None, seamless=False, on_progress=None):
    """Yield z slabs of a volume, cut into the tiles that a network of so many axes is given."""
    axes = tile_plan(volume.shape, spatial_dims, tile, halo=halo_of(spatial_dims, seamless))
    return planned_slabs(engine, volume, axes, on_progress)
