"""Write volumes of any format, slab by slab and atomically."""

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Full, Queue

import numpy as np

from ..errors import invalid, require
from ..files import atomic_path, writable_folder
from ..resources import free_memory
from .formats.ome_zarr import mark_labels
from .formats.registry import (
    FORMATS,
    checked_output_suffix,
    checked_suffix,
    format_suffix,
    suffixes,
)
from .geometry import checked_size, with_voxel_size
from .paths import containing_file

GIVEN_UP = object()  # for the thread that writes, instead of the next slab


def save_volume(path, array, *, voxel_size=None, like=None):
    """Write a (z, y, x) array; a killed run leaves no half file.

    Args:
        path: a file of a format that `open_volume` knows by its suffix; its folder is created.
        array: the voxels.
        voxel_size: sides (z, y, x) of a voxel in nm, if known.
        like: an open `Volume` at the same place in space, which viewers show aligned with it.

    Returns:
        The path.

    Raises:
        ValueError: the suffix is not known.
        OSError: the folder cannot be written.

    Example:
        >>> volseg_keras.save_volume("labels.tif", labels, like=volume)
    """
    array = np.asanyarray(array)
    require(array.ndim == 3, "array", "axes (z, y, x)", f"shape {array.shape}")
    with create_volume(path, array.shape, array.dtype, voxel_size, like=like) as append:
        append(array)
    return Path(path)


@contextmanager
def create_volume(path, shape, dtype, voxel_size=None, *, labels=False, like=None):
    """Write a volume slab by slab, in a thread; a killed or failed run leaves no half file.

    Args:
        path: see `save_volume`.
        shape: `(z, y, x)` of the whole.
        dtype: type of a voxel.
        voxel_size: sides (z, y, x) of a voxel in nm, if known.
        labels: whether the voxels are labels, which OME-Zarr notes for viewers.
        like: see `save_volume`.

    Yields:
        A function that takes the next `(depth, y, x)` array.

    Raises:
        ValueError: the suffix is not known.
        OSError: the file cannot be written.
    """
    path, geometry = checked_output(path), geometry_like(like, voxel_size)
    kind, dtype = format_suffix(path), np.dtype(dtype)
    expected = "integers or floats of up to 64 bits, or booleans"
    require(dtype.kind in "uifb" and dtype.itemsize <= 8, "dtype", expected, dtype)
    dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    waiting, planes, written, last = Queue(2), 0, None, GIVEN_UP

    def slabs():
        while (slab := waiting.get()) is not None:
            if slab is GIVEN_UP:
                raise RuntimeError("the rest of the volume does not come")
            yield slab

    def put(slab):
        while not (written and written.done()):
            with suppress(Full):
                return waiting.put(slab, timeout=0.1)
        written.result()

    def append(slab):
        nonlocal planes
        planes += len(slab)
        if tuple(slab.shape[1:]) != tuple(shape[1:]) or planes > shape[0]:
            raise wrong_planes_error(shape, planes, slab.shape)
        put(np.asarray(slab, dtype))

    with atomic_path(path) as part:
        with ThreadPoolExecutor(1) as pool:
            try:  # a signal may come as soon as the thread starts, which then must be ended
                written = pool.submit(FORMATS[kind].write, part, slabs(), shape, dtype, geometry)
                yield append
                if planes < shape[0]:
                    raise wrong_planes_error(shape, planes, (0, *shape[1:]))
                last = None
            finally:
                put(last)
        written.result()
        if labels and kind == ".zarr":
            mark_labels(part)


def geometry_like(like, voxel_size=None):
    """Return the `Geometry` of a volume, or of a voxel size (z, y, x) in nm; None if unknown."""
    geometry, own = getattr(like, "geometry", None), getattr(like, "voxel_size", None)
    return with_voxel_size(geometry, checked_size(voxel_size) or own)


def wrong_planes_error(shape, planes, last):
    """Return the ValueError of slabs that do not add up to a volume."""
    received = f"{planes} planes, the last slab of shape {tuple(last)}"
    return invalid("slab", f"planes that add up to {tuple(shape)}", received)


def checked_output(path):
    """Return a path that a volume can be written to, or raise ValueError or OSError."""
    path = Path(path)
    checked_output_suffix(path)
    require(not path.is_dir(), "output", "a new name", f"{path} is a folder", FileExistsError)
    if path.is_symlink():
        writable_folder(path.resolve().parent)
    return writable_folder(path.parent) / path.name


def check_output_file(path):
    """Create the folder of a table or text; raise ValueError or OSError if it cannot be written."""
    require(not path.is_dir(), "output", "a file", f"folder {path}")
    writable_folder(path.parent)


def check_not_input(written, *paths):
    """Raise ValueError if a file to write is a volume of `paths`, or in one's folder of slices."""
    sources = [containing_file(path).resolve() for path in paths]
    for file in map(Path, written):
        good = not {file.resolve(), file.resolve().parent} & set(sources)
        require(good, "output", "a file other than the input, outside its folder of slices", file)


def check_memory_to_write(path, shape, dtype):
    """Raise ValueError for a volume that does not fit in memory, in a format that is joined there.

    Args:
        path: of the file to write.
        shape: `(z, y, x)` of the volume.
        dtype: type of a voxel.
    """
    needed, free = 2 * math.prod(shape) * np.dtype(dtype).itemsize, free_memory()
    expected = f"another format than {suffixes('is_joined')}, which are joined in memory"
    received = f"{path}, for which {needed / 2**30:.0f} GiB are needed and {free / 2**30:.0f} free"
    require(
        not FORMATS[checked_suffix(path)].is_joined or needed <= free, "output", expected, received
    )
