"""A block of a volume with a margin, parts of which may lie outside the volume."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Box:
    """A block of a volume with a margin; what lies outside the volume is reflected.

    Attributes:
        start: corner (z, y, x) of the block without its margin.
        shape: sizes of the block without its margin.
        margin: voxels added on both sides of each axis.
        stride: n, where every n-th voxel along an axis is read.
    """

    start: tuple
    shape: tuple
    margin: tuple = (0, 0, 0)
    stride: tuple = (1, 1, 1)

    def read(self, volume):
        """Return the block of a `(z, y, x)` or `(z, y, x, channels)` array as a NumPy array."""
        axes = zip(self.start, self.shape, self.margin, self.stride, volume.shape, strict=False)
        indices = [
            reflected(start + stride * np.arange(-margin, size + margin), length)
            for start, size, margin, stride, length in axes
        ]
        spans = [slice(int(i.min()), int(i.max()) + 1) for i in indices]
        block = np.asarray(volume[tuple(spans)])
        for axis, (index, span) in enumerate(zip(indices, spans, strict=True)):
            if not np.array_equal(index, np.arange(span.start, span.stop)):
                block = block.take(index - span.start, axis)
        return block


def reflected(indices, length):
    """Return indices of an axis, with those outside reflected at its first and last voxel."""
    period = max(2 * (length - 1), 1)
    indices = indices % period
    return np.minimum(indices, period - indices) if length > 1 else np.zeros_like(indices)
