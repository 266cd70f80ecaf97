"""NIfTI files, also compressed."""

import gzip
import math

import numpy as np

from ..geometry import RAS, Geometry, as_tuples, geometry_of, in_nm
from .slabs import join_slabs
from .source import DEFLATE, AsType, Source

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
    # nibabel reads float64 where it scales.
    array = AsType(data, data.dtype if plain else np.dtype(np.float32), chunks)
    return Source("XYZTC"[:dims], array, nifti_geometry(image))


def nifti_geometry(image):
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
        raise ValueError(f"the file is truncated: expected {size} bytes from byte {start}")


def write_nifti(path, slabs, shape, dtype, geometry):
    """Write z slabs, joined in memory, as a NIfTI-1 file, or NIfTI-2 if a side is too long."""
    import nibabel

    data = join_slabs(slabs).T
    geometry = geometry and geometry.with_implied_unit("mm", "um", "m")
    geometry = geometry.in_unit("mm", "um", "m") if geometry and in_nm(geometry.unit) else geometry
    if not geometry or not np.isfinite(geometry.steps).all():
        geometry = Geometry.straight((1, 1, 1), None)
    geometry, affine = geometry.in_space(RAS), np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.array(geometry.steps)[::-1].T, geometry.origin
    plain = geometry.codes == (0, 0)  # readers then ignore the affine
    kind = nibabel.Nifti1Image if max(shape) <= NIFTI_1_SIDE else nibabel.Nifti2Image
    image = kind(data, None if plain else affine, dtype=data.dtype)
    if plain:
        image.header.set_zooms(geometry.sides[::-1])
    elif geometry.codes:
        image.set_sform(affine, geometry.codes[1])
        image.set_qform(affine, geometry.codes[0])
    names = {1e6: "mm", 1e3: "micron", 1e9: "meter"}
    image.header.set_xyzt_units(names.get(in_nm(geometry.unit), "unknown"))
    image.to_filename(path)
