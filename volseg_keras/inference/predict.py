"""Tiled prediction of whole volumes."""

import numpy as np

from .tiling import count_tiles, plan, slabs

TILE = {3: (96, 192, 192), 2: (16, 512, 512)}
HALO = {3: (16, 24, 24), 2: (0, 32, 32)}
FADE = {3: (8, 8, 8), 2: (0, 16, 16)}


def tile_plan(shape, spatial_dims, tile=None, multiple=16):
    """Return the tiling of a volume for networks of two or three spatial axes.

    Args:
        shape: `(z, y, x)` of the volume.
        spatial_dims: 2 or 3; a 2D network has no use for context along z.
        tile: `(z, y, x)` of a tile, multiples of `multiple` on the network's axes.
        multiple: what the network's sizes must be multiples of.

    Raises:
        ValueError: the tile is not a multiple, or too small for its halo.
    """
    tile = tuple(tile or TILE[spatial_dims])
    steps = (1,) * (3 - spatial_dims) + (multiple,) * spatial_dims
    if len(tile) != 3 or any(t < 1 or t % m for t, m in zip(tile, steps, strict=False)):
        raise ValueError(
            f"Invalid value for `tile`. Expected three sizes, multiples of {steps}. "
            f"Received: tile={tile}"
        )
    tile = [min(t, -(-n // m) * m) for t, n, m in zip(tile, shape, steps, strict=True)]
    return plan(shape, tile, HALO[spatial_dims], FADE[spatial_dims])


def standardised(engine, normalization):
    """Return an engine that takes raw grey levels."""
    mean, deviation = (np.float32(x) for x in normalization)
    return lambda tile: engine((tile.astype(np.float32) - mean) / deviation)


def watched(engine, total, on_tile):
    """Return an engine that calls `on_tile(done, total)` after each tile."""
    done = 0

    def run(tile):
        nonlocal done
        result = engine(tile)
        done += 1
        on_tile(done, total)
        return result

    return run


def predict_slabs(engine, volume, spatial_dims, *, tile=None, on_tile=None):
    """Yield finished z slabs `(z, probabilities)` of a volume; memory holds one slab.

    Args:
        engine: callable from a tile of raw grey levels to `(z, y, x, classes)`.
        volume: `(z, y, x)` array-like.
        spatial_dims: of the network.
        tile: `(z, y, x)` of a tile; a good size by default.
        on_tile: called with the number of tiles done and their total.
    """
    axes = tile_plan(volume.shape, spatial_dims, tile)
    if on_tile:
        engine = watched(engine, count_tiles(axes), on_tile)
    return slabs(volume, axes, engine)


def join_slabs(slabs_):
    """Return the slabs of `predict_slabs` as one array `(z, y, x, classes)`."""
    return np.concatenate([slab for _, slab in slabs_])


def segment(slabs_, shape, threshold=0.5, keep_probability=False):
    """Turn slabs of probabilities into class ids.

    Args:
        slabs_: of `predict_slabs`.
        shape: `(z, y, x)` of the volume.
        threshold: least foreground probability, of two classes; of more, the most probable wins.
        keep_probability: whether to return probabilities too.

    Returns:
        uint8 labels `(z, y, x)`, and the float32 probability of not being background, or None.
    """
    labels = np.empty(shape, np.uint8)
    foreground = np.empty(shape, np.float32) if keep_probability else None
    for z, slab in slabs_:
        part = slice(z, z + len(slab))
        if slab.shape[-1] == 2:
            labels[part] = slab[..., 1] >= threshold
        else:
            labels[part] = slab.argmax(-1)
        if keep_probability:
            foreground[part] = 1 - slab[..., 0]
    return labels, foreground
