"""TIFF stacks, read lazily and written slice by slice."""

import logging
from contextlib import contextmanager

import numpy as np
import tifffile

from .source import Source, nanometres


def read_tiff(path, inside=None, level=0):
    """Return the `Source` of a TIFF file's first series."""
    import zarr

    with strict_tifffile(), tifffile.TiffFile(path) as tif:
        check_complete(tif)
        series, size = tif.series[0], voxel_size(tif)
        if series.dataoffset is not None and series.dtype.kind in "uif":
            return Source(series.axes, tifffile.memmap(path, mode="r"), size)
        store = tifffile.imread(path, aszarr=True, level=level)
        return Source(series.axes, zarr.open(store, mode="r"), size)


def read_slices(paths):
    """Return the `Source` of images of one size, in the order of the numbers in their names."""
    import imagecodecs
    import zarr

    paths = tifffile.natural_sorted(str(path) for path in paths)
    is_tiff = paths[0].lower().endswith((".tif", ".tiff"))
    read = tifffile.imread if is_tiff else imagecodecs.imread
    sequence = tifffile.FileSequence(read, paths)
    first = read(paths[0])
    axes = "Z" + "YXS"[: first.ndim]
    return Source(axes, zarr.open(sequence.aszarr(axestiled={}), mode="r"), None)


def write_tiff(path, slabs, shape, dtype, size):
    """Write z slabs as one deflated stack."""
    pages = (np.ascontiguousarray(page) for slab in slabs for page in slab)
    metadata = {"axes": "ZYX", **({"voxel_size_nm": size} if size else {})}
    tifffile.imwrite(
        path,
        pages,
        shape=shape,
        dtype=dtype,
        bigtiff=int(np.prod(shape)) * np.dtype(dtype).itemsize > 2**31,
        compression="zlib",
        photometric="minisblack",
        metadata=metadata,
    )


def voxel_size(tif):
    """Return the voxel size (z, y, x) in nm that a TIFF tells, or None."""
    if tif.is_shaped and "voxel_size_nm" in (tif.shaped_metadata or [{}])[0]:
        return tuple(map(float, tif.shaped_metadata[0]["voxel_size_nm"]))
    if tif.is_ome:
        image = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
        pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
        sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
        units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
        return nanometres(sizes, units)
    if tif.is_imagej:
        about, tags = tif.imagej_metadata, tif.pages[0].tags
        samples = [tags[name].value for name in ("YResolution", "XResolution") if name in tags]
        sides = [below / above if above else None for above, below in samples]
        if len(sides) == 2:
            return nanometres([about.get("spacing"), *sides], [about.get("unit")] * 3)
    return None


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
