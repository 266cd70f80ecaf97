"""All formats, by the suffix of their files, and the one that a path is read by."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ...errors import invalid, require
from .hdf5 import read_hdf5, write_hdf5
from .mrc import SUFFIXES, read_mrc, write_mrc
from .nifti import read_nifti, write_nifti
from .npy import read_npy, write_npy
from .nrrd import read_nrrd, write_nrrd
from .ome_zarr import read_zarr, write_zarr
from .slice_folder import find_slices, read_slices
from .tiff import read_tiff, write_tiff


@dataclass(frozen=True)
class Format:
    """How the files of a format are read and written.

    Attributes:
        read: from path, name of an array inside, level and series to a `Source`.
        write: of path, z slabs, shape, type and `Geometry`; None if it is only read.
        holds_arrays: whether a file has several, of which FILE::NAME is one.
        has_levels: whether there are pyramids, or several images.
        is_joined: whether a file is written at once, not slab by slab.
        holds_32_bits: whether it has integers that large.
    """

    read: Callable
    write: Callable | None
    holds_arrays: bool = False
    has_levels: bool = False
    is_joined: bool = False
    holds_32_bits: bool = True


TIFF = Format(read_tiff, write_tiff, has_levels=True)
HDF5 = Format(read_hdf5, write_hdf5, holds_arrays=True, has_levels=True)
ZARR = Format(read_zarr, write_zarr, holds_arrays=True, has_levels=True)
NIFTI = Format(read_nifti, write_nifti, is_joined=True)
NRRD = Format(read_nrrd, write_nrrd, is_joined=True)
MRC = Format(read_mrc, write_mrc, holds_32_bits=False)
FORMATS = {
    ".tif": TIFF,
    ".tiff": TIFF,
    ".h5": HDF5,
    ".hdf5": HDF5,
    ".hdf": HDF5,
    ".zarr": ZARR,
    ".nii": NIFTI,
    ".nii.gz": NIFTI,
    ".nrrd": NRRD,
    ".nhdr": replace(NRRD, write=None),
    ".npy": Format(read_npy, write_npy),
    **dict.fromkeys(SUFFIXES, MRC),
}
# What a folder of Zarr holds, whatever its name.
ZARR_FILES = (".zarray", ".zgroup", "zarr.json")


def suffixes_with(has):
    """Return the suffixes of formats that have an attribute, a list.

    Args:
        has: its name.
    """
    return [suffix for suffix, row in FORMATS.items() if getattr(row, has)]


def suffixes(has):
    """Return what `suffixes_with` does, as text."""
    return ", ".join(suffixes_with(has))


def format_suffix(path):
    """Return the suffix by which a file's format is known, or None."""
    name = path.name.lower()
    return next(
        (kind for kind in sorted(FORMATS, key=len, reverse=True) if name.endswith(kind)), None
    )


def split_suffix(path):
    """Return a file's name without the suffix of its format, and that suffix, `.ome` included."""
    kind = format_suffix(path) or path.suffix
    if path.name.lower().endswith(f".ome{kind}"):
        kind = f".ome{kind}"
    cut = len(path.name) - len(kind)
    return path.name[:cut], path.name[cut:]


def checked_suffix(path, name="path"):
    """Return the suffix by which a file's format is known, or raise ValueError naming the file."""
    kind = format_suffix(path)
    others = "Fiji saves other files as Tiff; .png are read as a folder, of one or more sections"
    require(kind, name, f"one of {', '.join(FORMATS)} ({others})", path)
    return kind


def checked_output_suffix(path):
    """Return what `checked_suffix` does, or raise ValueError for a format that is only read."""
    kind = format_suffix(path)
    require(kind and FORMATS[kind].write, "output", f"one of {suffixes('write')}", path)
    return kind


def read_source(path, inside, level, series=None):
    """Return the `Source` of a file, a folder of slices or a pattern."""
    kind = format_suffix(path)
    if kind is None and path.is_dir() and any((path / name).is_file() for name in ZARR_FILES):
        around = [folder for folder in path.parents if folder.suffix == ".zarr"]
        if around:  # a part of an image, which describes its axes
            inside = "/".join(filter(None, [path.relative_to(around[-1]).as_posix(), inside]))
        path, kind = around[-1] if around else path, ".zarr"
    if (path / "attributes.json").is_file() and kind is None:
        fiji = "Fiji opens it with File > Import > HDF5/N5/Zarr and saves it as TIFF"
        raise invalid("path", f"Zarr, HDF5 or TIFF: N5 is not read, but {fiji}", path)
    are_slices = "*" in path.name or path.is_dir() and kind != ".zarr"
    if not are_slices:
        require(path.exists(), "path", "a file or folder that exists", path, FileNotFoundError)
        kind = kind or checked_suffix(path)
    expected = f"FILE::NAME for {suffixes('holds_arrays')} only"
    good = not inside or kind and FORMATS[kind].holds_arrays and not are_slices
    require(good, "path", expected, f"{path}::{inside}")
    for name, value in (("level", level), ("series", series)):
        good = not value or kind and FORMATS[kind].has_levels and not are_slices
        require(good, name, f"0 for {path}, which has only one", value)
    if are_slices:
        return read_slices(find_slices(path))
    return FORMATS[kind].read(path, inside, level, series)
