"""Whether a 2D or a 3D network suits a stack."""

# A 2D network suits sections more than so many times as thick as a pixel is wide, which show little
# of what lies between them, and stacks of fewer sections.
THICK, FEW = 3.0, 32


def network_dims(shape, voxel_size=None):
    """Return the number of axes of the network that suits a stack, and why.

    Args:
        shape: `(z, y, x)` of the stack.
        voxel_size: `(z, y, x)` in nm, or None if unknown.

    Returns:
        2 or 3, and the reason in words.

    Example:
        >>> network_dims((100, 512, 512), (40, 6, 6))
        (2, 'sections of 40 nm are 6.7 times as thick as a pixel of 6 nm')
    """
    if voxel_size:
        thickness, pixel = voxel_size[0], min(voxel_size[1:])
        if (ratio := thickness / pixel) > THICK:
            return 2, (
                f"sections of {thickness:g} nm are {ratio:.1f} times as thick as a pixel of "
                f"{pixel:g} nm"
            )
    if shape[0] < FEW:
        return 2, f"the stack has {shape[0]} sections, fewer than {FEW}"
    if voxel_size:
        return 3, f"sections of {thickness:g} nm are at most {THICK:g} pixels of {pixel:g} nm thick"
    return 3, f"the stack has {shape[0]} sections, and its voxel size is unknown"
