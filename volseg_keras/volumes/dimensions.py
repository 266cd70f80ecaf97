"""Axes, channels and voxel size of a volume."""

from math import isfinite, isnan

import numpy as np

from ..errors import require
from .geometry import in_nm
from .section_thickness import section_thickness

# Sides of a voxel in nm, in electron microscopy of tissue.
VOXEL_SIDE_RANGE = 0.3, 1e4


def check_axes(volume):
    """Raise ValueError unless a volume has the axes (z, y, x) or (z, y, x, channels)."""
    shape = tuple(volume.shape)
    expected = "axes (z, y, x) or (z, y, x, channels)"
    require(len(shape) in (3, 4) and all(shape), "volume", expected, f"shape {shape}")
    good = np.dtype(volume.dtype).kind in "uifb"
    require(good, "volume", "integers, floats or booleans", f"dtype {volume.dtype}")


def lacks_thickness(volume):
    """Return whether a `Volume` has pixels of a size of tissue, but no section thickness."""
    geometry = getattr(volume, "geometry", None)
    if geometry is None or geometry.given_voxel_size or not (scale := in_nm(geometry.unit)):
        return False
    thick, *sides = geometry.sides
    return isnan(thick) and all(_is_plausible(scale * side) for side in sides)


def known_voxel_size(volume):
    """Return the voxel size of a volume, `(z, y, x)` in nm, or None if it is unknown.

    Where a file states the size of its pixels alone, the thickness of sections is measured, see
    `section_thickness`, if it can be.

    Args:
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like; a `Volume` has a voxel size.
    """
    if not lacks_thickness(volume):
        return getattr(volume, "voxel_size", None)
    unit = in_nm(volume.geometry.unit)
    pixel = tuple(unit * side for side in volume.geometry.sides[1:])
    thickness = section_thickness(volume)
    return (thickness * min(pixel), *pixel) if thickness and isfinite(thickness) else None


def channels_of(image):
    """Return how many channels an image `(z, y, x)` or `(z, y, x, channels)` has."""
    return image.shape[3] if len(image.shape) == 4 else 1


def plausible_size(voxel_size):
    """Return a voxel size, `(z, y, x)` in nm, or None for one that no micrograph of tissue has.

    Programs write 1 mm or 1 angstrom where they know none.
    """
    good = voxel_size and all(map(_is_plausible, voxel_size))
    return voxel_size if good else None


def _is_plausible(side):
    low, high = VOXEL_SIDE_RANGE
    return low <= side <= high


def check_shape(image, label):
    """Raise ValueError unless labels are of the shape (z, y, x) of an image."""
    shape = tuple(image.shape)
    good = len(shape) in (3, 4) and shape[:3] == tuple(label.shape)
    expected = f"the shape (z, y, x) of `image`, {shape}"
    require(good, "label", expected, f"shape {tuple(label.shape)}")


def check_shapes(image, /, of="image", **others):
    """Raise ValueError unless `image` has axes (z, y, x) and the others have its shape.

    Args:
        image: array-like.
        of: its name in messages.
        **others: array-likes, or None, by their names in messages.
    """
    shape = tuple(image.shape)
    require(len(shape) == 3, of, "shape (z, y, x)", f"shape {shape}")
    for name, other in others.items():
        found = shape if other is None else tuple(other.shape)
        require(found == shape, name, f"the shape {shape} of `{of}`", f"shape {found}")


def check_integers(**labels):
    """Raise ValueError unless the array-likes that are not None hold integers or booleans."""
    for name, array in labels.items():
        if array is not None:
            good = np.dtype(array.dtype).kind in "uib"
            require(good, name, "integers", f"dtype {array.dtype}")
