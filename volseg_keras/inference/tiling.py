"""Cut a volume into overlapping tiles and join their predictions.

An axis is cut into intervals, and the tiles are their product. Every tile is read with context
(`halo`) that is discarded, and neighbours are cross-faded where they meet, one axis at a time:
x within a row of tiles, rows within a slab, slabs in the volume. A fade between equal values
gives that value exactly, so joining unchanged tiles restores the volume bit for bit.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ..errors import require
from ..volumes.volume import checked_finite

SLAB_BYTES, SLAB_PLANES = 2**29, 64


@dataclass(frozen=True)
class Interval:
    """One tile's share of an axis, in voxels of the volume.

    Attributes:
        start: first voxel read.
        stop: one past the last voxel read; past the axis' end where it is padded.
        keep_start: first voxel kept.
        keep_stop: one past the last voxel kept.
        fade: how many of the first kept voxels are cross-faded with the interval before.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int
    fade: int

    def shifted(self, by):
        """Return the same interval of an axis that begins `by` voxels earlier."""
        edges = ("start", "stop", "keep_start", "keep_stop")
        return replace(self, **{name: getattr(self, name) + by for name in edges})


def intervals(size, tile, halo=0, fade=0):
    """Cut an axis into evenly spaced intervals of `tile` voxels.

    Args:
        size: length of the axis.
        tile: voxels read at a time; an axis that is shorter is one interval.
        halo: voxels of context on each side inside the volume.
        fade: voxels over which neighbours are cross-faded.

    Returns:
        A list of `Interval`; every voxel is kept by one, or by two where they fade.

    Raises:
        ValueError: `tile` leaves nothing between halo and fade.
    """
    step = tile - 2 * halo - fade
    if size <= tile:
        return [Interval(0, tile, 0, size, 0)]
    least = 2 * halo + 3 * fade or 1
    expected = f"at least {least} voxels for a halo of {halo} and a fade of {fade}"
    require(step >= max(2 * fade, 1), "tile", expected, f"{tile=}")
    count = 1 + -(-(size - tile) // step)
    starts = [round(i * (size - tile) / (count - 1)) for i in range(count)]
    cuts = [(a + tile + b - fade) // 2 for a, b in zip(starts, starts[1:], strict=False)]
    keeps = zip([0, *cuts], [*(c + fade for c in cuts), size], strict=True)
    return [
        Interval(start, start + tile, low, high, fade if low else 0)
        for start, (low, high) in zip(starts, keeps, strict=True)
    ]


def fade_weights(count):
    """Return the weights of the newer of two tiles over `count` voxels.

    Two Gaussians centred on neighbouring tiles, normalised by their sum, are a logistic curve.
    """
    position = (np.arange(count) + 0.5) / max(count, 1) - 0.5
    return (1 / (1 + np.exp(-8 * position))).astype(np.float32)


def plan(shape, tile, halo, fade):
    """Return the intervals of every axis of a volume."""
    return [intervals(*axis) for axis in zip(shape, tile, halo, fade, strict=True)]


def count_tiles(axes):
    """Return the number of tiles of a plan."""
    return int(np.prod([len(axis) for axis in axes]))


def read_tiles(volume, axes):
    """Yield the tiles of a plan; if planes are small, several are read at once."""
    first, *others = axes
    planes = SLAB_BYTES // (volume.dtype.itemsize * math.prod(volume.shape[1:]))
    low, slab = 0, volume[:0]
    for z in first:
        source, shift, stop = volume, 0, min(z.stop, volume.shape[0])
        if stop - z.start <= planes:
            if not low <= z.start <= stop <= low + len(slab):
                low = z.start
                slab = np.asarray(volume[low : max(stop, low + min(planes, SLAB_PLANES))])
            source, shift = slab, low
        cut = z.shifted(-shift)
        for rest in product(*others):
            yield read_tile(source, (cut, *rest))


def read_tile(volume, tile):
    """Read the intervals of a tile; voxels past the volume's end are reflected.

    Raises:
        ValueError: a grey level is not finite.
    """
    ends = [min(i.stop, n) for i, n in zip(tile, volume.shape, strict=False)]
    block = np.asarray(volume[tuple(slice(i.start, e) for i, e in zip(tile, ends, strict=True))])
    checked_finite(block)
    pads = [(0, i.stop - e) for i, e in zip(tile, ends, strict=True)]
    pads += [(0, 0)] * (block.ndim - len(pads))
    return np.pad(block, pads, mode="reflect") if np.any(pads) else block


def tiled_slabs(volume, axes, engine):
    """Yield finished z slabs of a tiled prediction, in order.

    Args:
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like.
        axes: a `plan`.
        engine: callable from a tile to `(z, y, x, classes)`.

    Yields:
        `(z, slab)`: the first z and probabilities `(depth, y, x, classes)`.
    """
    predicted = prefetch(map(engine, prefetch(read_tiles(volume, axes))))
    first, *others = axes
    pending = None
    for interval in first:
        slab = join(predicted, (interval,), others)
        if pending is not None:
            fade_in(slab, pending, interval.fade, axis=0)
        done = len(slab) - following_fade(first, interval)
        pending = slab[done:].copy()
        yield interval.keep_start, slab[:done]


def following_fade(intervals_, interval):
    """Return how many of an interval's last kept voxels the next one changes."""
    after = intervals_.index(interval) + 1
    return intervals_[after].fade if after < len(intervals_) else 0


def prefetch(items):
    """Yield the items of an iterable, computing the next one in a thread meanwhile."""
    items, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        item = pool.submit(next, items, end)
        while (value := item.result()) is not end:
            item = pool.submit(next, items, end)
            yield value


def join(predicted, chosen, axes):
    """Join the next tiles, all those that share the intervals `chosen` of the first axes."""
    if not axes:
        block = next(predicted)
        return block[tuple(slice(i.keep_start - i.start, i.keep_stop - i.start) for i in chosen)]
    axis, whole = len(chosen), None
    low, high = axes[0][0].keep_start, axes[0][-1].keep_stop
    for interval in axes[0]:
        block = join(predicted, (*chosen, interval), axes[1:])
        if whole is None:
            whole = np.empty(
                (*block.shape[:axis], high - low, *block.shape[axis + 1 :]), block.dtype
            )
        at, span = (slice(None),) * axis, slice(interval.keep_start - low, interval.keep_stop - low)
        into = whole[(*at, span)]
        before = into[(*at, slice(interval.fade))].copy()
        into[...] = block
        fade_in(into, before, interval.fade, axis)
    return whole


def fade_in(block, before, count, axis):
    """Cross-fade the first `count` voxels of `block` along `axis` with those of `before`."""
    head = block[(slice(None),) * axis + (slice(count),)]
    weight = fade_weights(count).reshape([-1 if a == axis else 1 for a in range(block.ndim)])
    mixed = before + weight * (head.astype(np.float32) - before)
    head[...] = np.rint(mixed) if block.dtype.kind in "iu" else mixed
