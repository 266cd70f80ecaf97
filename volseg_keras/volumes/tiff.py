"""TIFF stacks, read lazily and written slice by slice."""

import logging
import math
import re
import threading
import warnings
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG, RESUNIT

from ..resources import usable_cores
from .geometry import Geometry, ascii_unit, geometry_of, in_nm, positive
from .source import MOST, Source, check_number, listed, resolve_sibling, stored_limit

# Messages that tifffile logs before it continues with missing or empty pages.
SIGNS_OF_DAMAGE = (
    "invalid page offset",
    "invalid offset to page",
    "corrupted",
    "failed to read",
    "index out of range",
)

TOGETHER = 2**26  # bytes of planes decoded at a time
COARSEST = 1e4  # nm; the resolution of a screen or printer is coarser
MICRO = "\\u00B5"  # as ImageJ writes the letter
FILTERS = threading.Lock()
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
    number = check_complete(tif, series)
    finest, place = tif.series[number], tiff_geometry(tif, number)
    check_number("level", level, len(finest.levels))
    images = finest.levels[level]
    axes = sections(images)
    contiguous = not level and images.dataoffset is not None and images.keyframe.parent is tif
    if contiguous and not flags and images.dtype.kind in "uif":  # as tifffile maps it
        array = tifffile.memmap(path, mode="r", series=number)
        return Source(axes, array, place)
    if place and level:
        sides = dict(zip(images.axes, np.divide(finest.shape, images.shape), strict=True))
        coarse = [s * float(sides.get(a, 1)) for a, s in zip("ZYX", place.sides, strict=True)]
        place = Geometry.straight(coarse, place.unit, place.origin)
    stored_limit(images.keyframe.chunks, images.dtype)
    pages = Pages(path, number, level, images, flags)
    whole = all(images.pages) and images.keyframe.shape == images.shape[-2:]
    whole = whole and len(images.pages) == math.prod(images.shape[:-2])
    return Source(axes, pages if whole else pages.strips, place)


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


def write_tiff(path, slabs, shape, dtype, place):
    """Write z slabs as one deflated stack that Fiji opens with its voxel size."""
    pages = (np.ascontiguousarray(page) for slab in slabs for page in slab)
    if shape[-1] == 1:  # tifffile would take this axis of single pages for samples
        pages = np.stack(list(pages))
    is_ome = path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    tifffile.imwrite(
        path,
        pages,
        shape=shape,
        dtype=dtype,
        bigtiff=int(np.prod(shape)) * np.dtype(dtype).itemsize > 2**31,
        compression="zlib",
        maxworkers=usable_cores(),
        photometric="minisblack",
        **(ome_options(place) if is_ome else imagej_options(shape, place)),
    )


def ome_options(place):
    """Return options of tifffile for OME-TIFF at a `Geometry`, which may be None."""
    metadata = {"axes": "ZYX"}
    place = place and place.in_unit("nm", "um", "mm", "angstrom")
    if place:
        unit = {1: "nm", 1e3: "µm", 1e6: "mm", 0.1: "Å"}[in_nm(place.unit)]
        for axis, side in zip("ZYX", place.sides, strict=True):
            if positive(side):
                metadata |= {f"PhysicalSize{axis}": side, f"PhysicalSize{axis}Unit": unit}
    return {"ome": True, "metadata": metadata}


def imagej_options(shape, place):
    """Return options of tifffile for a stack of ImageJ at a `Geometry`, which may be None.

    Its own `imagej=True` takes neither integers of 32 bits nor more than 4 GB.
    """
    lines = ["ImageJ=1.54f", f"images={shape[0]}", f"slices={shape[0]}", "loop=false"]
    place = place and (place if in_nm(place.unit) else place.in_unit("nm"))
    options = {"metadata": None, "resolutionunit": RESUNIT.NONE}
    if place:
        z, y, x = map(positive, place.sides)
        unit = place.unit.replace("µ", MICRO).replace("μ", MICRO)
        lines.append(f"unit={ascii_unit(unit)}")
        if x and y:
            options["resolution"] = (1 / x, 1 / y)
        if z:
            lines.append(f"spacing={z!r}")
        if place.is_straight and x and y:
            pairs = zip("xyz", place.origin, (x, y, z), strict=True)
            lines += [f"{a}origin={-o / s!r}" for a, o, s in pairs if o and s]
    options["description"] = "\n".join([*lines, ""])
    return options


def tiff_geometry(tif, series):
    """Return the `Geometry` of a TIFF as far as it is known, or None.

    Args:
        tif: an open `tifffile.TiffFile`.
        series: number of a series.
    """
    if tif.is_shaped and "voxel_size_nm" in (tif.shaped_metadata or [{}])[0]:
        return Geometry.straight(tif.shaped_metadata[0]["voxel_size_nm"])
    if tif.is_ome:
        images = tifffile.xml2dict(tif.ome_metadata)["OME"].get("Image")
        if not images:  # they are described in another file
            return None
        images = images if isinstance(images, list) else [images]
        pixels = images[min(series, len(images) - 1)]["Pixels"]
        sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
        units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
        return geometry_of(sizes, units)
    tags = tif.series[series].keyframe.tags
    samples = [tags[name].value for name in ("YResolution", "XResolution") if name in tags]
    sides = [below / above if above else None for above, below in samples]
    if len(sides) < 2:
        return None
    if tif.is_imagej:
        about = tif.imagej_metadata
        unit, sides = about.get("unit"), [about.get("spacing"), *sides]
        if not in_nm(unit):
            return None
        pairs = zip("zyx", sides, strict=True)
        corner = [-float(about.get(f"{a}origin") or 0) * (s or 0) for a, s in pairs]
        return geometry_of(sides, [about.get(f"{a}unit") or unit for a in "zyx"], corner)
    unit = {RESUNIT.CENTIMETER: "cm", RESUNIT.INCH: "inch"}.get(
        tags["ResolutionUnit"].value if "ResolutionUnit" in tags else None
    )
    microscopic = unit and all(side and side * in_nm(unit) < COARSEST for side in sides)
    return geometry_of([None, *sides], 3 * [unit]) if microscopic else None


def check_complete(tif, number=None):
    """Return the number of the series to read: the chosen one, or the only large one of the file.

    Files of OME-TIFF may describe series that lie in other files. Smaller series, such as a
    thumbnail or a page of another size in a stack, are left out with a warning.

    Raises:
        ValueError: data are missing, or other series hold as much as the first.
    """
    count = len(tif.series)
    texts = [f"{i}: {s.axes} {s.shape} {s.dtype}" for i, s in enumerate(tif.series[:MOST])]
    names = "; ".join(texts)
    if not count:
        raise ValueError("it holds no image")
    if number is not None:
        check_number("series", number, count, names)
    if number is None:
        number = only_large_series(tif, names)
    images, starts = tif.series[number], []
    for page in filter(None, images.pages):
        size = page.parent.filehandle.size  # of OME-TIFF, pages may lie in several files
        spans = zip(page.dataoffsets, page.databytecounts, strict=True)
        if any(offset + count > size for offset, count in spans):
            raise ValueError("the file is cut off")
        if page.parent is tif and any(page.databytecounts):
            starts += page.dataoffsets[:1]
    # All pages are read by the size of the first, which would take those of smaller ones too far.
    plain = images.keyframe.compression == COMPRESSION.NONE
    size = sum(images.keyframe.databytecounts) if plain else 0
    if np.diff(np.unique(starts)).min(initial=size) < size:
        raise ValueError("its pages are of different sizes")
    return number


def only_large_series(tif, names):
    """Return the number of the largest series that lies in a file, of which there must be one."""
    own = [i for i, series in enumerate(tif.series) if series.keyframe.parent is tif]
    first, *others = own or [0]
    sizes = [tif.series[i].size for i in (first, *others)]
    if any(size >= sizes[0] for size in sizes[1:]):
        kinds = {(tif.series[i].axes, tif.series[i].shape) for i in own}
        different = " of different kinds" if len(kinds) > 1 else ""
        raise ValueError(f"it holds {len(sizes)} images{different}; choose with --series: {names}")
    left = [i for i in others if not tif.series[i].keyframe.is_reduced]
    if left:
        shapes = listed([str(tif.series[i].shape) for i in left])
        warnings.warn(
            f"images of other sizes in the file are left out: {shapes} beside "
            f"{tif.series[first].shape}; a stack with pages of several sizes lacks sections",
            stacklevel=2,
        )
    return first


@contextmanager
def strict_tifffile():
    """Raise ValueError for damage that tifffile only logs, such as missing pages of a cut file.

    The messages of this thread are hidden from the user. Other threads may do the same meanwhile,
    or read good files: each has its own filter, and the list of filters is replaced, not changed,
    since another thread may be iterating over it.
    """
    own, records = threading.get_ident(), []

    def keep(record):
        if record.thread != own:
            return True
        records.append(record)
        return False

    logger = logging.getLogger("tifffile")
    with FILTERS:
        logger.filters = [*logger.filters, keep]
    try:
        yield
    finally:
        with FILTERS:
            logger.filters = [other for other in logger.filters if other is not keep]
    for message in (record.getMessage() for record in records):
        if any(sign in message for sign in SIGNS_OF_DAMAGE):
            raise ValueError(message)
