"""Whether a 2D or a 3D network suits a volume."""

from math import inf

from ..volumes.dimensions import plausible_size
from ..volumes.section_thickness import FARTHEST, section_thickness

# A 2D network suits sections more than this many times as thick as a pixel is wide, which show
# little of what lies between them, and stacks of fewer sections than this.
THICK_SECTIONS, FEWEST_SECTIONS = 3.0, 32


def dims_for(volume, voxel_size=None):
    """Return `network_dims` of a stack, measured if its voxel size is unknown.

    Voxel sizes that are implausible for micrographs of tissue count as unknown.

    Args:
        volume: see `section_thickness`.
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
    reason = "the voxel size is unknown"
    if voxel_size:
        depth, pixel = voxel_size[0], min(voxel_size[1:])
        thickness = depth / pixel
        reason = f"sections of {depth:g} nm are {thickness:.1f} times as thick as a pixel is wide"
    elif thickness is not None:
        many = f"{thickness:.1f}" if thickness < inf else f"more than {FARTHEST}"
        reason = f"by how fast the image changes, sections are {many} pixels thick"
    if thickness is not None and thickness > THICK_SECTIONS:
        return 2, reason
    if shape[0] < FEWEST_SECTIONS:
        count = f"{shape[0]} section{'s' * (shape[0] != 1)}"
        return 2, f"the stack has {count}, fewer than {FEWEST_SECTIONS}"
    return 3, f"{reason}, and the stack has {shape[0]} sections"
