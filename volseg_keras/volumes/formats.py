"""All formats by suffix; readers and writers of NIfTI, NRRD and NumPy."""

import bz2
import gzip
import io
import math
from contextlib import nullcontext

import numpy as np

from ..errors import require
from ..resources import check_memory
from . import mrc
from .geometry import RAS, SHORT, Geometry, as_tuples, ascii_unit, geometry_of, in_nm
from .hdf5 import read_hdf5, write_hdf5
from .mrc import read_mrc, write_mrc
from .ome_zarr import read_zarr, write_zarr
from .source import DEFLATE, Source, default_axes, named_axes, resolve_sibling
from .tiff import read_tiff, write_tiff

COMPRESSED = {name: gzip.open for name in ("gzip", "gz")}
COMPRESSED |= {name: bz2.open for name in ("bzip2", "bz2")}  # encodings of NRRD
# Kinds of the non-spatial axes of a NRRD file.
COLOURS = ("rgb-color", "rgba-color", "hsv-color", "xyz-color", "3-color", "4-color")
VALUES = ("list", "point", "vector", "covariant-vector", "normal", "complex", "stub", "scalar")
KINDS = {"time": "T"} | dict.fromkeys(COLOURS, "S") | dict.fromkeys(VALUES, "C")
KINDS |= {f"{n}-{kind}": "C" for n in (2, 3, 4) for kind in ("vector", "gradient", "normal")}
EXTENSIONS = 2**24  # most bytes before the voxels of a NIfTI file
NIFTI_1_SIDE = 2**15 - 1  # most voxels along an axis of a NIfTI-1 file


def read_nifti(path, inside=None, level=0, series=None):
    """Return the `Source` of a NIfTI file, whose axes are x, y, z, t, and another."""
    import nibabel

    check_nifti(path)
    image = nibabel.load(path)
    data, dims = image.dataobj, len(image.shape)
    if dims > 5:
        raise ValueError(f"it has {dims} axes")
    plain = data.slope == 1 and data.inter == 0
    chunks = (*data.shape[:2], *[1] * (dims - 2)) if path.name.lower().endswith(".gz") else None
    array = Typed(data, data.dtype if plain else np.dtype(np.float32), chunks)
    return Source("XYZTC"[:dims], array, nifti_place(image))


def nifti_place(image):
    """Return the `Geometry` of a NIfTI image, or None."""
    codes = tuple(int(image.header[f"{name}_code"]) for name in ("qform", "sform"))
    unit = image.header.get_xyzt_units()[0]
    unit = None if unit == "unknown" else unit
    zooms = [*image.header.get_zooms()[:3], None][:3]
    affine = image.affine
    if not any(codes):
        return geometry_of(zooms[::-1], 3 * [unit], codes=codes)
    if affine is None or not np.isfinite(affine).all() or len(image.shape) < 3:
        return geometry_of(zooms[::-1], 3 * [unit])
    steps, origin = affine[:3, :3].T[::-1], affine[:3, 3].tolist()
    return Geometry(as_tuples(steps), tuple(origin), unit, RAS, codes=codes)


def check_nifti(path):
    """Raise ValueError if a header is absurdly long or the file too short for its voxels."""
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
        raise ValueError(f"the file is cut off: expected {size} bytes from byte {start}")


class Typed:
    """An array that is read as another type than its library has; nibabel reads float64.

    Args:
        proxy: of nibabel.
        dtype: to read.
        chunks: of what is decompressed as a whole, or None.
    """

    def __init__(self, proxy, dtype, chunks=None):
        self.proxy, self.shape, self.dtype, self.chunks = proxy, proxy.shape, dtype, chunks

    def __getitem__(self, key):
        """Read a block."""
        return np.asarray(self.proxy[key]).astype(self.dtype)


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
    return Source(axes, data, nrrd_place(header, axes))


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


def nrrd_place(header, axes):
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


def read_npy(path, inside=None, level=0, series=None):
    """Return the `Source` of a NumPy file."""
    data = np.lib.format.open_memmap(path, mode="r")
    return Source(default_axes(data), data)


def join_slabs(slabs):
    """Return z slabs as one array, float16 as float32 for formats that do not have it."""
    data = np.concatenate(list(slabs))
    return data.astype(np.float32) if data.dtype == np.float16 else data


def write_nifti(path, slabs, shape, dtype, place):
    """Write z slabs, joined in memory, as a NIfTI-1 file, or NIfTI-2 if a side is too long."""
    import nibabel

    data = join_slabs(slabs).T
    place = place.in_unit("mm", "um", "m") if place and in_nm(place.unit) else place
    if not place or not np.isfinite(place.steps).all():
        place = Geometry.straight((1, 1, 1), None)
    place, affine = place.in_space(RAS), np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.array(place.steps)[::-1].T, place.origin
    plain = place.codes == (0, 0)  # readers then ignore the affine
    kind = nibabel.Nifti1Image if max(shape) <= NIFTI_1_SIDE else nibabel.Nifti2Image
    image = kind(data, None if plain else affine, dtype=data.dtype)
    if plain:
        image.header.set_zooms(place.sides[::-1])
    elif place.codes:
        image.set_sform(affine, place.codes[1])
        image.set_qform(affine, place.codes[0])
    names = {1e6: "mm", 1e3: "micron", 1e9: "meter"}
    image.header.set_xyzt_units(names.get(in_nm(place.unit), "unknown"))
    image.to_filename(path)


def write_nrrd(path, slabs, shape, dtype, place):
    """Write z slabs, joined in memory, as a NRRD file."""
    import nrrd

    header = {}
    if place and np.isfinite(place.steps).all():
        placed = place.space or not place.is_straight or any(place.origin)
        name = ascii_unit(place.unit)  # headers are in ASCII
        unit = {"units": [name] * 3} if name else {}
        header = {"spacings": place.sides[::-1], **unit}
        if placed:
            space = {"space": place.space} if place.space else {"space dimension": 3}
            unit = {"space units": [name] * 3} if name else {}
            directions = np.array(place.steps)[::-1]
            header = {**space, "space directions": directions, "space origin": place.origin, **unit}
            header["kinds"] = ["domain"] * 3
    nrrd.write(str(path), join_slabs(slabs), header, index_order="C")


def write_npy(path, slabs, shape, dtype, place):
    """Write z slabs as a NumPy file."""
    header = np.lib.format
    about = {"descr": header.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    with open(path, "wb") as file:
        header.write_array_header_1_0(file, about)
        for slab in slabs:
            file.write(np.ascontiguousarray(slab).data)


# Formats whose files hold several arrays, and those with pyramids or several images.
NAMED = (".h5", ".hdf5", ".zarr")
LEVELLED = (".tif", ".tiff", *NAMED)
JOINED = (".nii", ".nii.gz", ".nrrd")  # written at once, not slab by slab
FORMATS = {
    ".tif": (read_tiff, write_tiff),
    ".tiff": (read_tiff, write_tiff),
    ".h5": (read_hdf5, write_hdf5),
    ".hdf5": (read_hdf5, write_hdf5),
    ".zarr": (read_zarr, write_zarr),
    ".nii": (read_nifti, write_nifti),
    ".nii.gz": (read_nifti, write_nifti),
    ".nrrd": (read_nrrd, write_nrrd),
    ".npy": (read_npy, write_npy),
} | {suffix: (read_mrc, write_mrc) for suffix in mrc.SUFFIXES}


def kind_of(path):
    """Return the suffix by which a file's format is known, or None."""
    name = path.name.lower()
    return next(
        (kind for kind in sorted(FORMATS, key=len, reverse=True) if name.endswith(kind)), None
    )


def split_suffix(path):
    """Return a file's name without the suffix of its format, and that suffix, `.ome` included."""
    kind = kind_of(path) or path.suffix
    if path.name.lower().endswith(f".ome{kind}"):
        kind = f".ome{kind}"
    cut = len(path.name) - len(kind)
    return path.name[:cut], path.name[cut:]


def checked_kind(path):
    """Return the suffix by which a file's format is known, or raise ValueError."""
    kind = kind_of(path)
    others = "Fiji saves other files as Tiff; a folder of slices may hold .png"
    require(kind, "path", f"one of {', '.join(FORMATS)} ({others})", path)
    return kind
