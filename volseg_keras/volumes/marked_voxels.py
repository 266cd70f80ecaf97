"""Indices of the voxels of a large label volume that are marked, read block by block."""

import numpy as np

# Sections and rows of a label volume that are read at a time, multiples of usual chunks; and the
# most voxels whose indices are kept.
BLOCK, MOST_KEPT = (64, 256), 2**24


def label_blocks(volume, on_progress=None):
    """Yield the corner `(z, y)` and the voxels of every block of whole rows of a volume."""
    starts = [
        (z, y)
        for z in range(0, volume.shape[0], BLOCK[0])
        for y in range(0, volume.shape[1], BLOCK[1])
    ]
    for done, (z, y) in enumerate(starts, 1):
        yield (z, y), np.asarray(volume[z : z + BLOCK[0], y : y + BLOCK[1]])
        if on_progress:
            on_progress(done, len(starts))


class MarkedVoxels:
    """Flat indices of voxels; of more than `MOST_KEPT` only every second, fourth, ... is kept."""

    def __init__(self):
        self.places, self.values, self.every, self.count = [], [], 1, 0

    def add(self, mask, corner, shape, block):
        """Add the voxels of a mask of a block that begins at `corner` (z, y) of a volume."""
        inside = np.flatnonzero(mask)
        start = -self.count % self.every
        self.count += len(inside)
        inside = inside[start :: self.every]
        self.values.append(block.ravel()[inside])
        z, y, x = np.unravel_index(inside, block.shape)
        self.places.append(np.ravel_multi_index((z + corner[0], y + corner[1], x), shape))
        while sum(map(len, self.places)) > MOST_KEPT:
            self.places, self.values = (
                [np.concatenate(v)[::2]] for v in (self.places, self.values)
            )
            self.every *= 2

    def kept(self):
        """Return the indices, and the values there."""
        return np.concatenate(self.places), np.concatenate(self.values)
