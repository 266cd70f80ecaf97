"""TIFF stacks, read lazily and written slice by slice."""

import math
import re
from functools import cached_property

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC, PLANARCONFIG

from ...errors import require
from ...resources import usable_cores
from ..geometry import Geometry
from ..paths import resolve_sibling
from .source import Source, check_number, stored_limit
from .tiff_checks import choose_series, strict_tifffile
from .tiff_geometry import imagej_options, ome_options, read_geometry

TOGETHER = 2**26  # bytes of planes decoded at a time
NOT_IN_OME = ("float16", "int64", "uint64")
APART = {"is_shaped": False}  # to open a stack whose pages are images of their own


def read_tiff(path, inside=None, level=0, series=None):
    """Return the `Source` of a TIFF file's only series of images, or of one by its number."""
    with strict_tifffile(), tifffile.TiffFile(path) as tif:
        # Before the series, which are read from the files that are named.
        for name in re.findall(r'FileName="([^"]*)"', tif.ome_metadata or ""):
            resolve_sibling(path, name)
        if series is None and pages_are_apart(tif):
            with tifffile.TiffFile(path, **APART) as stack:
                return tiff_source(path, stack, level, series, APART)
        return tiff_source(path, tif, level, series, {})


def tiff_source(path, tif, level, series, flags):
    """Return the `Source` of an open file; `flags` are what it was opened with."""
    number = choose_series(tif, series)
    finest, geometry = tif.series[number], read_geometry(tif, number)
    check_number("level", level, len(finest.levels))
    images = finest.levels[level]
    axes = sections(images)
    contiguous = not level and images.dataoffset is not None and images.keyframe.parent is tif
    if contiguous and not flags and images.dtype.kind in "uif":  # as tifffile maps it
        array = tifffile.memmap(path, mode="r", series=number)
        return Source(axes, array, geometry)
    if geometry and level:
        sides = dict(zip(images.axes, np.divide(finest.shape, images.shape), strict=True))
        coarse = [s * float(sides.get(a, 1)) for a, s in zip("ZYX", geometry.sides, strict=True)]
        geometry = Geometry.straight(coarse, geometry.unit, geometry.origin)
    stored_limit(images.keyframe.chunks, images.dtype)
    pages = Pages(path, number, level, images, flags)
    whole = all(images.pages) and images.keyframe.shape == images.shape[-2:]
    whole = whole and len(images.pages) == math.prod(images.shape[:-2])
    return Source(axes, pages if whole else pages.strips, geometry)


def pages_are_apart(tif):
    """Return whether an open file holds the sections of a stack as images of their own.

    As Python programs leave it that write page after page, or append pages.
    """
    kinds = {(series.axes, series.shape, series.dtype) for series in tif.series}
    alike = len(kinds) == 1 and {axes for axes, *_ in kinds} == {"YX"}
    return bool(tif.is_shaped and len(tif.series) > 1 and alike)


def sections(series):
    """Return the axes of a series, planar samples of grey levels being sections.

    tifffile writes a NumPy array of three or four sections like this by default.
    """
    page, axes = series.keyframe, series.axes
    grey = page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
    planar = axes == "SYX" and page.planarconfig == PLANARCONFIG.SEPARATE
    return "ZYX" if planar and (grey or page.is_shaped) else axes


class Pages:
    """The array of a TIFF file with a page for every plane.

    Whole planes are decoded in parallel, unless few of their strips are needed, which Zarr decodes
    one after the other: that takes two to eight times as long a strip.

    Args:
        path: of the file.
        series: number of its series.
        level: of its pyramid.
        images: of the level, as tifffile has them.
        flags: what the file is opened with.
    """

    def __init__(self, path, series, level, images, flags):
        self.path, self.series, self.level, self.flags = path, series, level, flags
        self.shape, self.dtype = images.shape, images.dtype
        self.strip = images.keyframe.chunks
        self.chunks = (1,) * (len(self.shape) - 2) + self.strip

    @cached_property
    def strips(self):
        """The Zarr array of the same."""
        import zarr

        file = tifffile.TiffFile(self.path, **self.flags)
        return zarr.open(file.aszarr(series=self.series, level=self.level), mode="r")

    def __getitem__(self, key):
        """Read a block; `key` has an integer or slice an axis."""
        outer, inner = key[:-2], key[-2:]
        pages = np.arange(math.prod(self.shape[:-2])).reshape(self.shape[:-2])[outer]
        if not pages.size or self.share(inner) < 1 / 8:
            return self.strips[key]
        numbers, plane = pages.ravel().tolist(), self.shape[-2:]
        few = max(usable_cores(), TOGETHER // (math.prod(plane) * self.dtype.itemsize))
        block = np.empty((len(numbers), *np.broadcast_to(0, plane)[inner].shape), self.dtype)
        which = {"series": self.series, "level": self.level, "maxworkers": usable_cores()}
        with strict_tifffile(), tifffile.TiffFile(self.path, **self.flags) as tif:
            for start in range(0, len(numbers), few):
                some = slice(start, start + few)
                planes = tif.asarray(numbers[some], **which).reshape(-1, *plane)
                block[some] = planes[(slice(None), *inner)]
        return block.reshape(*pages.shape, *block.shape[1:])

    def share(self, inner):
        """Return about which share of a plane's strips or tiles a block overlaps."""
        spans = zip(inner, self.shape[-2:], self.strip, strict=True)
        return math.prod(min(1, (np.size(np.arange(n)[k]) + c) / n) for k, n, c in spans)


def write_tiff(path, slabs, shape, dtype, geometry):
    """Write z slabs as one deflated stack that Fiji opens with its voxel size."""
    pages = (np.ascontiguousarray(page) for slab in slabs for page in slab)
    if shape[-1] == 1:  # tifffile would take this axis of single pages for samples
        pages = np.stack(list(pages))
    is_ome = path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    good = not is_ome or np.dtype(dtype).name not in NOT_IN_OME
    expected = "a type that OME-TIFF has, such as uint32 or float32; or another format"
    require(good, "dtype", expected, dtype)
    tifffile.imwrite(
        path,
        pages,
        shape=shape,
        dtype=dtype,
        bigtiff=int(np.prod(shape)) * np.dtype(dtype).itemsize > 2**31,
        compression="zlib",
        maxworkers=usable_cores(),
        photometric="minisblack",
        **(ome_options(geometry) if is_ome else imagej_options(shape, geometry)),
    )
