"""HDF5 files: datasets of any program, and images of BigDataViewer."""

import errno
import json
import os
import re
import shutil
from itertools import product
from xml.etree import ElementTree

import numpy as np

from ...errors import listed
from ..axes import default_axes, named_axes
from ..geometry import geometry_of, positive
from .slabs import CHUNK, chunk_for_slabs, fill
from .source import Source, check_number, is_volume, pick, stored_limit

# Filters of HDF5 that need plugins, by their registered numbers.
FILTER_NAMES = {
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32024: "SZ3",
    32026: "Blosc2",
}
LARGEST_XML = 2**24
MARGIN = 2**20  # bytes of HDF5's own that a disk needs beside those of a slab
BDV = re.compile(r"t(\d{5,})/s(\d{2,})/(\d+)/cells")


def read_hdf5(path, inside=None, level=0, series=None):
    """Return the `Source` of a dataset; `inside` can be None if there is only one."""
    import h5py

    file = h5py.File(path)
    found = {}
    file.visititems(lambda name, node: found.update({name: node}) if is_volume(node) else None)
    cells = {name: match.groups() for name in found if (match := BDV.fullmatch(name))}
    if cells and not inside:
        inside = bdv_name(cells, level, series)
    else:
        check_number("level", level, 1)
        check_number("series", series or 0, 1)
    name = (inside or "").strip("/")
    node = file.get(name) if name else None
    if isinstance(node, h5py.Dataset) and is_volume(node):  # also by a link
        dataset = node
    elif isinstance(node, h5py.Group):  # with one dataset
        within = {key: node for key, node in found.items() if key.startswith(f"{name}/")}
        dataset = pick(within or found, None if within else inside)
    else:
        dataset = pick(found, inside)
    if dataset.external or dataset.is_virtual or dataset.file.filename != file.filename:
        raise ValueError("its voxels lie in other files or datasets")
    array = CheckedDataset(dataset)
    if numbers := cells.get(dataset.name.strip("/")):
        return Source("ZYX", array.unsigned(), bdv_geometry(path, file, *numbers))
    axes = dataset_axes(dataset)
    return Source(axes, array, dataset_geometry(dataset, axes))


def dataset_axes(dataset):
    """Return the letters of a dataset's axes, by ilastik's axistags or HDF5's own labels."""
    tags = dataset.attrs.get("axistags")
    if tags is not None:
        tags = tags.decode() if isinstance(tags, bytes) else str(tags)
        names = [axis.get("key") for axis in json.loads(tags)["axes"]]
    else:
        names = [dim.label for dim in dataset.dims]
    return named_axes(names, dataset) or default_axes(dataset)


def dataset_geometry(dataset, axes):
    """Return the `Geometry` in the attributes of a dataset, or None."""
    size = dataset.attrs.get("element_size_um")
    if size is not None and np.size(size) == 3:
        return geometry_of(np.ravel(size), 3 * ["um"])
    size = dataset.attrs.get("resolution")  # of CREMI, in nm, in the order of its axes
    if size is None or np.size(size) != 3 or axes[-3:] != "ZYX":
        return None
    offset = np.ravel(dataset.attrs.get("offset", (0, 0, 0)))
    unit = dataset.attrs.get("unit", dataset.attrs.get("units", "nm"))
    unit = unit.decode() if isinstance(unit, bytes) else unit
    units = [unit] * 3 if isinstance(unit, str) else list(map(str, np.ravel(unit)))
    good = np.size(offset) == 3 and len(units) == 3 and np.issubdtype(offset.dtype, np.number)
    return geometry_of(np.ravel(size), units, offset.tolist()) if good else None


def bdv_name(cells, level, series):
    """Return the dataset of an image of BigDataViewer, of one time and one setup."""
    times, setups = (sorted({numbers[i] for numbers in cells.values()}) for i in (0, 1))
    if len(times) > 1 or len(setups) > 1 and series is None:
        raise ValueError(
            "choose one of its arrays with FILE::NAME, or a setup with --series: " + listed(cells)
        )
    check_number("series", series or 0, len(setups))
    setup = setups[series or 0]
    levels = [numbers for numbers in cells.values() if numbers[:2] == (times[0], setup)]
    check_number("level", level, len(levels))
    return f"t{times[0]}/s{setup}/{level}/cells"


def bdv_geometry(path, file, time, setup, level):
    """Return the `Geometry` of a level of a setup from the XML beside the file, or None."""
    xml = path.with_suffix(".xml")
    if not xml.is_file() or xml.stat().st_size > LARGEST_XML:
        return None
    for node in ElementTree.parse(xml).iter("ViewSetup"):
        if int(node.findtext("id", "-1")) == int(setup):
            size = [positive(part) for part in (node.findtext("voxelSize/size") or "").split()]
            if len(size) != 3 or None in size:
                return None
            factors = file.get(f"s{setup}/resolutions")
            if factors is not None:
                size = np.multiply(size, factors[int(level)])
            return geometry_of(size[::-1], 3 * [node.findtext("voxelSize/unit")])
    return None


class CheckedDataset:
    """An HDF5 dataset whose chunks are checked before they are decompressed."""

    def __init__(self, dataset):
        self.dataset, self.shape, self.dtype = dataset, dataset.shape, dataset.dtype
        self.limit, self.sign = None, True
        made = dataset.id.get_create_plist()
        filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
        self.chunks = dataset.chunks
        if dataset.chunks:
            self.limit = stored_limit(dataset.chunks, dataset.dtype)
        if len(set(filters)) < len(filters):
            raise ValueError("a compression filter is applied twice")
        for number in filters:
            check_filter(number)

    def unsigned(self):
        """Return itself, reading integers of 16 bits as unsigned, as BigDataViewer does."""
        if self.dtype == np.int16:
            self.sign, self.dtype = False, np.dtype(np.uint16)
        return self

    def __getitem__(self, key):
        """Read a block."""
        if self.limit is not None:
            self.check(key)
        block = self.dataset[key]
        return block if self.sign else block.view(np.uint16)

    def check(self, key):
        """Raise ValueError if a chunk of a block is larger than its voxels."""
        corners = []
        for k, n, c in zip(key, self.shape, self.dataset.chunks, strict=True):
            start, stop, _ = (k if isinstance(k, slice) else slice(k, k + 1)).indices(n)
            corners.append(range(start // c * c, stop, c))
        for corner in product(*corners):
            if self.dataset.id.get_chunk_info_by_coord(corner).size > self.limit:
                raise ValueError(f"the chunk at {corner} is larger than its voxels")


def check_filter(number):
    """Raise ValueError for a filter whose plugin is not installed."""
    import h5py

    if h5py.h5z.filter_avail(number):
        return
    try:
        import hdf5plugin  # noqa: F401  (registers its filters)
    except ImportError:
        pass
    if not h5py.h5z.filter_avail(number):
        raise ValueError(
            f"it is compressed by {FILTER_NAMES.get(number, 'a plugin')}, filter {number} of HDF5, "
            "which needs: pip install hdf5plugin"
        )


def write_hdf5(path, slabs, shape, dtype, geometry):
    """Write z slabs as the dataset `data`."""
    import h5py

    with h5py.File(path, "w") as file:
        chunks = chunk_for_slabs(shape, dtype)
        data = file.create_dataset("data", shape, dtype, chunks=chunks, compression="gzip")
        if geometry and (size := geometry.voxel_size):
            data.attrs["element_size_um"] = [s / 1e3 for s in size]
        fill(data, with_room(path, slabs))


def with_room(path, slabs):
    """Yield a few planes of z slabs at a time; OSError where the disk is full, as HDF5 crashes."""
    for slab in slabs:
        for start in range(0, len(slab), CHUNK[0]):
            planes = slab[start : start + CHUNK[0]]
            if shutil.disk_usage(path.parent).free < planes.nbytes + MARGIN:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            yield planes
