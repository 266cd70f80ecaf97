"""Open volumes: (z, y, x) arrays in files of any kind, read lazily."""

import math
import os
import warnings
from functools import partial

import numpy as np

from ..errors import invalid, require
from ..resources import check_memory
from .axes import MOST_COLOURS
from .colour import as_grey
from .formats.registry import read_source
from .geometry import checked_size, with_voxel_size
from .labels import whole_numbers
from .paths import split_name


class Volume:
    """A lazily read single-channel volume.

    Indexing by integers and slices reads voxels and returns NumPy arrays; `numpy.asarray` reads
    everything.

    Attributes:
        path: where it lies.
        shape: sizes (z, y, x) in voxels.
        dtype: type of a voxel.
        voxel_size: sides (z, y, x) of a voxel in nm, or None if unknown.
        geometry: where it lies in space, a `Geometry`, or None if unknown.
        grey_levels: how many there are in a file of fewer bits than a byte, or None.
    """

    ndim = 3

    def __init__(self, path, array, axes, fixed, geometry, reopen=None):
        self.path = path
        self.dtype = np.dtype(array.dtype)
        self.geometry = geometry
        self.voxel_size = geometry.voxel_size if geometry else None
        self._reopen = reopen  # a function that opens it again, None if it cannot be
        self.shape = tuple(array.shape[axes.index(a)] if a in axes else 1 for a in "ZYX")
        self.grey_levels = getattr(array, "grey_levels", None)
        self._array, self._axes, self._fixed = array, axes, fixed

    @property
    def pieces(self):
        """Sizes (z, y, x) of the pieces that are decoded as a whole, None where there are none."""
        if isinstance(self._array, Volume):
            return self._array.pieces
        chunks = getattr(self._array, "chunks", None)
        if chunks is None:
            return None
        return tuple(int(chunks[self._axes.index(a)]) if a in self._axes else 1 for a in "ZYX")

    def __getitem__(self, key):
        """Read a block, as NumPy indexing would; ValueError where the file is damaged."""
        key = full_key(key)
        spans = [span_of(k, n) for k, n in zip(key, self.shape, strict=True)]
        wanted = dict(zip("ZYX", spans, strict=True), **self._fixed)
        sizes = [len(range(s.start, s.stop, s.step)) for s in spans]
        whole = tuple(slice(None) if isinstance(k, slice) else 0 for k in key)
        if 0 in sizes:
            return np.empty(sizes, self.dtype)[whole]
        try:
            if not isinstance(self._array, np.ndarray):  # of which a block is a view
                check_memory(math.prod(sizes) * self.dtype.itemsize)
            block = np.asarray(self._array[tuple(wanted[a] for a in self._axes)])
        except Exception as error:  # a damaged file fails anywhere in its library
            raise unreadable_error(self.path, error) from error
        kept = [a for a in self._axes if a in "ZYX"]
        block = block.transpose([kept.index(a) for a in "ZYX" if a in kept])
        if "Z" not in kept:
            block = block[None][spans[0]]
        return block[whole]

    def __reduce__(self):
        """Open the file again in another process, to which an array in memory is sent."""
        if self._reopen:
            return self._reopen, ()
        return Volume, (self.path, self._array, self._axes, self._fixed, self.geometry)

    def __len__(self):
        """Return the number of z slices."""
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        """Read the whole volume."""
        return np.asarray(self[...], dtype=dtype)

    def __repr__(self):
        """Name, shape, type and voxel size."""
        size = f", voxel_size={self.voxel_size}" if self.voxel_size else ""
        return f"Volume({str(self.path)!r}, shape={self.shape}, dtype={self.dtype}{size})"


def as_volume(array, voxel_size=None, name="array"):
    """Return any array of grey levels or labels as a `Volume`, without reading it.

    Args:
        array: `(z, y, x)` array-like, in memory or read where it is indexed, a single `(y, x)`
            image, or a `Volume`.
        voxel_size: sides (z, y, x) of a voxel in nm; None where they are unknown, or those of a
            `Volume` are right.
        name: that messages and the files of a run call it, for example the path that it is from.

    Raises:
        ValueError: it has other axes.

    Example:
        >>> volume = as_volume(np.zeros((20, 256, 256), np.uint8), (40, 6, 6))
    """
    size = checked_size(voxel_size)
    shape = tuple(array.shape)
    require(len(shape) in (2, 3), "array", "axes (z, y, x), of one grey-level volume", f"{shape=}")
    axes, geometry, reopen = "ZYX"[-len(array.shape) :], None, None
    if isinstance(array, Volume):
        if size in (None, array.voxel_size):
            return array
        name, geometry = array.path, array.geometry
        reopen = array._reopen and partial(array._reopen, voxel_size=size)
    return Volume(name, array, axes, {}, with_voxel_size(geometry, size), reopen)


def full_key(key):
    """Return an index as three integers or slices."""
    key = key if isinstance(key, tuple) else (key,)
    dots = [i for i, k in enumerate(key) if k is Ellipsis]
    for i in dots[:1]:
        key = (*key[:i], *[slice(None)] * (4 - len(key)), *key[i + 1 :])
    key = (*key, *[slice(None)] * (3 - len(key)))
    good = all(
        isinstance(k, int | np.integer) or isinstance(k, slice) and (k.step or 1) > 0 for k in key
    )
    if len(key) != 3 or not good:
        raise IndexError(f"a volume takes up to three integers or rising slices, not {key}")
    return key


def span_of(key, size):
    """Return an integer or slice along an axis as a slice of numbers from 0, empty outside of it.

    Libraries differ in what they make of others.
    """
    if not isinstance(key, slice):
        key = slice(key, key + 1 or None)
    start, stop, step = key.indices(size)
    return slice(start, max(start, stop), step)


def open_volume(path, *, axes=None, level=0, time=None, channel=None, series=None, voxel_size=None):
    """Open a volume without reading its voxels.

    TIFF (BigTIFF, ImageJ, OME), a folder of slices or a pattern such as "slices/*.png", HDF5
    ("file.h5::/name"), Zarr and OME-Zarr, MRC, NIfTI, NRRD and NumPy. A single image is a volume
    one voxel thick; axes of one sample are dropped. Colours that are all grey are grey levels.

    Args:
        path: the file, folder or pattern; of several arrays, one is named after "::".
        axes: names of all axes in the file, such as "zyx" or "tczyx", if the file's are wrong or
            missing.
        level: of a pyramid in OME-Zarr, TIFF or HDF5 of BigDataViewer, 0 being the finest.
        time: index on a time axis of more than one sample.
        channel: index on a channel axis, or of colours, of more than one sample.
        series: number of an image in a TIFF, OME-Zarr or HDF5 of BigDataViewer that has several.
        voxel_size: sides (z, y, x) of a voxel in nm, if the file's is wrong or missing.

    Returns:
        A `Volume` with axes (z, y, x).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or of an unknown format, or does not hold one volume.

    Example:
        >>> volume = volseg_keras.open_volume("stack.tif", voxel_size=(40, 6, 6))
        >>> section = volume[10]  # (y, x), read from the file
    """
    options = {"axes": axes, "level": level, "time": time, "channel": channel, "series": series}
    reopen = partial(open_volume, os.path.abspath(path), **options, voxel_size=voxel_size)
    file, inside = split_name(path)
    try:
        source = read_source(file, inside, level, series)
    except Exception as error:  # a damaged file fails anywhere in its library
        if hasattr(error, "argument"):  # of `errors.invalid`
            raise
        raise unreadable_error(path, error) from error
    array, found = source.array, distinct_letters(source.axes.upper())
    names = "".join(axes.upper().split()) if axes else found
    received = f"{path} of shape {tuple(array.shape)}"
    require(axes or len(found) == len(array.shape), "path", "two to five axes", received)
    expected = f"names of the {len(array.shape)} axes of {path}, shape {tuple(array.shape)}"
    require(
        len(names) == len(array.shape) and len(set(names)) == len(names),
        "axes",
        f"{expected}, such as {found.lower()}",
        f"axes={names.lower()}",
    )
    size, geometry = checked_size(voxel_size), source.geometry
    if geometry and axes:
        geometry = geometry.renamed(source.axes.upper(), names)
    if channel is None:
        try:
            array, names = as_grey(array, names)
        except Exception as error:  # a damaged file
            raise unreadable_error(path, error) from error
    geometry = with_voxel_size(geometry, size)
    colours = "S" if "S" in names and "C" not in names else "C"
    if channel is None and not axes:
        names = channels_as_sections(path, array, names)
    names, fixed = spatial_axes(path, array, names, {"T": time, colours: channel})
    if geometry and ("Z" not in names or array.shape[names.index("Z")] == 1):
        geometry = geometry.of_one_section()
    return Volume(path, array, names, fixed, geometry, reopen)


def distinct_letters(names):
    """Return names of axes with other letters for those that repeat one, as in "QQYX"."""
    spare = iter(sorted(set("IJKLMNOPQRUVW") - set(names)))
    return "".join(next(spare) if a in names[:i] else a for i, a in enumerate(names))


def unreadable_error(path, error):
    """Return the ValueError of a damaged file, of one line."""
    known = isinstance(error, OSError | ValueError)
    error = " ".join((f"{error}" if known else f"{type(error).__name__}: {error}").split())[:300]
    return invalid("path", "a readable volume", f"{path} ({error})")


def channels_as_sections(path, array, names):
    """Return the axes' names, more channels than colours being z if there is no z axis, and warn.

    Some programs write stacks like this, such as `tifffile.imwrite(path, volume, imagej=True)`.
    """
    sizes = dict(zip(names, array.shape, strict=True))
    others = [a for a in names if a not in "CYX" and sizes[a] > 1]
    if "Z" in names or others or sizes.get("C", 1) <= MOST_COLOURS:
        return names
    sections = names.replace("C", "Z")
    warnings.warn(
        f"{path}: {sizes['C']} channels without a z axis are taken for sections; say so by "
        f"--axes {sections.lower()}, or select one by --channel 0",
        stacklevel=3,
    )
    return sections


def spatial_axes(path, array, names, chosen):
    """Return the axes' names, one other axis of several samples being z, and indices of the rest.

    Raises:
        ValueError: an axis of several samples is left over, or is colours, or voxels are complex.
    """
    sizes = dict(zip(names, array.shape, strict=True))
    others = [a for a in names if a not in "ZYX"]
    fixed = {a: 0 if chosen.get(a) is None else chosen[a] for a in others}
    left = [a for a in others if sizes[a] > 1 and chosen.get(a) is None]
    if "Z" not in names and len(left) == 1 and left[0] not in "CS":
        names, fixed = names.replace(left[0], "Z"), {a: i for a, i in fixed.items() if a != left[0]}
        left = []
    only_channel = "S" in left or "C" in left and "Z" in names
    if left or not {"Y", "X"} <= set(names) or array.dtype.kind not in "uifb" or 0 in array.shape:
        raise invalid(
            "path",
            "one grey-level volume with axes (z, y, x), or `axes`, `time` or `channel` to select "
            f"one, such as {'--channel 0' if only_channel else '--axes zyx or --channel 0'}",
            f"{path} with axes {names}, shape {tuple(array.shape)}, dtype {array.dtype}",
        )
    for axis, index in chosen.items():
        size, name = sizes.get(axis, 1), "time" if axis == "T" else "channel"
        require(0 <= (index or 0) < size, name, f"an index below {size}", index)
    return names, fixed


def checked_finite(block):
    """Return an array of grey levels, or raise ValueError for NaN and infinity."""
    if block.dtype.kind == "f" and not np.isfinite(block).all():
        wrong = np.count_nonzero(~np.isfinite(block))
        received = f"{wrong} voxels that are not, of {block.size}"
        raise invalid("image", "finite grey levels", received)
    return block


def with_whole_numbers(volume, name):
    """Return a `Volume` of labels, read as a whole where they are stored as floats."""
    if volume.dtype.kind != "f":
        return volume
    array = whole_numbers(volume, name)
    return Volume(volume.path, array, "ZYX", {}, volume.geometry)
