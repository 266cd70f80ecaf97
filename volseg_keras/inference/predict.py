"""Tiled prediction of whole volumes."""

import math
from itertools import product

import numpy as np

from ..volumes.source import free_memory
from .engines import decoded, labels
from .tiling import count_tiles, plan, read_tile, slabs

HALO = {3: (16, 24, 24), 2: (0, 32, 32)}
# Beyond these a tile's border changes no probability of the published networks by 0.001.
SEAMLESS = {3: (64, 80, 80), 2: (0, 96, 96)}
FADE = {3: (8, 8, 8), 2: (0, 16, 16)}
# Larger tiles repeat less context; a voxel takes about this many bytes, of a third of what is free.
VOXELS = {3: 24_000_000, 2: 1_000_000}
BYTES = {3: 80, 2: 1000}
MULTIPLE = 16  # of a tile's sizes
LONGEST = 64  # multiples
SLAB_VOXELS = 2**27
SAMPLE = {3: (64, 128, 128), 2: (4, 256, 256)}


def halo_of(spatial_dims, seamless=False, scale=(1, 1, 1)):
    """Return the context (z, y, x) of a tile in voxels of the volume; see `resampled`."""
    halo = (SEAMLESS if seamless else HALO)[spatial_dims]
    return tuple(math.ceil(h / s) for h, s in zip(halo, scale, strict=True))


def multiples(spatial_dims):
    """Return what the sizes (z, y, x) of a network's tile are multiples of."""
    return (1,) * (3 - spatial_dims) + (MULTIPLE,) * spatial_dims


def tile_plan(shape, spatial_dims, tile=None, *, seamless=False, scale=(1, 1, 1)):
    """Return the tiling of a volume for networks of two or three spatial axes.

    Args:
        shape: `(z, y, x)` of the volume; an axis of channels is not cut.
        spatial_dims: 2 or 3; a 2D network has no use for context along z.
        tile: `(z, y, x)` of a tile, multiples of `MULTIPLE` on the network's axes; by default the
            one that repeats least context within the memory that is free.
        seamless: read as much context as can change a probability by 0.001.
        scale: of `resampled`.

    Raises:
        ValueError: the tile is not a multiple, or too small for its halo.
    """
    shape = shape[:3]
    halo, fade = halo_of(spatial_dims, seamless, scale), FADE[spatial_dims]
    steps = multiples(spatial_dims)
    tile = tuple(tile or best_tile(shape, halo, fade, steps, voxels_at_once(spatial_dims, scale)))
    if len(tile) != 3 or any(t < 1 or t % m for t, m in zip(tile, steps, strict=False)):
        raise ValueError(
            f"Invalid value for `tile`. Expected three sizes, multiples of {steps}. "
            f"Received: tile={tile}"
        )
    tile = [min(t, -(-n // m) * m) for t, n, m in zip(tile, shape, steps, strict=True)]
    return plan(shape, tile, halo, fade)


def voxels_at_once(spatial_dims, scale=(1, 1, 1)):
    """Return how many voxels a tile may have: a constant, halved until memory suffices.

    Halved, so that the same file is mostly cut alike.
    """
    voxels = VOXELS[spatial_dims]
    while voxels * BYTES[spatial_dims] > free_memory() // 3:
        voxels //= 2
    return int(voxels / max(1, math.prod(scale)))


def best_tile(shape, halo, fade, steps, voxels):
    """Return the tile of at most `voxels` voxels with which fewest are computed in all.

    Tiles of the same z make a slab that is held in memory, so that is bounded too.
    """
    sizes, totals = [], []
    for n, h, f, m in zip(shape, halo, fade, steps, strict=True):
        longest = min(-(-n // m) * m, LONGEST * m)
        shortest = min(-(-(2 * h + max(3 * f, 1)) // m) * m, longest)
        size = np.arange(shortest, longest + 1, m)
        tiles = 1 + np.maximum(0, -((size - n) // (size - 2 * h - f).clip(1)))
        sizes.append(size)
        totals.append(size * tiles)
    size = sizes[0][:, None, None] * sizes[1][:, None] * sizes[2]
    total = totals[0][:, None, None] * totals[1][:, None] * totals[2]
    allowed = size <= max(voxels, size.min())
    slab = np.maximum(SLAB_VOXELS // (shape[1] * shape[2]), sizes[0].min())
    allowed &= (np.minimum(sizes[0], shape[0]) <= slab)[:, None, None]
    # Of equals the smallest.
    cost = np.where(allowed, total * (1.0 + size / size.max() / 1e3), np.inf)
    best = np.unravel_index(np.argmin(cost), cost.shape)
    return tuple(int(axis[i]) for axis, i in zip(sizes, best, strict=True))


def sample_tile(volume, spatial_dims):
    """Return a tile from the middle of a volume, of a size that a network takes."""
    sample = SAMPLE[spatial_dims]
    starts = [max(0, (n - s) // 2) for n, s in zip(volume.shape, sample, strict=False)]
    block = tuple(slice(a, a + s) for a, s in zip(starts, sample, strict=True))
    middle = np.asarray(volume[block])
    axes = tile_plan(middle.shape, spatial_dims, sample)
    return read_tile(middle, [cut[0] for cut in axes])


class Standardized:
    """An engine that takes raw grey levels.

    Args:
        engine: of standardised grey levels, or of grey levels of the statistics `own`.
        intensity: `Intensity` of the raw grey levels.
        own: dict of mean and standard_deviation that the engine itself standardises by.
    """

    def __init__(self, engine, intensity, own=None):
        self.engine, self.intensity, self.own = engine, intensity, own

    def __call__(self, tile):
        """Return what the engine gives for a tile; padding is background."""
        padded = self.intensity.padded(tile)
        values = self.engine(self.intensity.standardize(tile, self.own, padded))
        if padded is None:
            return values
        values, outside = np.array(values), padded if padded.ndim == 3 else padded.all(-1)
        values[outside] = 0
        if values.shape[-1] > 1:
            values[outside, 0] = 1
        return values


def averaged(engine, spatial_dims):
    """Return an engine that averages over flips of every axis and the transposition of y and x.

    These are 8 views of a tile for a 2D network and 16 for a 3D one, each put back in place.
    """
    axes = range(3 - spatial_dims, 3)
    flips = [tuple(a for a in axes if mask >> a & 1) for mask in range(0, 8, 1 << axes[0])]

    def run(tile):
        total = np.float32(0)
        for flip, swap in product(flips, (False, True)):
            view = np.flip(tile, flip)
            result = engine(np.ascontiguousarray(view.swapaxes(1, 2) if swap else view))
            total = total + np.flip(result.swapaxes(1, 2) if swap else result, flip)
        mean = total / np.float32(2 * len(flips))
        return np.rint(mean).astype(result.dtype) if result.dtype == np.uint8 else mean

    return run


def together(engines):
    """Return an engine that averages several, levels as levels."""

    def run(tile):
        results = [engine(tile) for engine in engines]
        if all(result.dtype == np.uint8 for result in results):
            return np.rint(np.mean(results, axis=0, dtype=np.float32)).astype(np.uint8)
        return np.mean([decoded(result) for result in results], axis=0, dtype=np.float32)

    return run


def resampled(engine, scale, spatial_dims):
    """Return an engine that lets another see tiles of other voxels, and gives float32.

    Args:
        engine: of tiles of other voxels.
        scale: how many voxels it sees for one of the volume, along (z, y, x).
        spatial_dims: of the network.
    """
    from skimage.transform import resize

    options = {"order": 1, "mode": "edge", "preserve_range": True}
    steps = multiples(spatial_dims)

    def run(tile):
        shape = [max(1, round(n * s)) for n, s in zip(tile.shape, scale, strict=False)]
        smooth = any(a < b for a, b in zip(shape, tile.shape, strict=False))
        seen = resize(tile.astype(np.float32), shape, anti_aliasing=smooth, **options)
        pads = [(0, -n % m) for n, m in zip(shape, steps, strict=True)]
        pads += [(0, 0)] * (tile.ndim - 3)
        values = decoded(engine(np.pad(seen, pads, mode="reflect")))
        values = values[tuple(slice(n) for n in shape)]
        maps = (resize(values[..., i], tile.shape[:3], **options) for i in range(values.shape[-1]))
        return np.stack(list(maps), axis=-1, dtype=np.float32)

    return run


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


def predict_slabs(engine, volume, spatial_dims, *, tile=None, on_tile=None, **cut):
    """Yield finished z slabs `(z, values)` of a volume; memory holds two slabs and some tiles.

    Args:
        engine: callable from a tile of raw grey levels to `(z, y, x, maps)`, see `engines`.
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like.
        spatial_dims: of the network.
        tile: `(z, y, x)` of a tile; a good size by default.
        on_tile: called with the number of tiles done and their total.
        **cut: `seamless` and `scale` of `tile_plan`.
    """
    axes = tile_plan(volume.shape, spatial_dims, tile, **cut)
    if on_tile:
        engine = watched(engine, count_tiles(axes), on_tile)
    return slabs(volume, axes, engine)


def probabilities(slabs_):
    """Return the float32 probabilities `(z, y, x, classes)` of the slabs of `predict_slabs`."""
    parts = [decoded(slab) for _, slab in slabs_]
    if parts[0].shape[-1] == 1:
        parts = [np.concatenate([1 - part, part], axis=-1) for part in parts]
    return np.concatenate(parts)


def label_map(slabs_, threshold=0.5):
    """Return the uint8 class ids `(z, y, x)` of the slabs of `predict_slabs`; see `segment`."""
    return np.concatenate([found for found, _ in segment(slabs_, threshold)])


def not_background(values):
    """Return the float32 probability `(z, y, x)` that a voxel is not background."""
    values = decoded(values)
    return values[..., 0] if values.shape[-1] == 1 else 1 - values[..., 0]


def segment(slabs_, threshold=0.5):
    """Yield uint8 class ids `(z, y, x)` and the values they came from, slab by slab.

    Args:
        slabs_: of `predict_slabs`.
        threshold: least foreground probability, of two classes; of more, the most probable wins.
    """
    for _, slab in slabs_:
        yield labels(slab, threshold), slab
