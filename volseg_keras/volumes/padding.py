"""Constant padding of a volume: where it is, and the mirrored image that takes its place.

Padding is not tissue: a frame around an aligned stack, blank sections, sections that were lost.
"""

import numpy as np

# This many equal voxels in a row along x are not tissue.
RUN = 16
# A block's sections are blank if they are constant and at least so wide.
BLANK = 64
# How many voxels of a row may lie beyond the edge of a block.
BEYOND = 12


def find_padding(block, levels):
    """Return where a block of a volume is padding, of the block's shape; None if nowhere.

    Args:
        block: `(z, y, x)` or `(z, y, x, channels)` intensities.
        levels: intensities that are padding where at least `RUN` voxels in a row have them.
            Constant sections are padding in any case, unless a side is shorter than `BLANK`.
    """
    found = None
    for level in levels:
        alike = block == np.asarray(level).astype(block.dtype)
        if alike.any():
            width = [(0, 0)] * alike.ndim
            width[2] = (BEYOND, BEYOND)
            rows = in_rows(np.pad(alike, width, mode="edge"), RUN)[:, :, BEYOND:-BEYOND]
            found = rows if found is None else found | rows
    if min(block.shape[1:3]) >= BLANK:
        blank = (block == block[:, :1, :1]).all(axis=(1, 2), keepdims=True)
        if blank.any():
            found = np.broadcast_to(blank, block.shape) if found is None else found | blank
    return found


def fill_padding(image, padded, value):
    """Return a block with the mirrored image in place of padding.

    Args:
        image: `(z, y, x)` or `(z, y, x, channels)` intensities.
        padded: where they are padding, of the same shape.
        value: of padding that is farther away from the image than the image is wide.
    """
    filled = np.where(padded, value, image)
    known = ~padded
    for plane, seen in zip(filled, known, strict=True):
        if seen.any() and not seen.all():
            for axis in (1, 0):
                seen = _mirror(plane, seen, axis)
    _mirror(filled, known.any(axis=(1, 2), keepdims=True), 0)
    return filled


def _mirror(image, known, axis):
    """Fill unknown voxels in place by mirroring the known ones along an axis.

    Thus a frame around an image has the same effect on a network as the border of a file. Voxels
    farther away than the image is wide are not changed.

    Args:
        image: an array.
        known: where its voxels are known; of the same shape, or of one that broadcasts to it.
        axis: of both.

    Returns:
        Where voxels are known then, of the shape of `known`.
    """
    size = known.shape[axis]
    place = np.arange(size, dtype=np.int32)
    place = place.reshape([-1 if a == axis else 1 for a in range(known.ndim)])
    before = np.maximum.accumulate(np.where(known, place, -size), axis)
    after = np.where(known, place, 2 * size)
    after = np.flip(np.minimum.accumulate(np.flip(after, axis), axis), axis)
    nearest = np.where(place - before <= after - place, before, after)
    mirrored = 2 * nearest - place
    inside = (mirrored >= 0) & (mirrored < size)
    mirrored = np.where(inside, mirrored, 0)
    filled = ~known & inside & np.take_along_axis(known, mirrored, axis)
    if filled.any():
        values = np.take_along_axis(image, mirrored, axis)
        np.copyto(image, values, where=filled)
    return known | filled


def in_rows(mask, length):
    """Return where a mask holds in at least `length` voxels in a row along axis 2."""
    # Erosion and dilation by doubling: a few passes whatever the length.
    shifts, covered = [], 1
    while covered < length:
        shifts.append(min(covered, length - covered))
        covered += shifts[-1]
    for shift in shifts:
        mask = mask[:, :, :-shift] & mask[:, :, shift:]
    for shift in shifts:
        grown = np.zeros((*mask.shape[:2], mask.shape[2] + shift, *mask.shape[3:]), bool)
        grown[:, :, :-shift] = mask
        grown[:, :, shift:] |= mask
        mask = grown
    return mask
