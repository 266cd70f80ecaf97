"""What the reader of a format returns, an array with named axes; and what all readers need."""

import math
from dataclasses import dataclass

import numpy as np

from ...errors import listed, require
from ..geometry import Geometry

MAX_CHUNK_BYTES = 2**30  # of a chunk, strip or tile: each is decompressed as a whole
DEFLATE = 1032  # most bytes that zlib and gzip store in one


@dataclass(frozen=True)
class Source:
    """An array of a file.

    Attributes:
        axes: one letter per axis: T, C, Z, Y, X; S for colours; any other is taken for Z.
        array: has `shape` and `dtype` and reads what is indexed by slices.
        geometry: where it lies in space, or None if unknown.
    """

    axes: str
    array: object
    geometry: Geometry | None = None


class AsType:
    """An array that is read as another type than its library reads.

    Args:
        array: is indexed by slices.
        dtype: to read.
        chunks: of what is decompressed as a whole, or None.
    """

    def __init__(self, array, dtype, chunks=None):
        self.array, self.shape, self.dtype, self.chunks = array, array.shape, dtype, chunks

    def __getitem__(self, key):
        """Read a block."""
        return np.asarray(self.array[key]).astype(self.dtype)


def stored_limit(piece, dtype, file=None):
    """Return how many bytes compressed pieces of an array may take in their file.

    Args:
        piece: shape of what is decompressed at a time.
        dtype: of a voxel.
        file: shape of all pieces of a file, by default of one.

    Raises:
        ValueError: a piece is larger than `MAX_CHUNK_BYTES` when it is decompressed.
    """
    size = math.prod(map(int, piece)) * dtype.itemsize
    if size > MAX_CHUNK_BYTES:
        raise ValueError(f"it is stored in pieces of {size} bytes, more than {MAX_CHUNK_BYTES}")
    whole = math.prod(map(int, file or piece)) * dtype.itemsize
    return whole + whole // 8 + 4096


def is_volume(node):
    """Return whether a node is an array of two axes or more."""
    shape = getattr(node, "shape", None) or ()  # None for an empty dataset of HDF5
    return len(shape) >= 2 and hasattr(node, "dtype")


def pick(found, inside):
    """Return the array called `inside`, or the only one; raise ValueError that lists them."""
    if inside and inside.strip("/") in found:
        return found[inside.strip("/")]
    if not inside and len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise ValueError("it has no array of two axes or more")
    raise ValueError(f"choose one of its arrays with FILE::NAME: {listed(found)}")


def check_number(name, value, count, names=""):
    """Raise ValueError for a `level` or `series` that a file does not have."""
    kinds = {"level": "levels", "series": "series"}[name]
    expected = f"one of the {kinds} 0 to {count - 1}{names and ', of '}{names}"
    require(0 <= value < count, name, expected, value)
