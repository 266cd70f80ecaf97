"""Whether a 2D or a 3D network suits a volume."""

from math import inf

from ..volumes.dimensions import plausible_size
from ..volumes.section_thickness import FARTHEST, section_thickness

# A 2D network suits sections more than so many times as thick as a pixel is wide, which show little
# of what lies between them, and stacks of fewer sections.
THICK_SECTIONS, FEWEST_SECTIONS = 3.0, 32


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
    if thickness is not None and thickness > THICK_SECTIONS:
        return 2, about
    if shape[0] < FEWEST_SECTIONS:
        return 2, f"the stack has {shape[0]} sections, fewer than {FEWEST_SECTIONS}"
    return 3, f"{about}, and the stack has {shape[0]} sections"
