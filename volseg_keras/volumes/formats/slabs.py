"""Slabs, arrays of a few planes each, from which volumes are written."""

import math

import numpy as np

CHUNK = (64, 128, 128)
# Chunks as large, for arrays of large planes: whole rows of chunks are written at once.
FLATTER_CHUNKS = (CHUNK, (16, 256, 256), (4, 512, 512), (1, 1024, 1024))
ROW_BYTES = 2**30  # most bytes of a row of chunks, if it has several planes


def chunk_for_slabs(shape, dtype):
    """Return the sizes of chunks of an array that is written plane by plane."""
    plane = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    fitting = (chunk for chunk in FLATTER_CHUNKS if chunk[0] * plane <= ROW_BYTES)
    chunk = next(fitting, FLATTER_CHUNKS[-1])
    return tuple(min(c, n) for c, n in zip(chunk, shape, strict=True))


def fill(array, slabs):
    """Write z slabs one after the other, in whole rows of chunks if the array has chunks."""
    depth = (getattr(array, "chunks", None) or (1,))[0]
    waiting = np.empty((depth, *array.shape[1:]), array.dtype)
    z, held = 0, 0  # planes that are written, and that wait
    for slab in slabs:
        while len(slab):
            if held or len(slab) < depth:
                count = min(depth - held, len(slab))
                waiting[held : held + count] = slab[:count]
                held += count
                if held == depth:
                    array[z : z + depth] = waiting
                    z, held = z + depth, 0
            else:
                count = len(slab) // depth * depth
                array[z : z + count] = slab[:count]
                z += count
            slab = slab[count:]
    if held:
        array[z : z + held] = waiting[:held]


def join_slabs(slabs):
    """Return z slabs as one array, float16 as float32 for formats that do not have it."""
    data = np.concatenate(list(slabs))
    return data.astype(np.float32) if data.dtype == np.float16 else data
