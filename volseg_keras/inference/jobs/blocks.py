"""Cut a volume into blocks that are predicted independently, in any order, by any process.

A block's values depend only on the volume and the plan of the job: it reads its context from the
volume, cross-fades its tiles and ends where the next block begins.
"""

from dataclasses import replace
from itertools import product

from ..engines.output import join_slabs
from ..tiled_prediction import FADE, best_tile, multiples
from ..tiling import intervals, tiled_slabs

# Multiples of the chunks of Zarr arrays, so that no two blocks share a chunk.
BLOCK = (128, 1024, 1024)


def blocks(shape, size):
    """Return the blocks of a volume, of `size` voxels, each as three slices, in z, y, x order."""
    return list(
        product(
            *[
                [slice(a, min(a + b, n)) for a in range(0, n, b)]
                for n, b in zip(shape, size, strict=True)
            ]
        )
    )


def block_tile(shape, size, spatial_dims, voxels, halo):
    """Return the tile `(z, y, x)` of at most `voxels` voxels for blocks of `size` voxels."""
    fade = FADE[spatial_dims]
    region = [min(n, b + 2 * h) for n, b, h in zip(shape, size, halo, strict=True)]
    return best_tile(region, halo, fade, multiples(spatial_dims), voxels)


def axis_plan(size, span, tile, halo, fade):
    """Return the intervals that keep `span` of an axis, with context on both sides."""
    stop = min(size, span.stop + halo)
    start = max(0, min(span.start - halo, stop - tile))
    cut = [each.shifted(start) for each in intervals(stop - start, tile, halo, fade)]
    cut[0] = replace(cut[0], keep_start=span.start)
    cut[-1] = replace(cut[-1], keep_stop=span.stop)
    return cut


def predict_block(engine, volume, block, spatial_dims, tile, halo, smoothing, padded):
    """Return the values `(z, y, x, maps)` of a block.

    Args:
        engine: callable from a tile of raw intensities to `(z, y, x, maps)`, see
            `inference.engines`.
        volume: `(z, y, x)` array-like.
        block: three slices.
        spatial_dims: of the network.
        tile: `(z, y, x)` of a tile.
        halo: context of a tile, see `halo_of`.
        smoothing: a `SectionSmoothing`.
        padded: see `SectionSmoothing.slabs`, for the block's part of a plane.
    """
    (sections, *plane), fade, reach = block, FADE[spatial_dims], smoothing.reach
    grown = slice(max(0, sections.start - reach), min(volume.shape[0], sections.stop + reach))
    axes = zip(volume.shape[:3], (grown, *plane), tile, halo, fade, strict=True)
    slabs = tiled_slabs(volume, [axis_plan(*axis) for axis in axes], engine)
    if reach:
        slabs = smoothing.slabs(slabs, sections.start, sections.stop, padded)
    return join_slabs(slabs)
