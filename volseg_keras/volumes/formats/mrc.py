"""MRC files of microscopes and of IMOD, RELION and others, read lazily, and written."""

import os
import struct
from dataclasses import dataclass
from math import prod

import numpy as np

from ...errors import require
from ..geometry import MrcConvention, geometry_of
from .slabs import fill
from .source import AsType, Source

SUFFIXES = (".mrc", ".rec", ".map", ".st", ".ali", ".preali", ".mrcs")
HEADER = 1024
EIGHT_BITS = "8 bits written as 16"  # label of an MRC file
MODES = {0: "i1", 1: "i2", 2: "f4", 3: "V4", 4: "c8", 6: "u2", 12: "f2", 16: "u1", 101: "u1"}
COLOURS, PACKED = 16, 101
# The stamp of files that IMOD wrote, and bits of its flags.
STAMP = 1146047817
SIGNED, UPRIGHT, HALF_BYTES = 1, 4, 16
STANDARD = 20140  # first version of MRC2014, whose origin is the position of the first voxel
VERSIONS = (0, 20140, 20141)
VOLUME_STACK_GROUPS = range(401, 631)  # space groups of several volumes in one file
LARGEST = 1e9  # an origin beyond this, in angstrom, is garbage


@dataclass(frozen=True)
class Header:
    """The header of a file, in its byte order; names are those of MRC2014."""

    raw: bytes
    order: str

    def get(self, offset, count=3, kind="i"):
        """Return numbers at an offset in bytes."""
        found = struct.unpack_from(f"{self.order}{count}{kind}", self.raw, offset)
        return found if count > 1 else found[0]

    @property
    def labels(self):
        """The texts of a file's history."""
        count = min(max(self.get(220, 1), 0), 10)
        cut = [self.raw[224 + 80 * i : 304 + 80 * i] for i in range(count)]
        return [text.decode("latin-1").strip(" \0") for text in cut]

    @property
    def imod(self):
        """The flags of IMOD, None for a file of another program."""
        stamp, flags = self.get(152, 2)
        return flags if stamp == STAMP else None

    @property
    def has_map(self):
        """Whether the word "MAP" is where MRC2000 and later have it."""
        return self.raw[208:211] == b"MAP"


def read_mrc(path, inside=None, level=0, series=None):
    """Return the `Source` of an MRC file; its voxel size is in angstrom.

    IMOD's flags say whether bytes are signed. Without them the header's range of grey levels
    decides, and if that is inconclusive they are signed, as in MRC2014.
    """
    with open(path, "rb") as file:
        raw, size = file.read(HEADER), os.fstat(file.fileno()).st_size
    header = Header(raw, byte_order(raw))
    shape, mode, start = header.get(0)[::-1], header.get(12, 1), HEADER + header.get(92, 1)
    half = is_packed(header, mode)
    stored, dtype = shape, np.dtype(MODES[mode]).newbyteorder(header.order)
    if half:
        whole = mode == PACKED  # else the header counts bytes, not voxels
        stored = (*shape[:2], (shape[2] + 1) // 2) if whole else shape
        shape = shape if whole else (*shape[:2], 2 * shape[2])
    if half or mode == 0 and not has_sign(header):
        dtype = np.dtype(np.uint8)
    names, several = header_axes(header), header.get(36, 1)
    if mode == COLOURS:
        stored, names = (*stored, 3), names + "S"
    if (
        header.get(88, 1) in VOLUME_STACK_GROUPS
        and 0 < several < shape[0]
        and shape[0] % several == 0
    ):
        stored, names = (shape[0] // several, several, *stored[1:]), "C" + names
    shape = shape if half else stored
    if min(shape) < 1 or start < HEADER:
        raise ValueError(f"invalid header: shape {shape}, voxels from byte {start}")
    if start + prod(stored) * dtype.itemsize > size:
        raise ValueError(f"the file is truncated: expected {prod(stored)} voxels from byte {start}")
    array = np.memmap(path, dtype, "r", start, stored)
    if half:
        array = Packed(array, shape)
    elif EIGHT_BITS in header.labels and dtype.kind == "u" and in_range(header):
        # Another program may have changed the voxels, but not the labels.
        array = AsType(array, np.dtype(np.uint8))
    return Source(names, array, header_geometry(header, names, shape))


def byte_order(raw):
    """Return "<" or ">", whichever makes a header valid; raise ValueError if neither does."""
    if len(raw) < HEADER:
        raise ValueError("the file is truncated: it is shorter than a header of 1024 bytes")
    little = raw[212:214] != b"\x11\x11"
    for order in ("<", ">") if little else (">", "<"):
        header = Header(raw, order)
        crs = [abs(axis) for axis in header.get(64)]
        sizes = header.get(0)
        if header.get(12, 1) in MODES and max(crs) < 4 and min(sizes) > 0 and min(sizes) < 2**16:
            return order
    raise ValueError("not an MRC file: no valid shape and mode in its header")


def has_sign(header):
    """Return whether bytes are signed."""
    if header.imod is not None:
        return bool(header.imod & SIGNED)
    low, high = header.get(76, 2, "f")
    return not (0 <= low < high <= 255 and high > 127)


def is_packed(header, mode):
    """Return whether a byte holds two voxels of 4 bits, the first in its lower half."""
    marked = (header.imod or 0) & HALF_BYTES or "4 bits packed" in str(header.labels[:1])
    return mode == PACKED or mode == 0 and bool(marked)


def in_range(header):
    """Return whether the range of grey levels in the header is that of bytes."""
    low, high = header.get(76, 2, "f")
    return 0 <= low <= high < 256


def header_axes(header):
    """Return the names of sections, rows and columns, which need not be z, y and x."""
    crs = header.get(64)
    if not any(crs):  # never filled in
        return "ZYX"
    if sorted(crs) != [1, 2, 3]:
        raise ValueError(
            f"its header assigns columns, rows and sections to axes {crs}; expected 1, 2 and 3"
        )
    return "".join("XYZ"[axis - 1] for axis in crs[::-1])


def header_geometry(header, names, shape):
    """Return the `Geometry` of a file in angstrom, or None."""
    counts = dict(zip(names, shape, strict=True))
    grid = dict(zip("XYZ", header.get(28), strict=True))
    cell = dict(zip("XYZ", header.get(40, kind="f"), strict=True))
    if is_packed(header, header.get(12, 1)) and grid["X"] * 2 == counts["X"]:
        grid["X"], cell["X"] = 2 * grid["X"], 2 * cell["X"]
    sides = [cell[a] / (grid[a] if grid[a] > 0 else counts[a]) for a in "ZYX"]
    old = not header.has_map
    origin = header.get(208, kind="f") if old else header.get(196, kind="f")[::-1]
    if old:  # before MRC2000 the origin was stored as z, x, y
        origin = (origin[0], origin[2], origin[1])
    if not all(abs(value) < LARGEST for value in origin):
        origin = (0.0, 0.0, 0.0)
    flags, version = header.imod, header.get(108, 1)
    mirrored = old or flags is not None and not flags & UPRIGHT and version < STANDARD
    origin = [-value if mirrored and value else value for value in origin]
    first = dict(zip([a for a in names[::-1] if a in "ZYX"], header.get(16), strict=True))
    start = tuple(first[a] for a in "ZYX")
    convention = None
    if old and any(origin):
        convention = MrcConvention(0, 0, True)
    elif not old and version in VERSIONS:
        convention = MrcConvention(version, flags, mirrored)
    return geometry_of(sides, 3 * ["angstrom"], origin, start=start, mrc=convention)


class Packed:
    """Voxels of 4 bits, two a byte, as bytes.

    Args:
        array: `(z, y, bytes)`.
        shape: `(z, y, x)`; the last half byte of an odd row is unused.
    """

    grey_levels = 16

    def __init__(self, array, shape):
        self.array, self.shape, self.dtype = array, tuple(shape), np.dtype(np.uint8)

    def __getitem__(self, key):
        """Read a block."""
        *outer, inner = key
        rows = np.asarray(self.array[tuple(outer)])
        both = np.stack([rows & 15, rows >> 4], axis=-1)
        return both.reshape(*rows.shape[:-1], -1)[..., : self.shape[-1]][..., inner]


def write_mrc(path, slabs, shape, dtype, geometry):
    """Write z slabs as an MRC file; 8 bits become 16, which all readers support."""
    import mrcfile

    kinds = {"u1": "u2", "u2": "u2", "i1": "i2", "i2": "i2", "f2": "f4", "f4": "f4", "f8": "f4"}
    kind = kinds.get(np.dtype(dtype).str[1:])
    require(kind, "dtype", "integers of up to 16 bits, or floats, for MRC", dtype)
    mode = mrcfile.utils.mode_from_dtype(np.dtype(kind))
    with mrcfile.new_mmap(path, shape, mode, overwrite=True) as file:
        reserve(path)
        fill(file.data, slabs)
        set_statistics(file)
        if np.dtype(dtype) == np.uint8:
            file.add_label(EIGHT_BITS)
        geometry = geometry and geometry.in_unit("angstrom")
        if geometry and geometry.voxel_size:
            file.voxel_size = geometry.sides[::-1]
            if geometry.is_straight:
                set_position(file.header, geometry)


def set_position(header, geometry):
    """Write the position of a volume to an MRC header, with the sign that readers expect."""
    convention = geometry.mrc or MrcConvention(int(header.nversion))
    header.origin = tuple(-v if convention.mirrored and v else v for v in geometry.origin)
    header.nzstart, header.nystart, header.nxstart = geometry.start
    header.nversion = convention.version
    if convention.flags is not None:
        extra, at = bytearray(header.extra2.tobytes()), 152 - header.dtype.fields["extra2"][1]
        struct.pack_into("<2i", extra, at, STAMP, convention.flags & UPRIGHT)
        header.extra2 = np.void(bytes(extra))


def set_statistics(file):
    """Write the statistics of the voxels to an MRC header, in less memory than mrcfile."""
    planes = [(p.min(), p.max(), p.mean(dtype="f8"), p.var(dtype="f8")) for p in file.data]
    low, high, mean, variance = map(np.array, zip(*planes, strict=True))
    file.header.dmin, file.header.dmax, file.header.dmean = low.min(), high.max(), mean.mean()
    file.header.rms = np.sqrt(variance.mean() + mean.var())


def reserve(path):
    """Allocate a mapped file on the disk now, since writing to a full disk would crash."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
