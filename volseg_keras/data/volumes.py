"""Open and write volumes: (z, y, x) arrays in files of any kind, read lazily."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Full, Queue

import numpy as np

from .formats import FORMATS
from .tiff import read_slices

IMAGES = (".png", ".tif", ".tiff")


class Volume:
    """A lazily read single-channel volume.

    Indexing by integers and slices reads voxels and returns NumPy arrays; `numpy.asarray` reads
    everything.

    Attributes:
        path: where it lies.
        shape: sizes (z, y, x) in voxels.
        dtype: type of a voxel.
        voxel_size: sides (z, y, x) of a voxel in nm, or None where the file does not tell.
    """

    ndim = 3

    def __init__(self, path, array, axes, fixed, voxel_size):
        self.path = path
        self.dtype = np.dtype(array.dtype)
        self.voxel_size = voxel_size
        self.shape = tuple(array.shape[axes.index(a)] if a in axes else 1 for a in "ZYX")
        self._array, self._axes, self._fixed = array, axes, fixed

    def __getitem__(self, key):
        """Read a block, as NumPy indexing would; ValueError where the file is damaged."""
        key = full_key(key)
        spans = [slice(k, k + 1 or None) if isinstance(k, int | np.integer) else k for k in key]
        wanted = dict(zip("ZYX", spans, strict=True), **self._fixed)
        try:
            block = np.asarray(self._array[tuple(wanted[a] for a in self._axes)])
        except (MemoryError, IndexError):
            raise
        except Exception as error:  # a damaged file fails anywhere in its library
            raise unreadable(self.path, error) from error
        kept = [a for a in self._axes if a in "ZYX"]
        block = block.transpose([kept.index(a) for a in "ZYX" if a in kept])
        if "Z" not in kept:
            block = block[None][spans[0]]
        whole = [slice(None) if isinstance(k, slice) else 0 for k in key]
        return block[tuple(whole)]

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


def full_key(key):
    """Return an index as three integers or slices."""
    key = key if isinstance(key, tuple) else (key,)
    dots = [i for i, k in enumerate(key) if k is Ellipsis]
    for i in dots[:1]:
        key = (*key[:i], *[slice(None)] * (4 - len(key)), *key[i + 1 :])
    key = (*key, *[slice(None)] * (3 - len(key)))
    if len(key) != 3 or not all(isinstance(k, int | np.integer | slice) for k in key):
        raise IndexError(f"a volume takes up to three integers or slices, not {key}")
    return key


def open_volume(path, *, axes=None, level=0, time=None, channel=None, voxel_size=None):
    """Open a volume without reading its voxels.

    TIFF (BigTIFF, ImageJ, OME), a folder of slices or a pattern such as "slices/*.png", HDF5
    ("file.h5::/name"), Zarr and OME-Zarr, MRC, NIfTI, NRRD and NumPy. A single image is a volume
    one voxel thick; axes of one sample are dropped.

    Args:
        path: the file, folder or pattern; of several arrays, one is named after "::".
        axes: names of all axes in the file, such as "zyx" or "tczyx", where it is wrong or silent.
        level: of a pyramid in OME-Zarr or TIFF, 0 being the finest.
        time: index on a time axis of more than one sample.
        channel: index on a channel axis of more than one sample.
        voxel_size: sides (z, y, x) of a voxel in nm, where the file is wrong or silent.

    Returns:
        A `Volume` with axes (z, y, x).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or of no known format, or its axes leave no volume.
    """
    file, _, inside = str(path).partition("::")
    try:
        source = read_source(Path(file), inside or None, level)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) or str(error).startswith("Invalid value for"):
            raise
        raise unreadable(path, error) from error
    except Exception as error:  # a damaged file fails anywhere in its library
        raise unreadable(path, error) from error
    shape = source.array.shape
    names = axes.upper() if axes else distinct(source.axes.upper())
    if len(names) != len(shape) or len(set(names)) < len(names):
        raise ValueError(
            f"Invalid value for `axes`. Expected names of the {len(shape)} axes of {path}, shape "
            f"{tuple(shape)}. Received: axes={names.lower()}"
        )
    names, fixed = spatial_axes(path, source.array, names, {"T": time, "C": channel})
    return Volume(path, source.array, names, fixed, voxel_size or source.voxel_size)


def read_source(path, inside, level):
    """Return the `Source` of a file, a folder of slices or a pattern."""
    if "*" in path.name or path.is_dir() and kind_of(path) is None:
        pattern = path.name if "*" in path.name else "*"
        folder = path.parent if "*" in path.name else path
        found = [file for file in folder.glob(pattern) if file.suffix.lower() in IMAGES]
        if not found:
            raise FileNotFoundError(
                f"Invalid value for `path`. Expected images {', '.join(IMAGES)}. Received: {path}"
            )
        return read_slices(found)
    if not path.exists():
        raise FileNotFoundError(f"Invalid value for `path`. Expected a file. Received: {path}")
    return FORMATS[checked_kind(path)][0](path, inside, level)


def kind_of(path):
    """Return the suffix by which a file's format is known, or None."""
    name = path.name.lower()
    return next(
        (kind for kind in sorted(FORMATS, key=len, reverse=True) if name.endswith(kind)), None
    )


def checked_kind(path):
    """Return the suffix by which a file's format is known, or raise ValueError."""
    kind = kind_of(path)
    if kind is None:
        raise ValueError(
            f"Invalid value for `path`. Expected one of {', '.join(FORMATS)}. Received: {path}"
        )
    return kind


def distinct(names):
    """Return names of axes with other letters for those that repeat one, as in "QQYX"."""
    spare = iter(sorted(set("IJKLMNOPQRUVW") - set(names)))
    return "".join(next(spare) if a in names[:i] else a for i, a in enumerate(names))


def unreadable(path, error):
    """Return the ValueError of a damaged file."""
    return ValueError(
        f"Invalid value for `path`. Expected a readable volume. Received: {path} ({error})"
    )


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
    if left or not {"Y", "X"} <= set(names) or array.dtype.kind not in "uifb":
        raise ValueError(
            "Invalid value for `path`. Expected one grey-level volume with axes (z, y, x), or an "
            f"index of `time` and `channel`. Received: {path} with axes {names}, shape "
            f"{tuple(array.shape)}, dtype {array.dtype}"
        )
    for axis, index in fixed.items():
        if not 0 <= index < sizes[axis]:
            raise ValueError(
                f"Invalid value for `{'time' if axis == 'T' else 'channel'}`. Expected an index "
                f"below {sizes[axis]}. Received: {index}"
            )
    return names, fixed


def save_volume(path, array, *, voxel_size=None):
    """Write a (z, y, x) array; a killed run leaves no half file.

    Args:
        path: a file of a format that `open_volume` knows by its suffix; its folder is created.
        array: the voxels.
        voxel_size: sides (z, y, x) of a voxel in nm, if known.

    Returns:
        The path.

    Raises:
        ValueError: the suffix is not known.
        OSError: the folder cannot be written.
    """
    with create_volume(path, array.shape, array.dtype, voxel_size) as append:
        append(array)
    return Path(path)


@contextmanager
def create_volume(path, shape, dtype, voxel_size=None):
    """Write a volume slab by slab, in a thread; a killed or failed run leaves no half file.

    Args:
        path: as of `save_volume`.
        shape: `(z, y, x)` of the whole.
        dtype: type of a voxel.
        voxel_size: sides (z, y, x) of a voxel in nm, if known.

    Yields:
        A function that takes the next `(depth, y, x)` array.

    Raises:
        ValueError: the suffix is not known.
        OSError: the file cannot be written.
    """
    path = checked_output(path)
    kind = checked_kind(path)
    part = path.with_name(f".{os.getpid()}.part.{path.name[: -len(kind)]}{kind}")
    waiting = Queue(2)

    def slabs():
        while (slab := waiting.get()) is not None:
            yield slab

    try:
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(FORMATS[kind][1], part, slabs(), shape, dtype, voxel_size)

            def append(slab):
                while not written.done():
                    with suppress(Full):
                        return waiting.put(slab, timeout=0.1)
                written.result()

            try:
                yield append
            finally:
                append(None)
        written.result()
        part.replace(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)


def checked_output(path):
    """Return a path that a volume can be written to, or raise ValueError or OSError."""
    path = Path(path)
    checked_kind(path)
    if path.is_dir():
        raise FileExistsError(
            f"Invalid value for `output`. Expected a new name. Received: {path} is a folder"
        )
    return writable_folder(path.parent) / path.name


def writable_folder(path):
    """Create a folder and return it, or raise OSError where nothing can be written."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".volseg.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"Invalid value for `output`. Expected a writable folder. Received: {path} "
            f"({error.strerror})"
        ) from error
    return path


def class_ids(labels):
    """Return uint8 class ids of a label map; a mask of 0 and 255 becomes 0 and 1.

    Any other label keeps its value, so that 255 beside other labels means "not annotated".

    Args:
        labels: array-like of integers from 0 to 255, or booleans.

    Raises:
        ValueError: a label is out of that range or no integer.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "uib" or labels.size and (labels.min() < 0 or labels.max() > 255):
        raise ValueError(
            "Invalid value for `label`. Expected class ids from 0 to 255. "
            f"Received: dtype {labels.dtype}, from {labels.min()} to {labels.max()}"
        )
    labels = labels.astype(np.uint8, copy=False)
    present = np.bincount(labels.ravel(), minlength=256) > 0
    mask = present[255] and not present[1:255].any()
    return (labels > 0).astype(np.uint8) if mask else labels
