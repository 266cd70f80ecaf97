"""Axes and channels of a volume, and whether a 2D or a 3D network suits it."""

from math import inf, isfinite, isnan

from ..errors import require
from .geometry import in_nm
from .section_thickness import FARTHEST, section_thickness

# A 2D network suits sections more than so many times as thick as a pixel is wide, which show little
# of what lies between them, and stacks of fewer sections.
THICK, FEW = 3.0, 32
# Sides of a voxel in nm, in electron microscopy of tissue.
LEAST, MOST = 0.3, 1e4


def check_axes(volume):
    """Raise ValueError unless a volume has the axes (z, y, x) or (z, y, x, channels)."""
    shape = tuple(volume.shape)
    expected = "axes (z, y, x) or (z, y, x, channels)"
    require(len(shape) in (3, 4), "volume", expected, f"shape {shape}")


def lacks_thickness(volume):
    """Return whether a `Volume` has pixels as of tissue, but no thickness of its sections."""
    place = getattr(volume, "geometry", None)
    if place is None or place.voxel or not (scale := in_nm(place.unit)):
        return False
    thick, *sides = place.sides
    return isnan(thick) and all(LEAST <= scale * side <= MOST for side in sides)


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
    good = voxel_size and all(LEAST <= side <= MOST for side in voxel_size)
    return voxel_size if good else None


def dims_for(volume, voxel_size=None):
    """Return `network_dims` of a stack; what its voxel size does not tell is measured.

    Voxel sizes that no micrograph of tissue has count as unknown.

    Args:
        volume: as of `section_thickness`.
        voxel_size: `(z, y, x)` in nm, or None if unknown.
    """
    voxel_size = plausible_size(voxel_size)
    thickness = None if voxel_size else section_thickness(volume)
    return network_dims(volume.shape[:3], voxel_size, thickness)


def network_dims(shape, voxel_size=None, thickness=None):
    """Return the number of axes of the network that suits a stack, and why.

    Args:
        shape: `(z, y, x)` of the stack.
        voxel_size: `(z, y, x)` in nm, or None if unknown.
        thickness: of a section in pixels, if it was measured, see `section_thickness`.

    Returns:
        2 or 3, and the reason in words.

    Example:
        >>> network_dims((100, 512, 512), (40, 6, 6))
        (2, 'sections of 40 nm are 6.7 times as thick as a pixel is wide')
    """
    about = "the voxel size is unknown"
    if voxel_size:
        depth, pixel = voxel_size[0], min(voxel_size[1:])
        thickness = depth / pixel
        about = f"sections of {depth:g} nm are {thickness:.1f} times as thick as a pixel is wide"
    elif thickness is not None:
        many = f"{thickness:.1f}" if thickness < inf else f"more than {FARTHEST}"
        about = f"by how fast the image changes, sections are {many} pixels thick"
    if thickness is not None and thickness > THICK:
        return 2, about
    if shape[0] < FEW:
        return 2, f"the stack has {shape[0]} sections, fewer than {FEW}"
    return 3, f"{about}, and the stack has {shape[0]} sections"


def check_shape(image, label):
    """Raise ValueError unless labels are of the shape (z, y, x) of an image."""
    shape = tuple(image.shape)
    good = len(shape) in (3, 4) and shape[:3] == tuple(label.shape)
    expected = f"the shape (z, y, x) of `image`, {shape}"
    require(good, "label", expected, f"shape {tuple(label.shape)}")
