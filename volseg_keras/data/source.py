"""What a reader of a format finds: an array with named axes."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

PIECE = 2**30  # most bytes of a chunk, strip or tile: each is decompressed as a whole
DEFLATE = 1032  # most bytes that zlib and gzip store in one
NANOMETRES = {
    "nm": 1,
    "nanometer": 1,
    "a": 0.1,
    "å": 0.1,
    "angstrom": 0.1,
    "um": 1e3,
    "µm": 1e3,
    "μm": 1e3,
    "\\u00b5m": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "m": 1e9,
    "meter": 1e9,
}


@dataclass(frozen=True)
class Source:
    """An array of a file.

    Attributes:
        axes: a letter an axis: T, C, Z, Y, X; S for colours; any other is taken for Z.
        array: has `shape` and `dtype` and reads what is indexed by slices.
        voxel_size: (z, y, x) in nm, or None where the file does not tell.
    """

    axes: str
    array: object
    voxel_size: tuple | None = None


def nanometres(sizes, units):
    """Return sizes in nm, or None unless every one is known and positive."""
    names = [str(unit).strip().lower() for unit in units]
    scales = [NANOMETRES.get(name) or NANOMETRES.get(name.rstrip("s")) for name in names]
    if not all(scales) or not all(size and 0 < float(size) < math.inf for size in sizes):
        return None
    return tuple(float(size) * scale for size, scale in zip(sizes, scales, strict=True))


def checked_size(voxel_size):
    """Return a voxel size (z, y, x) as floats, or None; raise ValueError for anything else."""
    if voxel_size is None:
        return None
    size = np.ravel(voxel_size).astype(float)
    if size.shape != (3,) or not np.all(np.isfinite(size) & (size > 0)):
        raise ValueError(
            "Invalid value for `voxel_size`. Expected three positive numbers (z, y, x) in nm. "
            f"Received: voxel_size={voxel_size}"
        )
    return tuple(size.tolist())


def stored_limit(shape, dtype):
    """Return how many bytes a compressed piece of an array may take in its file.

    Raises:
        ValueError: the piece is larger than `PIECE` when it is decompressed.
    """
    size = math.prod(map(int, shape)) * dtype.itemsize
    if size > PIECE:
        raise ValueError(f"it is stored in pieces of {size} bytes, more than {PIECE}")
    return size + size // 8 + 4096


def check_memory(size):
    """Raise ValueError where so many bytes are not free."""
    if size > (free := psutil.virtual_memory().available):
        raise ValueError(f"it needs {size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free")


def beside(path, name):
    """Return the path of a file that another one names; raise ValueError outside its folder."""
    if name == Path(path).name:  # which may be a link
        return Path(path)
    folder = Path(path).parent.resolve()
    file = (folder / name).resolve()
    if not file.is_relative_to(folder):
        raise ValueError(f"{name} lies outside its folder")
    return file


def is_volume(node):
    """Return whether a node is an array of two axes or more."""
    return len(getattr(node, "shape", ())) >= 2 and hasattr(node, "dtype")


def default_axes(array):
    """Return the usual names of axes that a file does not name."""
    return "TCZYX"[-len(array.shape) :]


def pick(found, inside):
    """Return the array called `inside`, or the only one; raise ValueError that lists them."""
    if inside and inside.strip("/") in found:
        return found[inside.strip("/")]
    if not inside and len(found) == 1:
        return next(iter(found.values()))
    raise ValueError(f"name one of its arrays by FILE::NAME: {', '.join(found) or 'it has none'}")
