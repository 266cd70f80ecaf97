"""Labels of a volume in memory or in a file: class ids, foreground voxels, parts of it."""

import math

import numpy as np

from ..errors import require
from ..volumes.labels import NOT_ANNOTATED, class_ids, distinct_values

# Sections and rows of a label volume that are read at a time, multiples of usual chunks; and the
# most foreground voxels that are kept.
BLOCK, KEPT = (64, 256), 2**24


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


class ClassIds:
    """The class ids of a label volume in a file, read when they are indexed; see `class_ids`.

    Args:
        labels: `(z, y, x)` array-like that reads what is indexed by slices.
        ids: dict from every label that occurs to its class id.
        foreground: flat indices of the voxels with a class above 0: all, or an even selection of
            many.
        classes: their class ids.
        painted: for each z, whether the section has any label but 0; of a part of a volume, as
            `full` and `unknown`, whether the whole section does.
        full: for each z, whether no label of the section is 0.
        unknown: for each z, whether the section counts as not annotated.
    """

    ndim, dtype = 3, np.dtype(np.uint8)

    def __init__(self, labels, ids, foreground, classes, painted, full, unknown):
        self.labels, self.ids = labels, ids
        self.foreground, self.classes = foreground, classes
        self.painted, self.full, self.unknown = painted, full, unknown
        self.shape = labels.shape

    def __len__(self):
        """Return the number of sections."""
        return self.shape[0]

    @classmethod
    def scan(cls, labels, on_progress=None):
        """Read a label volume once to find which labels occur and where the foreground is.

        Args:
            labels: `(z, y, x)` array-like.
            on_progress: called with the number of blocks read and their total.

        Raises:
            ValueError: a label is no class id.
        """
        found = np.zeros(0, labels.dtype)
        depth = labels.shape[0]
        lowest, largest = np.full(depth, np.inf), np.full(depth, -np.inf)
        highest, others = Voxels(), Voxels()  # 255 is "not annotated", or what a mask has
        for corner, block in label_blocks(labels, on_progress):
            found = np.union1d(found, distinct_values(block))
            sections = slice(corner[0], corner[0] + len(block))
            np.minimum(lowest[sections], block.min(axis=(1, 2)), out=lowest[sections])
            np.maximum(largest[sections], block.max(axis=(1, 2)), out=largest[sections])
            highest.add(block == NOT_ANNOTATED, corner, labels.shape, block)
            others.add((block != 0) & (block != NOT_ANNOTATED), corner, labels.shape, block)
        ids = dict(zip(found.tolist(), class_ids(found).tolist(), strict=True))
        lookup = np.array([ids[value] for value in found.tolist()], np.uint8)
        is_mask = ids.get(NOT_ANNOTATED) != NOT_ANNOTATED
        marked = [others] + [highest] * is_mask
        places, values = map(np.concatenate, zip(*(v.kept() for v in marked), strict=True))
        classes = lookup[np.searchsorted(found, values)]
        low, high = (lookup[np.searchsorted(found, v)] for v in (lowest, largest))
        sections = (low > 0) | (high > 0), (low > 0) & (high > 0), low == NOT_ANNOTATED
        return cls(labels, ids, places, classes, *sections)

    def without_sections(self, unpainted):
        """Return the class ids with some sections, a mask along z, as not annotated."""
        kept = ~unpainted[self.foreground // math.prod(self.shape[1:])]
        foreground = self.foreground[kept], self.classes[kept]
        unknown = self.unknown | unpainted
        return ClassIds(self.labels, self.ids, *foreground, self.painted, self.full, unknown)

    def cropped(self, part):
        """Return a part of it."""
        crop = Crop(self.labels, part)
        places = np.unravel_index(self.foreground, self.shape)
        inside = [(i >= r.start) & (i < r.stop) for i, r in zip(places, crop.ranges, strict=True)]
        kept = np.logical_and.reduce(inside)
        places = [i[kept] - r.start for i, r in zip(places, crop.ranges, strict=True)]
        foreground = np.ravel_multi_index(places, crop.shape)
        sections = (mask[part[0]] for mask in (self.painted, self.full, self.unknown))
        return ClassIds(crop, self.ids, foreground, self.classes[kept], *sections)

    def __getitem__(self, key):
        """Read a block of class ids."""
        block = np.asarray(self.labels[key])
        ids = np.zeros(block.shape, np.uint8)
        for label, class_id in self.ids.items():
            if class_id:
                ids[block == label] = class_id
        z = key[0] if isinstance(key, tuple) else key
        ids[self.unknown[z]] = NOT_ANNOTATED
        return ids

    def __array__(self, dtype=None, copy=None):
        """Read all class ids."""
        return np.asarray(self[:], dtype=dtype)


def cropped(volume, part):
    """Return a part of an array, or of a volume in a file without reading it."""
    if isinstance(volume, np.ndarray):
        return volume[part]
    if isinstance(volume, ClassIds):
        return volume.cropped(part)
    return Crop(volume, part)


def known_ids(label):
    """Return class ids in memory as they are, and of `ClassIds` those that occur."""
    return np.array(list(label.ids.values()), np.uint8) if isinstance(label, ClassIds) else label


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


class Voxels:
    """Flat indices of voxels; of more than `KEPT` only every second, fourth, ... is kept."""

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
        while sum(map(len, self.places)) > KEPT:
            self.places, self.values = (
                [np.concatenate(v)[::2]] for v in (self.places, self.values)
            )
            self.every *= 2

    def kept(self):
        """Return the indices, and the values there."""
        return np.concatenate(self.places), np.concatenate(self.values)


def foreground_voxels(label, ignore_class=None):
    """Return sorted flat indices of the voxels that are neither background nor unannotated.

    Of more than 16 million only every second, fourth, ... is returned.

    Args:
        label: `(z, y, x)` class ids, an array or `ClassIds`.
        ignore_class: label of voxels without annotation.

    Raises:
        ValueError: there is none.
    """
    if isinstance(label, ClassIds):
        found, values = label.foreground, label.classes
        found = found[(values > 0) & (values != ignore_class)]
    else:
        voxels = Voxels()
        for corner, block in label_blocks(label):
            mask = block > 0
            if ignore_class is not None:
                mask &= block != ignore_class
            voxels.add(mask, corner, label.shape, block)
        found, _ = voxels.kept()
    require(len(found), "label", "at least one foreground voxel", "none")
    found = np.sort(found)  # the same for arrays and files
    return found.astype(np.uint32) if math.prod(label.shape) < 2**32 else found


def sections_with_foreground(label):
    """Return the sorted z of sections with a class above 0, of at most 16 million voxels.

    Args:
        label: as of `foreground_voxels`, as which it raises ValueError.
    """
    voxels = foreground_voxels(label, NOT_ANNOTATED)
    return np.unique(voxels // math.prod(label.shape[1:]))


def annotated_sections(label, ignore_class):
    """Return the sorted z of the sections in which a voxel is annotated.

    Args:
        label: `(z, y, x)` class ids, an array or `ClassIds`.
        ignore_class: label of voxels without annotation, or None.
    """
    if isinstance(label, ClassIds):
        return np.flatnonzero(~label.unknown)
    if ignore_class is None:
        return np.arange(label.shape[0])
    return np.flatnonzero([(plane != ignore_class).any() for plane in label])
