"""A part of a volume in a file, without reading it."""

import numpy as np


class Crop:
    """A part of a volume in a file, read when it is indexed.

    Args:
        volume: `(z, y, x)` array-like that reads what is indexed by slices.
        part: three slices without steps.
    """

    def __init__(self, volume, part):
        self.volume = volume
        self.ndim = len(volume.shape)
        part = (*part, *[slice(None)] * (self.ndim - len(part)))
        self.ranges = [range(n)[p] for n, p in zip(volume.shape, part, strict=True)]
        self.shape = tuple(map(len, self.ranges))
        self.dtype = volume.dtype
        self.voxel_size = getattr(volume, "voxel_size", None)

    def __getitem__(self, key):
        """Read a block."""
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *[slice(None)] * (self.ndim - len(key)))
        return self.volume[tuple(_within(r, k) for r, k in zip(self.ranges, key, strict=True))]

    def __array__(self, dtype=None, copy=None):
        """Read all of it."""
        return np.asarray(self[:], dtype=dtype)


def _within(axis, key):
    """Return what an index of a part is in the whole."""
    if isinstance(key, slice):
        found = axis[key]
        return slice(found.start, found.stop, found.step)
    return axis[key]


def cropped(volume, part):
    """Return a part of an array, or of a volume in a file as a `Crop`."""
    return volume[part] if isinstance(volume, np.ndarray) else Crop(volume, part)
