"""Array formats other than TIFF: HDF5, Zarr, MRC, NIfTI, NRRD and NumPy, by their libraries."""

import bz2
import gzip
import io
import math
import os
from contextlib import nullcontext
from itertools import product

import numpy as np

from .ome_zarr import CHUNK, fill, read_zarr, write_zarr
from .source import (
    DEFLATE,
    Source,
    beside,
    check_memory,
    default_axes,
    is_volume,
    nanometres,
    pick,
    stored_limit,
)
from .tiff import read_tiff, write_tiff

COMPRESSED = {name: gzip.open for name in ("gzip", "gz")}
COMPRESSED |= {name: bz2.open for name in ("bzip2", "bz2")}  # encodings of NRRD
EIGHT_BITS = "8 bits written as 16"  # label of an MRC file
EXTENSIONS = 2**24  # most bytes before the voxels of a NIfTI file


def read_hdf5(path, inside=None, level=0):
    """Return the `Source` of a dataset; `inside` may be left out where there is only one."""
    import h5py

    file = h5py.File(path)
    found = {}
    file.visititems(lambda name, node: found.update({name: node}) if is_volume(node) else None)
    dataset = pick(found, inside)
    if dataset.external or dataset.is_virtual:
        raise ValueError("its voxels lie in other files or datasets")
    size = dataset.attrs.get("element_size_um", (None,) * 3)
    array = Chunked(dataset) if dataset.chunks else dataset
    return Source(default_axes(dataset), array, nanometres(size, 3 * ["um"]))


class Chunked:
    """An HDF5 dataset whose chunks are checked before they are decompressed."""

    def __init__(self, dataset):
        self.dataset, self.shape, self.dtype = dataset, dataset.shape, dataset.dtype
        self.limit = stored_limit(dataset.chunks, dataset.dtype)
        made = dataset.id.get_create_plist()
        filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
        if len(set(filters)) < len(filters):
            raise ValueError("it is compressed twice")

    def __getitem__(self, key):
        """Read a block."""
        corners = []
        for k, n, c in zip(key, self.shape, self.dataset.chunks, strict=True):
            start, stop, _ = (k if isinstance(k, slice) else slice(k, k + 1)).indices(n)
            corners.append(range(start // c * c, stop, c))
        for corner in product(*corners):
            if self.dataset.id.get_chunk_info_by_coord(corner).size > self.limit:
                raise ValueError(f"the chunk at {corner} is larger than its voxels")
        return self.dataset[key]


def read_mrc(path, inside=None, level=0):
    """Return the `Source` of an MRC file; its voxel size is in angstrom."""
    import mrcfile

    with open(path, "rb") as file:
        header, size = file.read(1024), os.fstat(file.fileno()).st_size
    if min(int.from_bytes(header[92:96], order) for order in ("little", "big")) > size:
        raise ValueError("the file is cut off: its extended header is longer")
    file = mrcfile.mmap(path, mode="r")
    size = [float(file.voxel_size[axis]) for axis in "zyx"]
    # Another program may have changed the voxels, but not the labels.
    low, high = file.header.dmin, file.header.dmax
    ours = (
        EIGHT_BITS in file.get_labels() and file.data.dtype.kind == "u" and 0 <= low <= high < 256
    )
    data = Typed(file.data, np.dtype(np.uint8)) if ours else file.data
    return Source(default_axes(data), data, nanometres(size, 3 * ["angstrom"]))


def read_nifti(path, inside=None, level=0):
    """Return the `Source` of a NIfTI file, whose axes are x, y, z, t."""
    import nibabel

    check_nifti(path)
    image = nibabel.load(path)
    unit = image.header.get_xyzt_units()[0]
    zooms = image.header.get_zooms()[:3]
    size = nanometres(zooms[::-1], 3 * [unit]) if len(zooms) == 3 else None
    data = image.dataobj
    plain = data.slope == 1 and data.inter == 0
    array = Typed(data, data.dtype if plain else np.dtype(np.float32))
    return Source("XYZT"[: len(image.shape)], array, size)


def check_nifti(path):
    """Raise ValueError where the voxels do not begin soon or a file cannot hold as many."""
    from nibabel import Nifti1Header, Nifti2Header

    zipped = path.name.lower().endswith(".gz")
    with (gzip.open if zipped else open)(path, "rb") as file:
        block = file.read(540)
    second = 540 in (int.from_bytes(block[:4], order) for order in ("little", "big"))
    header = Nifti2Header(block) if second else Nifti1Header(block[:348], check=False)
    start = float(header["vox_offset"])
    shape = [int(n) for n in header.get_data_shape()]
    size = math.prod(shape) * header.get_data_dtype().itemsize
    if any(n < 1 for n in shape):
        raise ValueError(f"its shape is {shape}")
    if not start <= EXTENSIONS or size > path.stat().st_size * (DEFLATE if zipped else 1):
        raise ValueError(f"the file is cut off: {size} bytes are to begin at {start}")


class Typed:
    """An array read in another type than its library tells; nibabel reads float64."""

    def __init__(self, proxy, dtype):
        self.proxy, self.shape, self.dtype = proxy, proxy.shape, dtype

    def __getitem__(self, key):
        """Read a block."""
        return np.asarray(self.proxy[key]).astype(self.dtype)


def read_nrrd(path, inside=None, level=0):
    """Return the `Source` of a NRRD file; one that is compressed is read as a whole."""
    import nrrd

    with open(path, "rb") as file:
        header = nrrd.read_header(file)
        name = header.pop("data file", header.pop("datafile", None))
        with open(beside(path, name), "rb") if name else nullcontext(file) as stored:
            raw = nrrd_bytes(header, stored)
    data = nrrd.read_data(header, io.BytesIO(raw), index_order="C")
    if header["encoding"] == "raw" and "byte skip" not in header and data.nbytes != len(raw):
        raise ValueError(f"it holds {len(raw)} bytes, not {data.nbytes}")
    directions = header.get("space directions")
    sizes = header.get("spacings")
    if directions is not None:
        sizes = np.linalg.norm(directions, axis=1)
    units = header.get("space units") or header.get("units")
    known = sizes is not None and units is not None and len(units) == len(sizes) == 3
    return Source(default_axes(data), data, nanometres(sizes[::-1], units[::-1]) if known else None)


def nrrd_bytes(header, file):
    """Return the decompressed bytes of a NRRD file, no more than eight a voxel.

    What is done, lines and bytes skipped and decompression, is taken out of the header.
    """
    for _ in range(int(header.pop("line skip", header.pop("lineskip", 0)))):
        if not file.readline():
            break
    skip = int(header.pop("byte skip", header.pop("byteskip", 0)))
    opened, raw = COMPRESSED.get(header["encoding"]), bytearray()
    if skip < -1 or skip < 0 and header["encoding"] != "raw":
        raise ValueError(f"byte skip is {skip}")
    if skip < 0:
        header["byte skip"] = skip
    if not opened:
        return file.read()[max(skip, 0) :]
    voxels = math.prod(map(int, header["sizes"]))
    check_memory(voxels)
    header["encoding"] = "raw"
    with opened(file) as inflated:
        while len(raw) < skip + 8 * voxels and (piece := inflated.read(2**20)):
            raw += piece
    return raw[skip:]


def read_npy(path, inside=None, level=0):
    """Return the `Source` of a NumPy file."""
    data = np.lib.format.open_memmap(path, mode="r")
    return Source(default_axes(data), data)


def write_hdf5(path, slabs, shape, dtype, size):
    """Write z slabs as the dataset `data`."""
    import h5py

    with h5py.File(path, "w") as file:
        chunks = tuple(min(c, n) for c, n in zip(CHUNK, shape, strict=True))
        data = file.create_dataset("data", shape, dtype, chunks=chunks, compression="gzip")
        if size:
            data.attrs["element_size_um"] = [s / 1e3 for s in size]
        fill(data, slabs)


def write_mrc(path, slabs, shape, dtype, size):
    """Write z slabs as an MRC file; 8 bits become 16, which all readers know."""
    import mrcfile

    kinds = {"u1": "u2", "u2": "u2", "i1": "i2", "i2": "i2", "f2": "f4", "f4": "f4", "f8": "f4"}
    kind = kinds.get(np.dtype(dtype).str[1:])
    if kind is None:
        raise ValueError(
            "Invalid value for `dtype`. Expected integers of up to 16 bits, or floats, for MRC. "
            f"Received: {dtype}"
        )
    mode = mrcfile.utils.mode_from_dtype(np.dtype(kind))
    with mrcfile.new_mmap(path, shape, mode, overwrite=True) as file:
        reserve(path)
        fill(file.data, slabs)
        set_statistics(file)
        if np.dtype(dtype) == np.uint8:
            file.add_label(EIGHT_BITS)
        if size:
            file.voxel_size = tuple(10 * s for s in size[::-1])


def set_statistics(file):
    """Write the statistics of an MRC file's voxels to its header; mrcfile's own takes memory."""
    planes = [(p.min(), p.max(), p.mean(dtype="f8"), p.var(dtype="f8")) for p in file.data]
    low, high, mean, variance = map(np.array, zip(*planes, strict=True))
    file.header.dmin, file.header.dmax, file.header.dmean = low.min(), high.max(), mean.mean()
    file.header.rms = np.sqrt(variance.mean() + mean.var())


def reserve(path):
    """Take all of a mapped file's room on the disk now; where it is full, writing would crash."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def write_nifti(path, slabs, shape, dtype, size):
    """Write z slabs, joined in memory, as a NIfTI file."""
    import nibabel

    data = np.concatenate(list(slabs)).T
    affine = np.diag([*(s / 1e6 for s in (size or (1e6, 1e6, 1e6))[::-1]), 1])
    image = nibabel.Nifti1Image(data, affine, dtype=dtype)
    image.header.set_xyzt_units("mm" if size else "unknown")
    image.to_filename(path)


def write_nrrd(path, slabs, shape, dtype, size):
    """Write z slabs, joined in memory, as a NRRD file."""
    import nrrd

    header = {"spacings": size[::-1], "units": ["nm"] * 3} if size else {}
    nrrd.write(str(path), np.concatenate(list(slabs)), header, index_order="C")


def write_npy(path, slabs, shape, dtype, size):
    """Write z slabs as a NumPy file."""
    header = np.lib.format
    about = {"descr": header.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    with open(path, "wb") as file:
        header.write_array_header_1_0(file, about)
        for slab in slabs:
            file.write(np.ascontiguousarray(slab).data)


# Formats whose files hold several arrays, and those with pyramids.
NAMED, LEVELLED = (".h5", ".hdf5", ".zarr"), (".tif", ".tiff", ".zarr")
FORMATS = {
    ".tif": (read_tiff, write_tiff),
    ".tiff": (read_tiff, write_tiff),
    ".h5": (read_hdf5, write_hdf5),
    ".hdf5": (read_hdf5, write_hdf5),
    ".zarr": (read_zarr, write_zarr),
    ".mrc": (read_mrc, write_mrc),
    ".rec": (read_mrc, write_mrc),
    ".nii": (read_nifti, write_nifti),
    ".nii.gz": (read_nifti, write_nifti),
    ".nrrd": (read_nrrd, write_nrrd),
    ".npy": (read_npy, write_npy),
}


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
