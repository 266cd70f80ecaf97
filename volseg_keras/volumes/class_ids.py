"""The class ids of a volume, and those of one in memory."""

import math
from abc import ABC, abstractmethod

import numpy as np

from ..errors import require
from .labels import NOT_ANNOTATED, digest, distinct_values, present_ids
from .marked_voxels import MarkedVoxels, label_blocks


class ClassIds(ABC):
    """The class ids of a volume, read as uint8 arrays when they are indexed.

    Attributes:
        shape: `(z, y, x)`.
        in_memory: whether they are an array, else they are read from a file.
        present: the sorted ids that occur, 0 and "not annotated" among them; of a part of a file,
            those of the whole.
        painted: for each z, whether the section has any label but 0; of a part of a file, as
            `full`, whether the whole section does.
        full: for each z, whether no label of the section is 0.
    """

    ndim, dtype = 3, np.dtype(np.uint8)
    in_memory: bool

    def __len__(self):
        """Return the number of sections."""
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, key):
        """Return a block as an array."""

    def __array__(self, dtype=None, copy=None):
        """Return all class ids."""
        return np.array(self[:], dtype=dtype) if copy else np.asarray(self[:], dtype=dtype)

    @property
    def largest(self):
        """The largest class."""
        return max(present_ids(self.present), default=0)

    @abstractmethod
    def cropped(self, part):
        """Return a part of it, three slices without steps."""

    @abstractmethod
    def without_sections(self, unpainted):
        """Return the class ids with some sections, a mask along z, as not annotated."""

    @abstractmethod
    def annotated_sections(self, ignore_class):
        """Return the sorted z of the sections in which a voxel is annotated.

        Args:
            ignore_class: label of voxels without annotation, or None.
        """

    @abstractmethod
    def classes_by_section(self):
        """Return the classes above 0 on every section that has any, sets by z, in order."""

    def digest(self, on_progress=None):
        """Return the hexadecimal SHA-256 digest of the class ids.

        Args:
            on_progress: called with the number of blocks read and their total.
        """
        return digest(block for _, block in label_blocks(self, on_progress))

    def foreground_voxels(self, ignore_class=None):
        """Return sorted flat indices of the voxels that are neither background nor unannotated.

        If there are more than 16 million, only every second, fourth, ... is returned.

        Args:
            ignore_class: label of voxels without annotation.

        Raises:
            ValueError: there is none.
        """
        found = self._foreground(ignore_class)
        require(len(found), "label", "at least one foreground voxel", "none")
        found = np.sort(found)  # the same for arrays and files
        return found.astype(np.uint32) if math.prod(self.shape) < 2**32 else found

    @abstractmethod
    def _foreground(self, ignore_class):
        """Return flat indices as `foreground_voxels`, in any order."""

    def sections_with_foreground(self):
        """Return the sorted z of sections with a class above 0, of at most 16 million voxels.

        Raises:
            ValueError: there is none.
        """
        voxels = self.foreground_voxels(NOT_ANNOTATED)
        return np.unique(voxels // math.prod(self.shape[1:]))


class ArrayClassIds(ClassIds):
    """The class ids of a volume in memory.

    Args:
        ids: uint8 array `(z, y, x)`, see `volumes.labels.class_ids`.
    """

    in_memory = True

    def __init__(self, ids):
        self.ids, self.shape = ids, ids.shape

    def __getitem__(self, key):
        """Return a block as a view."""
        return self.ids[key]

    @property
    def present(self):
        """See `ClassIds`."""
        return distinct_values(self.ids)

    @property
    def painted(self):
        """See `ClassIds`."""
        return self.ids.any(axis=(1, 2))

    @property
    def full(self):
        """See `ClassIds`."""
        return self.ids.all(axis=(1, 2))

    def cropped(self, part):
        """Return a part of it, a view."""
        return ArrayClassIds(self.ids[part])

    def without_sections(self, unpainted):
        """Return a copy in which some sections, a mask along z, are not annotated."""
        ids = self.ids.copy()
        ids[unpainted] = NOT_ANNOTATED
        return ArrayClassIds(ids)

    def annotated_sections(self, ignore_class):
        """Return the sorted z of the sections in which a voxel is annotated."""
        return annotated_sections(self.ids, ignore_class)

    def classes_by_section(self):
        """Return the classes above 0 on every section that has any, sets by z, in order."""
        found = ((z, set(present_ids(section))) for z, section in enumerate(self.ids))
        return {z: classes for z, classes in found if classes}

    def _foreground(self, ignore_class):
        voxels = MarkedVoxels()
        for corner, block in label_blocks(self.ids):
            mask = block > 0
            if ignore_class is not None:
                mask &= block != ignore_class
            voxels.add(mask, corner, self.shape, block)
        return voxels.kept()[0]


def annotated_sections(ids, ignore_class):
    """Return the sorted z of the sections of an array `(z, y, x)` in which a voxel is annotated.

    Args:
        ids: array of class ids.
        ignore_class: label of voxels without annotation, or None.
    """
    if ignore_class is None:
        return np.arange(len(ids))
    return np.flatnonzero([(plane != ignore_class).any() for plane in ids])
