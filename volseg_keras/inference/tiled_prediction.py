"""Tiled prediction of whole volumes."""

import math

import numpy as np

from ..errors import require
from ..resources import free_memory
from .tiling import count_tiles, plan, read_tile, tiled_slabs

HALO = {3: (16, 24, 24), 2: (0, 32, 32)}
# With this much context a tile's border changes no probability of the published networks by 0.001.
SEAMLESS = {3: (64, 80, 80), 2: (0, 96, 96)}
FADE = {3: (8, 8, 8), 2: (0, 16, 16)}
# Larger tiles repeat less context. Tiles take these bytes per voxel, a third of the free memory.
VOXELS = {3: 24_000_000, 2: 1_000_000}
BYTES = {3: 80, 2: 1000}
MULTIPLE = 16  # of a tile's sizes
LONGEST_SIDE = 64  # multiples
SLAB_VOXELS = 2**27
SAMPLE = {3: (64, 128, 128), 2: (4, 256, 256)}


def halo_of(spatial_dims, seamless=False, scale=(1, 1, 1)):
    """Return the context (z, y, x) of a tile in voxels of the volume; see `Resampled`."""
    halo = (SEAMLESS if seamless else HALO)[spatial_dims]
    return tuple(math.ceil(h / s) for h, s in zip(halo, scale, strict=True))


def smallest(scales):
    """Return the smallest scale along every axis."""
    return tuple(map(min, zip(*scales, strict=True)))


def multiples(spatial_dims):
    """Return the numbers that the sizes (z, y, x) of a network's tile are multiples of."""
    return (1,) * (3 - spatial_dims) + (MULTIPLE,) * spatial_dims


def tile_plan(shape, spatial_dims, tile=None, *, scales=((1, 1, 1),), halo=None):
    """Return the tiling of a volume for networks of two or three spatial axes.

    The tile for blocks in a store is planned by `resumable_job.new_plan`.

    Args:
        shape: `(z, y, x)` of the volume; an axis of channels is not cut.
        spatial_dims: 2 or 3; a 2D network needs no context along z.
        tile: `(z, y, x)` of a tile, multiples of `MULTIPLE` on the network's axes; by default the
            one that repeats least context within the free memory.
        scales: at which the network sees it, see `Resampled`.
        halo: context (z, y, x) of a tile; by default see `halo_of`.

    Raises:
        ValueError: the tile is not a multiple, or too small for its halo.
    """
    shape = shape[:3]
    halo = halo or halo_of(spatial_dims, scale=smallest(scales))
    fade = FADE[spatial_dims]
    if not tile:
        voxels = voxels_at_once(spatial_dims, max(scales, key=math.prod))
        tile = best_tile(shape, halo, fade, multiples(spatial_dims), voxels)
    return plan(shape, fitted_tile(tile, shape, spatial_dims), halo, fade)


def fitted_tile(tile, shape, spatial_dims):
    """Return a tile that is no larger than a volume needs, or raise ValueError."""
    tile, steps = tuple(tile), multiples(spatial_dims)
    good = len(tile) == 3 and all(t >= 1 and t % m == 0 for t, m in zip(tile, steps, strict=True))
    require(good, "tile", f"three sizes, multiples of {steps}", f"{tile=}")
    return tuple(min(t, -(-n // m) * m) for t, n, m in zip(tile, shape, steps, strict=False))


def voxels_at_once(spatial_dims, scale=(1, 1, 1), memory=None):
    """Return how many voxels a tile may have: a constant, halved until memory suffices.

    So the same file is usually cut into the same tiles.

    Args:
        spatial_dims: of the network.
        scale: at which it sees the volume.
        memory: free bytes, of which a third is used; those of this process by default.
    """
    voxels, free = VOXELS[spatial_dims], free_memory() if memory is None else memory
    while voxels > 1 and voxels * BYTES[spatial_dims] > free // 3:
        voxels //= 2
    return int(voxels / max(1, math.prod(scale)))


def best_tile(shape, halo, fade, steps, voxels):
    """Return the tile of at most `voxels` voxels that computes the fewest voxels in total.

    Tiles of the same z make a slab that is held in memory, so its size is limited too.
    """
    sizes, totals = [], []
    for n, h, f, m in zip(shape, halo, fade, steps, strict=True):
        whole = -(-n // m) * m
        shortest = min(-(-(2 * h + max(3 * f, 1)) // m) * m, whole)
        longest = max(min(whole, LONGEST_SIDE * m), shortest)
        size = np.arange(shortest, longest + 1, m)
        tiles = 1 + np.maximum(0, -((size - n) // (size - 2 * h - f).clip(1)))
        sizes.append(size)
        totals.append(size * tiles)
    size = sizes[0][:, None, None] * sizes[1][:, None] * sizes[2]
    total = totals[0][:, None, None] * totals[1][:, None] * totals[2]
    allowed = size <= max(voxels, size.min())
    slab = np.maximum(SLAB_VOXELS // (shape[1] * shape[2]), sizes[0].min())
    allowed &= (np.minimum(sizes[0], shape[0]) <= slab)[:, None, None]
    # Among equally good tiles, the smallest.
    cost = np.where(allowed, total * (1.0 + size / size.max() / 1e3), np.inf)
    best = np.unravel_index(np.argmin(cost), cost.shape)
    return tuple(int(axis[i]) for axis, i in zip(sizes, best, strict=True))


def sample_tile(volume, spatial_dims):
    """Return a tile from the middle of a volume."""
    sample = SAMPLE[spatial_dims]
    starts = [max(0, (n - s) // 2) for n, s in zip(volume.shape, sample, strict=False)]
    block = tuple(slice(a, a + s) for a, s in zip(starts, sample, strict=True))
    middle = np.asarray(volume[block])
    axes = tile_plan(middle.shape, spatial_dims, sample)
    return read_tile(middle, [cut[0] for cut in axes])


class Watched:
    """An engine that reports how many tiles are done.

    Args:
        engine: of the tiles.
        total: number of tiles.
        on_progress: called with the number of tiles done and their total.
    """

    def __init__(self, engine, total, on_progress):
        self.engine, self.total, self.on_progress = engine, total, on_progress
        self.done = 0

    def __call__(self, tile):
        """Return the engine's values for a tile."""
        result = self.engine(tile)
        self.done += 1
        self.on_progress(self.done, self.total)
        return result


def planned_slabs(engine, volume, axes, on_progress=None):
    """Yield finished z slabs `(z, values)` of a volume; memory holds two slabs and some tiles.

    Args:
        engine: callable from a tile of raw intensities to `(z, y, x, maps)`, see `engines`.
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like.
        axes: the tiles, from `tile_plan`.
        on_progress: called with the number of tiles done and their total.
    """
    if on_progress:
        engine = Watched(engine, count_tiles(axes), on_progress)
    return tiled_slabs(volume, axes, engine)
