"""Array formats other than TIFF: HDF5, Zarr, MRC, NIfTI, NRRD and NumPy, by their libraries."""

from itertools import product

import numpy as np

from .source import Source, nanometres
from .tiff import read_tiff, write_tiff

MINIMUM_SIDE = 64  # of the coarsest level of a pyramid
CHUNK = (64, 128, 128)


def read_hdf5(path, inside=None, level=0):
    """Return the `Source` of a dataset; `inside` may be left out where there is only one."""
    import h5py

    file = h5py.File(path)
    found = {}
    file.visititems(lambda name, node: found.update({name: node}) if is_volume(node) else None)
    dataset = pick(found, inside)
    size = dataset.attrs.get("element_size_um", (None,) * 3)
    return Source(default_axes(dataset), dataset, nanometres(size, 3 * ["um"]))


def read_zarr(path, inside=None, level=0):
    """Return the `Source` of a Zarr array, or of a level of an OME-Zarr image (0.4, 0.5)."""
    import zarr

    node = zarr.open(path, mode="r", **({"path": inside.strip("/")} if inside else {}))
    if is_volume(node):
        return Source(default_axes(node), node)
    attributes = node.attrs.asdict()
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales:
        found = {name: array for name, array in node.arrays() if is_volume(array)}
        return Source(default_axes(array := pick(found, None)), array)
    image = scales[0]
    if not 0 <= level < len(image["datasets"]):
        raise ValueError(f"it has levels 0 to {len(image['datasets']) - 1}, not {level}")
    dataset = image["datasets"][level]
    array = node[dataset["path"]]
    axes = image.get("axes", list("tczyx")[-array.ndim :])
    names = [axis["name"] if isinstance(axis, dict) else axis for axis in axes]
    units = {axis["name"]: axis.get("unit") for axis in axes if isinstance(axis, dict)}
    scale = np.ones(array.ndim)
    for step in dataset.get("coordinateTransformations", []) + image.get(
        "coordinateTransformations", []
    ):
        scale = scale * step.get("scale", 1)
    sides = dict(zip(names, scale, strict=True))
    size = nanometres([sides.get(a) for a in "zyx"], [units.get(a) for a in "zyx"])
    return Source("".join(names).upper(), array, size)


def read_mrc(path, inside=None, level=0):
    """Return the `Source` of an MRC file; its voxel size is in angstrom."""
    import mrcfile

    file = mrcfile.mmap(path, mode="r")
    size = [float(file.voxel_size[axis]) for axis in "zyx"]
    return Source(default_axes(file.data), file.data, nanometres(size, 3 * ["angstrom"]))


def read_nifti(path, inside=None, level=0):
    """Return the `Source` of a NIfTI file, whose axes are x, y, z, t."""
    import nibabel

    image = nibabel.load(path)
    unit = image.header.get_xyzt_units()[0]
    size = nanometres(image.header.get_zooms()[2::-1], 3 * [unit])
    data = image.dataobj
    if data.slope == 1 and data.inter == 0:
        data = Unscaled(data)
    return Source("XYZT"[: len(image.shape)], data, size)


class Unscaled:
    """A NIfTI array in the type that it is stored in."""

    def __init__(self, proxy):
        self.proxy, self.shape, self.dtype = proxy, proxy.shape, proxy.dtype
        self.ndim = len(proxy.shape)

    def __getitem__(self, key):
        """Read a block."""
        return np.asarray(self.proxy[key]).astype(self.dtype)


def read_nrrd(path, inside=None, level=0):
    """Return the `Source` of a NRRD file; one that is compressed is read as a whole."""
    import nrrd

    header = nrrd.read_header(str(path))
    data, _ = nrrd.read(str(path), index_order="C")
    directions = header.get("space directions")
    sizes = header.get("spacings")
    if directions is not None:
        sizes = np.linalg.norm(directions, axis=1)
    units = header.get("space units") or header.get("units")
    known = sizes is not None and units is not None and len(units) == len(sizes) == 3
    return Source(default_axes(data), data, nanometres(sizes[::-1], units[::-1]) if known else None)


def read_npy(path, inside=None, level=0):
    """Return the `Source` of a NumPy file."""
    data = np.load(path, mmap_mode="r")
    return Source(default_axes(data), data)


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


def write_hdf5(path, slabs, shape, dtype, size):
    """Write z slabs as the dataset `data`."""
    import h5py

    with h5py.File(path, "w") as file:
        chunks = tuple(min(c, n) for c, n in zip(CHUNK, shape, strict=True))
        data = file.create_dataset("data", shape, dtype, chunks=chunks, compression="gzip")
        if size:
            data.attrs["element_size_um"] = [s / 1e3 for s in size]
        fill(data, slabs)


def write_zarr(path, slabs, shape, dtype, size):
    """Write z slabs as an OME-Zarr 0.4 image with coarser levels of every second voxel."""
    fill(start_zarr(path, shape, dtype), slabs)
    finish_zarr(path, size)


def start_zarr(path, shape, dtype):
    """Create the finest level of an OME-Zarr image and return it, to be filled."""
    import zarr

    if not hasattr(zarr.Group, "create_array"):
        raise ValueError(f"Invalid value for `output`. Expected zarr >= 3. Received: {path}")
    return zarr_array(zarr.open_group(path, mode="w", zarr_format=2), 0, shape, dtype)


def finish_zarr(path, size):
    """Add coarser levels of every second voxel, and metadata, to an image that is filled."""
    import zarr

    group = zarr.open_group(path, mode="r+")
    array, levels = group["0"], [1]
    while min(array.shape[1:]) >= 2 * MINIMUM_SIDE:
        finer, coarse = array, tuple(-(-n // 2) for n in array.shape)
        array = zarr_array(group, len(levels), coarse, finer.dtype)
        for rows in array_blocks(coarse):
            wanted = tuple(slice(2 * r.start, 2 * r.stop) for r in rows)
            array[rows] = np.asarray(finer[wanted])[::2, ::2, ::2]
        levels.append(2 * levels[-1])
    group.attrs["multiscales"] = [multiscale(levels, size)]


def array_blocks(shape):
    """Yield blocks of whole chunks, small enough for memory, that cover an array."""
    steps = [CHUNK[0], 8 * CHUNK[1], 8 * CHUNK[2]]
    for corner in product(*[range(0, n, s) for n, s in zip(shape, steps, strict=True)]):
        yield tuple(slice(a, a + s) for a, s in zip(corner, steps, strict=True))


def zarr_array(group, level, shape, dtype):
    """Create a level of a pyramid."""
    chunks = tuple(min(c, n) for c, n in zip(CHUNK, shape, strict=True))
    return group.create_array(
        str(level),
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )


def multiscale(levels, size):
    """Return the OME-Zarr 0.4 metadata of a pyramid."""
    unit = {"unit": "nanometer"} if size else {}
    datasets = [
        {
            "path": str(i),
            "coordinateTransformations": [
                {"type": "scale", "scale": [level * s for s in size or (1, 1, 1)]}
            ],
        }
        for i, level in enumerate(levels)
    ]
    axes = [{"name": name, "type": "space", **unit} for name in "zyx"]
    return {"version": "0.4", "axes": axes, "datasets": datasets}


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
        fill(file.data, slabs)
        file.update_header_stats()
        if size:
            file.voxel_size = tuple(10 * s for s in size[::-1])


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
    fill(np.lib.format.open_memmap(path, "w+", dtype, shape), slabs)


def fill(array, slabs):
    """Write z slabs one after the other, whole chunks at a time."""
    z, waiting = 0, []
    for slab in slabs:
        waiting.append(slab)
        ready = sum(map(len, waiting)) // CHUNK[0] * CHUNK[0]
        if ready:
            block = np.concatenate(waiting)
            array[z : z + ready] = block[:ready]
            z, waiting = z + ready, [block[ready:]]
    rest = np.concatenate(waiting)
    array[z : z + len(rest)] = rest


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
