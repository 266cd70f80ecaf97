"""Labels of a volume: class ids, where the foreground lies, parts of volumes in files."""

import math

import numpy as np

from .volumes import class_ids

# Voxels of a label volume that are looked at together, and foreground voxels that are kept.
SLAB, KEPT = 2**26, 2**24


class Crop:
    """A part of a volume in a file, read when it is indexed.

    Args:
        volume: `(z, y, x)` array-like that reads what is indexed by slices.
        part: three slices without steps.
    """

    ndim = 3

    def __init__(self, volume, part):
        self.volume = volume
        self.ranges = [range(n)[p] for n, p in zip(volume.shape, part, strict=True)]
        self.shape = tuple(map(len, self.ranges))
        self.dtype = volume.dtype
        self.voxel_size = getattr(volume, "voxel_size", None)

    def __getitem__(self, key):
        """Read a block."""
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *[slice(None)] * (3 - len(key)))
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


class ClassIds:
    """The class ids of a label volume in a file, read when they are indexed; see `class_ids`.

    Args:
        labels: `(z, y, x)` array-like that reads what is indexed by slices.
        ids: class id of every label that there is, as of `scan`.
    """

    ndim, dtype = 3, np.dtype(np.uint8)

    def __init__(self, labels, ids):
        self.labels, self.ids = labels, ids
        self.shape = labels.shape

    @classmethod
    def scan(cls, labels, on_progress=None):
        """Read a label volume once, to tell a mask from class ids.

        Raises:
            ValueError: a label is no class id.
        """
        found = np.zeros(0, labels.dtype)
        for _, slab in slabs(labels, on_progress):
            found = np.union1d(found, np.unique(slab))
        return cls(labels, dict(zip(found.tolist(), class_ids(found).tolist(), strict=True)))

    def __getitem__(self, key):
        """Read a block of class ids."""
        block = np.asarray(self.labels[key])
        ids = np.zeros(block.shape, np.uint8)
        for label, class_id in self.ids.items():
            if class_id:
                ids[block == label] = class_id
        return ids

    def __array__(self, dtype=None, copy=None):
        """Read all class ids."""
        return np.asarray(self[:], dtype=dtype)


def cropped(volume, part):
    """Return a part of an array, or of a volume in a file without reading it."""
    if isinstance(volume, np.ndarray):
        return volume[part]
    if isinstance(volume, ClassIds):
        return ClassIds(Crop(volume.labels, part), volume.ids)
    return Crop(volume, part)


def slabs(volume, on_progress=None):
    """Yield `(z, sections)` of a volume, as many sections at once as memory likes."""
    depth = volume.shape[0]
    thickness = max(1, SLAB // math.prod(volume.shape[1:]))
    for z in range(0, depth, thickness):
        yield z, np.asarray(volume[z : z + thickness])
        if on_progress:
            on_progress(min(z + thickness, depth), depth)


def foreground_voxels(label, ignore_class=None, on_progress=None):
    """Return rising flat indices of the voxels that are neither background nor unannotated.

    Of more than 16 million every second, fourth, ... is kept.

    Args:
        label: `(z, y, x)` class ids, in memory or in a file.
        ignore_class: label of voxels without annotation.
        on_progress: called with the number of sections read and their total.

    Raises:
        ValueError: there is none.
    """
    found, every, count = [], 1, 0
    for z, slab in slabs(label, on_progress):
        mask = slab > 0
        if ignore_class is not None:
            mask &= slab != ignore_class
        inside = np.flatnonzero(mask)
        start = -count % every
        count += len(inside)
        found.append(inside[start::every] + z * math.prod(label.shape[1:]))
        while sum(map(len, found)) > KEPT:
            found, every = [np.concatenate(found)[::2]], 2 * every
    voxels = np.concatenate(found)
    if not len(voxels):
        raise ValueError(
            "Invalid value for `label`. Expected at least one foreground voxel. Received: none"
        )
    return voxels.astype(np.uint32) if math.prod(label.shape) < 2**32 else voxels
