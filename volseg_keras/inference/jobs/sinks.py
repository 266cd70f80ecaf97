"""Where blocks of a segmentation are written: to memory, to a file, or to a shared store.

A sink has a method `write(block, values)`; a block is three slices (z, y, x) of the volume.
"""

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...volumes.writing import create_volume
from ..engines.output import foreground_probability, to_labels


@dataclass(frozen=True)
class ArraySink:
    """An array that takes blocks in any order: NumPy's in memory, Zarr's in a store.

    Attributes:
        array: `(z, y, x)`.
    """

    array: object

    def write(self, block, values):
        """Put the values of a block in their place."""
        self.array[block] = values


class FileSink:
    """A file that takes slabs of whole planes in order, and is written in a thread.

    Args:
        append: returned by `create_volume`.
    """

    def __init__(self, append):
        self._append = append

    @classmethod
    @contextmanager
    def open(cls, path, image, dtype, labels=False):
        """Yield the sink of a new file like an open volume; a failed run leaves no partial file."""
        with create_volume(path, image.shape, dtype, labels=labels, like=image) as append:
            yield cls(append)

    def write(self, block, values):
        """Write the next slab."""
        self._append(values)


@dataclass(frozen=True)
class Sinks:
    """The sinks of a prediction.

    Attributes:
        labels: sinks of class ids or instances.
        probability: sinks of the probability that a voxel is not background.
    """

    labels: tuple
    probability: tuple = ()

    def write_prediction(self, block, values, threshold):
        """Write labels and probability of a block, given the values that a network returns for it.

        Args:
            block: three slices (z, y, x).
            values: `(z, y, x, maps)`, returned by an engine.
            threshold: see `to_labels`.

        Returns:
            The `BlockSummary`.
        """
        if self.probability:
            probability = foreground_probability(values)
            for sink in self.probability:
                sink.write(block, probability)
        return self.write_labels(block, to_labels(values, threshold))

    def write_labels(self, block, labels):
        """Write the labels of a block; return the `BlockSummary`."""
        for sink in self.labels:
            sink.write(block, labels)
        return BlockSummary.of(block, labels)


class SegmentationSummary(NamedTuple):
    """Share of the foreground in a volume, a voxel in its middle, and the highest label."""

    share: float
    center: tuple
    highest: int


@dataclass(frozen=True)
class BlockSummary:
    """A summary of the labels of a block.

    Attributes:
        foreground: number of foreground voxels.
        most: number of them in the plane that has the most.
        center: voxel (z, y, x) of the volume in the middle of these.
        highest: the highest label.
    """

    foreground: int
    most: int
    center: tuple
    highest: int

    @classmethod
    def of(cls, block, labels):
        """Return the summary of the labels of a block."""
        counts = np.array([np.count_nonzero(plane) for plane in labels])
        plane = int(counts.argmax())
        found = labels[plane] > 0
        y = int(np.count_nonzero(found, axis=1).argmax())
        x = int(np.where(found[y], np.count_nonzero(found, axis=0), 0).argmax())
        center = tuple(s.start + i for s, i in zip(block, (plane, y, x), strict=True))
        return cls(int(counts.sum()), int(counts[plane]), center, int(labels.max()))


def summarize(blocks, shape):
    """Return the `SegmentationSummary` of a volume, given the `BlockSummary` of each block."""
    blocks = list(blocks)
    richest = max(blocks, key=lambda block: block.most)
    center = richest.center if richest.most else (n // 2 for n in shape)
    share = sum(block.foreground for block in blocks) / math.prod(shape)
    return SegmentationSummary(share, tuple(center), max(block.highest for block in blocks))


def planes_of(z, depth, shape):
    """Return the block of `depth` whole planes of a volume, from z on."""
    return (slice(z, z + depth), slice(0, shape[1]), slice(0, shape[2]))


def write_labels(slabs, path, image, dtype, *others):
    """Write slabs of labels to a file.

    Args:
        slabs: iterable of `(depth, y, x)` arrays of whole planes, in order.
        path: of the file.
        image: open `Volume` that they belong to.
        dtype: type of the labels.
        *others: further sinks that take the slabs.

    Returns:
        The `SegmentationSummary`.
    """
    found, z = [], 0
    with FileSink.open(path, image, dtype, labels=True) as file:
        sinks = Sinks((file, *others))
        for slab in slabs:
            found.append(sinks.write_labels(planes_of(z, len(slab), image.shape), slab))
            z += len(slab)
    return summarize(found, image.shape)
