"""The class ids of a label volume in a file that is too large for memory."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from .class_ids import ClassIds
from .crop import Crop
from .labels import NOT_ANNOTATED, class_ids, distinct_values
from .marked_voxels import MarkedVoxels, label_blocks


@dataclass(eq=False)
class FileClassIds(ClassIds):
    """The class ids of a label volume in a file; `scan` reads it once.

    Attributes:
        labels: `(z, y, x)` array-like that reads what is indexed by slices.
        class_of: dict from every label that occurs to its class id.
        foreground: flat indices of the voxels with a class above 0: all, or an even selection of
            many.
        classes: their class ids.
        painted: see `ClassIds`.
        full: see `ClassIds`.
        unknown: for each z, whether the section counts as not annotated.
    """

    labels: object
    class_of: dict
    foreground: np.ndarray
    classes: np.ndarray
    painted: np.ndarray
    full: np.ndarray
    unknown: np.ndarray
    _digest: str | None = field(default=None, init=False, repr=False)

    in_memory = False

    @classmethod
    def scan(cls, labels, on_progress=None, allow_mask=True):
        """Read a label volume once to find which labels occur and where the foreground is.

        Args:
            labels: `(z, y, x)` array-like.
            on_progress: called with the number of blocks read and their total.
            allow_mask: see `labels.class_ids`.

        Raises:
            ValueError: a label is not a class id.
        """
        found = np.zeros(0, labels.dtype)
        depth = labels.shape[0]
        minimum, maximum = np.full(depth, np.inf), np.full(depth, -np.inf)
        # 255 is "not annotated", or what a mask has
        at_255, others = MarkedVoxels(), MarkedVoxels()
        for corner, block in label_blocks(labels, on_progress):
            found = np.union1d(found, distinct_values(block))
            sections = slice(corner[0], corner[0] + len(block))
            np.minimum(minimum[sections], block.min(axis=(1, 2)), out=minimum[sections])
            np.maximum(maximum[sections], block.max(axis=(1, 2)), out=maximum[sections])
            at_255.add(block == NOT_ANNOTATED, corner, labels.shape, block)
            others.add((block != 0) & (block != NOT_ANNOTATED), corner, labels.shape, block)
        lookup = class_ids(found, allow_mask)
        class_of = dict(zip(found.tolist(), lookup.tolist(), strict=True))
        is_mask = class_of.get(NOT_ANNOTATED) != NOT_ANNOTATED
        marked = [others] + [at_255] * is_mask
        voxels, values = map(np.concatenate, zip(*(v.kept() for v in marked), strict=True))
        low, high = (lookup[np.searchsorted(found, v)] for v in (minimum, maximum))
        return cls(
            labels,
            class_of,
            foreground=voxels,
            classes=lookup[np.searchsorted(found, values)],
            painted=(low > 0) | (high > 0),
            full=(low > 0) & (high > 0),
            unknown=low == NOT_ANNOTATED,
        )

    def __getitem__(self, key):
        """Read a block of class ids."""
        block = np.asarray(self.labels[key])
        ids = np.zeros(block.shape, np.uint8)
        for label, class_id in self.class_of.items():
            if class_id:
                ids[block == label] = class_id
        z = key[0] if isinstance(key, tuple) else key
        ids[self.unknown[z]] = NOT_ANNOTATED
        return ids

    @property
    def shape(self):
        """See `ClassIds`."""
        return self.labels.shape

    def digest(self, on_progress=None):
        """See `ClassIds`; the file is read once."""
        if self._digest is None:
            self._digest = super().digest(on_progress)
        return self._digest

    @property
    def present(self):
        """See `ClassIds`; sections that count as not annotated add no id."""
        return np.unique(np.array(list(self.class_of.values()), np.uint8))

    def cropped(self, part):
        """Return a part of it without reading it."""
        crop = Crop(self.labels, part)
        places = np.unravel_index(self.foreground, self.shape)
        inside = [(i >= r.start) & (i < r.stop) for i, r in zip(places, crop.ranges, strict=True)]
        kept = np.logical_and.reduce(inside)
        places = [i[kept] - r.start for i, r in zip(places, crop.ranges, strict=True)]
        return replace(
            self,
            labels=crop,
            foreground=np.ravel_multi_index(places, crop.shape),
            classes=self.classes[kept],
            painted=self.painted[part[0]],
            full=self.full[part[0]],
            unknown=self.unknown[part[0]],
        )

    def without_sections(self, unpainted):
        """Return the class ids with some sections, a mask along z, as not annotated."""
        kept = ~unpainted[self.foreground // math.prod(self.shape[1:])]
        return replace(
            self,
            foreground=self.foreground[kept],
            classes=self.classes[kept],
            unknown=self.unknown | unpainted,
        )

    def annotated_sections(self, ignore_class):
        """Return the sorted z of the sections in which a voxel is annotated."""
        return np.flatnonzero(~self.unknown)

    def classes_by_section(self):
        """Return the classes above 0 on every section that has any, sets by z, in order."""
        z, known = self.foreground // math.prod(self.shape[1:]), (self.classes > 0)
        pairs = np.unique(256 * z[known] + self.classes[known]).tolist()
        found = {}
        for pair in pairs:
            found.setdefault(pair // 256, set()).add(pair % 256)
        return found

    def _foreground(self, ignore_class):
        return self.foreground[(self.classes > 0) & (self.classes != ignore_class)]
