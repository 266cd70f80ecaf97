"""NRRD files, attached or detached."""

import bz2
import gzip
import io
import math
from contextlib import nullcontext

import numpy as np

from ...resources import check_memory
from ..axes import default_axes, named_axes
from ..geometry import SHORT, Geometry, as_tuples, ascii_unit, geometry_of
from ..paths import resolve_sibling
from .slabs import join_slabs
from .source import Source

COMPRESSED = {name: gzip.open for name in ("gzip", "gz")}
COMPRESSED |= {name: bz2.open for name in ("bzip2", "bz2")}  # encodings of NRRD
# Kinds of the non-spatial axes of a NRRD file.
COLOURS = ("rgb-color", "rgba-color", "hsv-color", "xyz-color", "3-color", "4-color")
VALUES = ("list", "point", "vector", "covariant-vector", "normal", "complex", "stub", "scalar")
KINDS = {"time": "T"} | dict.fromkeys(COLOURS, "S") | dict.fromkeys(VALUES, "C")
KINDS |= {f"{n}-{kind}": "C" for n in (2, 3, 4) for kind in ("vector", "gradient", "normal")}


def read_nrrd(path, inside=None, level=0, series=None):
    """Return the `Source` of a NRRD file, which is read as a whole."""
    import nrrd

    with open(path, "rb") as file:
        header = nrrd.read_header(file)
        name = header.pop("data file", header.pop("datafile", None))
        with open(resolve_sibling(path, name), "rb") if name else nullcontext(file) as stored:
            raw = nrrd_bytes(header, stored)
    data = nrrd.read_data(header, io.BytesIO(raw), index_order="C")
    if header["encoding"] == "raw" and "byte skip" not in header and data.nbytes != len(raw):
        raise ValueError(f"it holds {len(raw)} bytes, not {data.nbytes}")
    axes = nrrd_axes(header, data)
    return Source(axes, data, nrrd_geometry(header, axes))


def nrrd_axes(header, data):
    """Return the letters of a NRRD file's axes, slowest first, by its kinds and labels."""
    count = data.ndim
    labels = [str(name).strip('"') for name in header.get("labels") or ()]
    if len(labels) == count and (named := named_axes(labels[::-1], data)):
        return named
    kinds = [str(kind).lower() for kind in header.get("kinds") or count * ["domain"]]
    if len(kinds) != count:
        raise ValueError(f"it has {len(kinds)} kinds for {count} axes")
    directions = header.get("space directions")
    if directions is not None and len(directions) == count and "kinds" not in header:
        kinds = ["list" if np.isnan(row).any() else "domain" for row in np.array(directions, float)]
    space = iter("XYZ")
    letters = [KINDS.get(kind) or next(space, None) for kind in kinds]
    if None in letters or letters.count("T") > 1:
        return default_axes(data)
    letters = ["C" if a not in "XYZTS" else a for a in letters]
    return "".join(letters[::-1])


def nrrd_geometry(header, axes):
    """Return the `Geometry` of a NRRD file whose axes are named, slowest first, or None."""
    rows = [axes[::-1].find(a) for a in "ZYX"]
    if -1 in rows:
        return None

    def of_axes(name):
        values = header.get(name)
        return None if values is None or max(rows) >= len(values) else [values[r] for r in rows]

    directions, sides = of_axes("space directions"), of_axes("spacings")
    if directions is None:
        units = of_axes("units") or 3 * [None]
        return geometry_of(sides, [unit or None for unit in units]) if sides else None
    if np.shape(directions) != (3, 3):
        return None
    units = {str(unit) for unit in header.get("space units") or ()}
    unit = units.pop() if len(units) == 1 else None
    space = header.get("space")
    space = SHORT.get(space, space) and SHORT.get(space, space).lower()
    origin = header.get("space origin")
    good = origin is not None and np.shape(origin) == (3,) and np.isfinite(origin).all()
    origin = tuple(map(float, origin)) if good else (0.0, 0.0, 0.0)
    return Geometry(as_tuples(directions), origin, unit or None, space)


def nrrd_bytes(header, file):
    """Return the decompressed bytes of a NRRD file, at most eight a voxel.

    Skipped lines and bytes and the compression are removed from the header.
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
    voxels = math.prod(map(int, header["sizes"]))
    check_memory(voxels)
    if not opened:
        return file.read()[max(skip, 0) :]
    header["encoding"] = "raw"
    with opened(file) as inflated:
        while len(raw) < skip + 8 * voxels and (piece := inflated.read(2**20)):
            raw += piece
    return raw[skip:]


def write_nrrd(path, slabs, shape, dtype, geometry):
    """Write z slabs, joined in memory, as a NRRD file."""
    import nrrd

    header = {}
    if geometry and np.isfinite(geometry.steps).all():
        geometry = geometry.with_implied_unit("nm", "um", "mm", "angstrom")
        in_space = geometry.space or not geometry.is_straight or any(geometry.origin)
        name = ascii_unit(geometry.unit)  # headers are in ASCII
        unit = {"units": [name] * 3} if name else {}
        header = {"spacings": geometry.sides[::-1], **unit}
        if in_space:
            space = {"space": geometry.space} if geometry.space else {"space dimension": 3}
            unit = {"space units": [name] * 3} if name else {}
            directions, origin = np.array(geometry.steps)[::-1], geometry.origin
            header = {**space, "space directions": directions, "space origin": origin, **unit}
            header["kinds"] = ["domain"] * 3
    nrrd.write(str(path), join_slabs(slabs), header, index_order="C")
