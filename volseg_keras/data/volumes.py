"""Open and write volumes: (z, y, x) arrays in files, read lazily."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Full, Queue

import numpy as np
import tifffile

SUFFIXES = (".tif", ".tiff")


class Volume:
    """A lazily read single-channel volume.

    Indexing reads voxels and returns NumPy arrays; `numpy.asarray` reads everything.

    Attributes:
        path: where it lies.
        shape: sizes (z, y, x) in voxels.
        dtype: type of a voxel.
    """

    ndim = 3

    def __init__(self, path, array, shape):
        self.path = path
        self.shape = shape
        self.dtype = np.dtype(array.dtype)
        self._array = array

    def __getitem__(self, key):
        """Read a block, as NumPy indexing would; ValueError where the file is damaged."""
        try:
            if self._array.ndim != 3:
                return np.asarray(self._array[...]).reshape(self.shape)[key]
            return np.asarray(self._array[key])
        except RuntimeError as error:  # of the decompressor
            raise ValueError(
                "Invalid value for `path`. Expected a readable TIFF. "
                f"Received: {self.path} ({error})"
            ) from error

    def __len__(self):
        """Return the number of z slices."""
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        """Read the whole volume."""
        return np.asarray(self[...], dtype=dtype)

    def __repr__(self):
        """Name, shape and type."""
        return f"Volume({str(self.path)!r}, shape={self.shape}, dtype={self.dtype})"


def open_volume(path):
    """Open a volume without reading its voxels.

    TIFF, BigTIFF, ImageJ and OME-TIFF, plain or compressed. Axes of one sample (channel, time) are
    dropped; a single image is a volume one voxel thick.

    Args:
        path: the file.

    Returns:
        A `Volume` with axes (z, y, x).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no TIFF, is damaged, or has more than three axes or colours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Invalid value for `path`. Expected a file. Received: {path}")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"Invalid value for `path`. Expected one of {', '.join(SUFFIXES)}. Received: {path}"
        )
    try:
        axes, array = open_tiff(path)
    except OSError:
        raise
    except Exception as error:  # a damaged file fails anywhere in the parser
        raise ValueError(
            f"Invalid value for `path`. Expected a readable TIFF. Received: {path} ({error})"
        ) from error
    kept = [(name, size) for name, size in zip(axes, array.shape, strict=True) if size > 1]
    spatial = [name for name, _ in kept if name not in "CS"]
    if len(kept) > 3 or len(spatial) < len(kept) or array.dtype.kind not in "uifb":
        raise ValueError(
            "Invalid value for `path`. Expected one grey-level volume with axes (z, y, x). "
            f"Received: {path} with axes {axes}, shape {array.shape}, dtype {array.dtype}"
        )
    return Volume(path, array, volume_shape(axes, array.shape))


def volume_shape(axes, shape):
    """Return (z, y, x) of named axes: y and x as named, z the one other that is not single."""
    sizes = dict(zip(axes, shape, strict=True))
    height, width = sizes.pop("Y"), sizes.pop("X")
    return (int(np.prod(list(sizes.values()))), height, width)


def open_tiff(path):
    """Return the axes' names and a lazily read array of a TIFF file's first series."""
    import zarr

    with strict_tifffile(), tifffile.TiffFile(path) as tif:
        check_complete(tif)
        series = tif.series[0]
        if series.dataoffset is not None and series.dtype.kind in "uif":
            return series.axes, tifffile.memmap(path, mode="r")
        return series.axes, zarr.open(tifffile.imread(path, aszarr=True, level=0), mode="r")


def check_complete(tif):
    """Raise ValueError where data are missing, or where other series hold as much as the first."""
    series, *others = tif.series
    if any(other.size >= series.size for other in others):
        raise ValueError(f"it holds {1 + len(others)} images of different kinds")
    size = tif.filehandle.size
    for page in series.pages:
        spans = zip(page.dataoffsets, page.databytecounts, strict=True) if page else ()
        if any(offset + count > size for offset, count in spans):
            raise ValueError("the file is cut off")


@contextmanager
def strict_tifffile():
    """Raise ValueError for damage that tifffile only logs: pages of a cut file would be missing."""
    records = []
    logger, handler = logging.getLogger("tifffile"), logging.Handler()
    handler.emit, propagate = records.append, logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
    for message in (record.getMessage() for record in records):
        if "invalid page offset" in message or "corrupted" in message:
            raise ValueError(message)


def save_volume(path, array):
    """Write a (z, y, x) array as a deflated TIFF; a killed run leaves no half file.

    Args:
        path: a .tif or .tiff file; its folder is created.
        array: the voxels.

    Returns:
        The path.

    Raises:
        ValueError: the suffix is not a TIFF's.
        OSError: the folder cannot be written.
    """
    with create_volume(path, array.shape, array.dtype) as append:
        append(array)
    return Path(path)


@contextmanager
def create_volume(path, shape, dtype):
    """Write a volume slab by slab, in a thread; a killed or failed run leaves no half file.

    Args:
        path: a .tif or .tiff file; its folder is created.
        shape: `(z, y, x)` of the whole.
        dtype: type of a voxel.

    Yields:
        A function that takes the next `(depth, y, x)` array.

    Raises:
        ValueError: the suffix is not a TIFF's.
        OSError: the file cannot be written.
    """
    path = checked_output(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    waiting = Queue(2)

    def pages():
        while (slab := waiting.get()) is not None:
            yield from map(np.ascontiguousarray, slab)

    options = {"compression": "zlib", "photometric": "minisblack", "metadata": {"axes": "ZYX"}}
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(
                tifffile.imwrite,
                part,
                pages(),
                shape=shape,
                dtype=dtype,
                bigtiff=size > 2**31,
                **options,
            )

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
        part.unlink(missing_ok=True)


def checked_output(path):
    """Return a path that a volume can be written to, or raise ValueError or OSError."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"Invalid value for `path`. Expected one of {', '.join(SUFFIXES)}. Received: {path}"
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
