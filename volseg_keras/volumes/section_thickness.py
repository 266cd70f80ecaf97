"""How thick the sections of a stack are, in pixels, by how fast its image changes."""

import numpy as np

from .plane_middle import middle_of_plane

# Pairs of neighbouring sections that are compared, sections that are shifted, and the farthest
# shift in pixels.
PAIRS, SHIFTED, FARTHEST = 12, 4, 32


def section_thickness(volume):
    """Return the thickness of a section in pixels: 1 for isotropic voxels.

    The mean absolute difference of neighbouring sections is looked up among those of the image and
    itself shifted within its plane. White noise adds to both alike. What is measured is how much
    neighbouring sections have in common: sections that are badly aligned count as thicker.

    Source: J. Sporring et al., *Estimating the thickness of ultra thin sections for electron
    microscopy by image statistics*, ISBI 2014.

    Args:
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like, in memory or in a file.

    Returns:
        A number; infinity where sections have nothing in common, None where nothing can be
        measured, as in a single section.

    Example:
        >>> section_thickness(volume[::8]) / section_thickness(volume)  # about 8
    """
    pairs = [pair for pair in _pairs(volume) if all(np.ptp(section) > 0 for section in pair)]
    if not pairs or min(pairs[0][0].shape[:2]) < 2:
        return None
    across = np.median([np.abs(after - before).mean() for before, after in pairs])
    shifts = range(1, min(FARTHEST, min(pairs[0][0].shape[:2]) - 1) + 1)
    shifted = [before for before, _ in pairs[:: -(-len(pairs) // SHIFTED)]]
    less = 0.0
    for shift in shifts:
        change = np.mean([_change(section, shift) for section in shifted])
        if change >= across:
            return float(shift - (change - across) / (change - less))
        less = max(less, change)
    return float("inf")


def _pairs(volume):
    """Yield the middles of pairs of neighbouring sections, as float32, spread over a volume."""
    depth, *plane = volume.shape[:3]
    middle = middle_of_plane(plane)
    for z in np.unique(np.linspace(0, depth - 2, PAIRS).round().astype(int)) if depth > 1 else ():
        yield np.asarray(volume[(slice(int(z), int(z) + 2), *middle)]).astype(np.float32)


def _change(section, shift):
    """Return the mean absolute difference of a section and itself, shifted along y and along x."""
    along_y = np.abs(section[shift:] - section[:-shift]).mean()
    along_x = np.abs(section[:, shift:] - section[:, :-shift]).mean()
    return (along_y + along_x) / 2
