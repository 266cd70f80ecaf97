"""How noisy the sections of a volume are."""

import numpy as np
from scipy import ndimage

from .plane_middle import middle_of_plane

SECTIONS = 8
# J. Immerkaer, "Fast noise variance estimation", 1996: the difference of two Laplacians, which
# smooth structures leave at 0, and what it multiplies the deviation of white noise by.
LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
GAIN = 6.0
# The standard deviation of a normal distribution, relative to its median absolute deviation.
NORMAL = 1.4826


def noise_of(volume):
    """Return the standard deviation of white noise, relative to that of the image.

    It is the median over some sections, so that a few bad ones do not count.

    Args:
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like, in memory or in a file.

    Returns:
        A number from 0 to about 1, for the noisiest channel; None where nothing can be measured.
    """
    depth, *plane = volume.shape[:3]
    middle = middle_of_plane(plane)
    found = []
    for z in np.unique(np.linspace(0, depth - 1, SECTIONS).round().astype(int)):
        section = np.asarray(volume[(int(z), *middle)]).astype(np.float32)
        if min(section.shape[:2]) >= 3 and np.ptp(section) > 0:
            channels = section[..., None] if section.ndim == 2 else section
            found.append(max(_noise(channels[..., c]) for c in range(channels.shape[-1])))
    return float(np.median(found)) if found else None


def _noise(section):
    """Return the noise of a section `(y, x)`, relative to its standard deviation."""
    deviation = section.std()
    if not deviation:
        return 0.0
    details = ndimage.convolve(section, LAPLACIANS)[1:-1, 1:-1]
    return NORMAL * np.median(np.abs(details)) / GAIN / deviation
