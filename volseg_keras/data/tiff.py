"""TIFF stacks, read lazily and written slice by slice."""

import logging
import math
import re
import struct
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import tifffile
from joblib import cpu_count

from .source import Source, beside, nanometres, stored_limit

# What tifffile logs and goes on, with pages that are missing or zero.
SIGNS_OF_DAMAGE = (
    "invalid page offset",
    "invalid offset to page",
    "corrupted",
    "failed to read",
    "index out of range",
)

TOGETHER = 2**26  # bytes of planes decoded at a time


def read_tiff(path, inside=None, level=0):
    """Return the `Source` of a TIFF file's first series."""
    with strict_tifffile(), tifffile.TiffFile(path) as tif:
        for name in re.findall(r'FileName="([^"]*)"', tif.ome_metadata or ""):
            beside(path, name)
        check_complete(tif)
        finest, size = tif.series[0], voxel_size(tif)
        if not 0 <= level < len(finest.levels):
            raise ValueError(f"it has levels 0 to {len(finest.levels) - 1}, not {level}")
        series = finest.levels[level]
        if not level and series.dataoffset is not None and series.dtype.kind in "uif":
            return Source(series.axes, tifffile.memmap(path, mode="r"), size)
        if size:
            sides = dict(zip(series.axes, np.divide(finest.shape, series.shape), strict=True))
            size = tuple(s * float(sides.get(a, 1)) for a, s in zip("ZYX", size, strict=True))
        stored_limit(series.keyframe.chunks, series.dtype)
        pages = Pages(path, level, series)
        whole = all(series.pages) and series.keyframe.shape == series.shape[-2:]
        whole = whole and len(series.pages) == math.prod(series.shape[:-2])
        return Source(series.axes, pages if whole else pages.strips, size)


class Pages:
    """The array of a TIFF file with a page for every plane.

    Whole planes are decoded together unless few of their strips are asked for: by Zarr, which
    takes one after the other, a strip takes two to eight times as long.

    Args:
        path: of the file.
        level: of its pyramid.
        series: the images of the level, as tifffile has them.
    """

    def __init__(self, path, level, series):
        self.path, self.level = path, level
        self.shape, self.dtype = series.shape, series.dtype
        self.strip = series.keyframe.chunks

    @cached_property
    def strips(self):
        """The Zarr array of the same."""
        import zarr

        return zarr.open(tifffile.imread(self.path, aszarr=True, level=self.level), mode="r")

    def __getitem__(self, key):
        """Read a block; `key` has an integer or slice an axis."""
        outer, inner = key[:-2], key[-2:]
        pages = np.arange(math.prod(self.shape[:-2])).reshape(self.shape[:-2])[outer]
        if not pages.size or self.share(inner) < 1 / 8:
            return self.strips[key]
        numbers, plane = pages.ravel().tolist(), self.shape[-2:]
        few = max(cpu_count(), TOGETHER // (math.prod(plane) * self.dtype.itemsize))
        block = np.empty((len(numbers), *np.broadcast_to(0, plane)[inner].shape), self.dtype)
        which = {"series": 0, "level": self.level, "maxworkers": cpu_count()}
        with strict_tifffile(), tifffile.TiffFile(self.path) as tif:
            for start in range(0, len(numbers), few):
                some = slice(start, start + few)
                planes = tif.asarray(numbers[some], **which).reshape(-1, *plane)
                block[some] = planes[(slice(None), *inner)]
        return block.reshape(*pages.shape, *block.shape[1:])

    def share(self, inner):
        """Return about which part of a plane's strips or tiles a block has a part in."""
        spans = zip(inner, self.shape[-2:], self.strip, strict=True)
        return math.prod(min(1, (np.size(np.arange(n)[k]) + c) / n) for k, n, c in spans)


def read_slices(paths):
    """Return the `Source` of images of one size, in the order of the numbers in their names."""
    import zarr

    paths = tifffile.natural_sorted(str(path) for path in paths)
    is_tiff = paths[0].lower().endswith((".tif", ".tiff"))
    read = read_page if is_tiff else read_png
    first = read(paths[0])

    def alike(path):
        image = read(path)
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            raise ValueError(
                f"{path} is {image.shape} {image.dtype}, not {first.shape} {first.dtype} "
                f"as {paths[0]}"
            )
        return image

    sequence = tifffile.FileSequence(alike, paths)
    axes = "Z" + "YXS"[: first.ndim]
    return Source(axes, zarr.open(sequence.aszarr(axestiled={}), mode="r"), None)


def read_page(path):
    """Return the image of a TIFF file."""
    with tifffile.TiffFile(path, is_ome=False) as tif:
        check_complete(tif)
        stored_limit(tif.series[0].shape, tif.series[0].dtype)
        image, axes = tif.asarray(), tif.series[0].axes
    plane = [n for n, a in zip(image.shape, axes, strict=True) if a in "YXS"]
    return image.reshape(plane) if image.size == np.prod(plane) else image


def read_png(path):
    """Return the image of a PNG file, unless it declares absurd sizes."""
    import imagecodecs

    with open(path, "rb") as file:
        data = file.read()
    stored_limit(struct.unpack_from(">2I", data, 16), np.dtype("u2"))
    return imagecodecs.png_decode(data)


def write_tiff(path, slabs, shape, dtype, size):
    """Write z slabs as one deflated stack."""
    pages = (np.ascontiguousarray(page) for slab in slabs for page in slab)
    if shape[-1] == 1:  # of single pages tifffile takes this axis for samples
        pages = np.stack(list(pages))
    metadata = {"axes": "ZYX", **({"voxel_size_nm": size} if size else {})}
    tifffile.imwrite(
        path,
        pages,
        shape=shape,
        dtype=dtype,
        bigtiff=int(np.prod(shape)) * np.dtype(dtype).itemsize > 2**31,
        compression="zlib",
        maxworkers=cpu_count(),
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
    for page in filter(None, series.pages):
        size = page.parent.filehandle.size  # of OME-TIFF, pages may lie in several files
        spans = zip(page.dataoffsets, page.databytecounts, strict=True)
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
        if any(sign in message for sign in SIGNS_OF_DAMAGE):
            raise ValueError(message)
