"""Smooth the image of a noisy volume before a 3D network sees it."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from ..volumes.noise import noise_of
from ..volumes.section_thickness import section_thickness

# A volume is smoothed if its noise exceeds this, and that of the training volumes by this factor.
MIN_NOISE, MIN_NOISE_RATIO = 0.45, 1.25
SIGMA = 0.6  # pixels
# Where the Gaussian ends, in standard deviations; a sigma of fewer pixels than this counts as 0.
TRUNCATE, MIN_SIGMA = 3.0, 0.25
MAX_NOISE = 0.95  # noise above which the contrast of the image itself is not raised further


@dataclass(frozen=True)
class Denoising:
    """A Gaussian that smooths the image before the network sees it.

    Of all changes to an image, 3D networks tolerate white noise least, and it is easily removed: in
    three dimensions a Gaussian of 0.6 voxels leaves a third of it, and hardly changes objects. On
    the held-out part of EPFL, with a noise of 25 grey levels, it raises the Jaccard index of
    mito-3d from 0.59 to 0.91; without noise it changes the index by less than 0.001. Half of the
    gain comes from restoring the contrast that the network knows.

    Attributes:
        sigma: standard deviation (z, y, x), in voxels that the network sees; 0 for none.
        noise: as measured by `noise_of`; None if it was not measured.
    """

    sigma: tuple = (0.0, 0.0, 0.0)
    noise: float | None = None

    @classmethod
    def automatic(cls, volume, trained, scale=(1, 1, 1)):
        """Return the smoothing that suits the noise of a volume of one channel.

        Args:
            volume: see `noise_of`.
            trained: noise of the volumes that the network was trained on; None for no smoothing.
            scale: at which the network sees the volume; voxels averaged into one have less noise.
        """
        if trained is None or len(volume.shape) == 4 or (noise := noise_of(volume)) is None:
            return cls()
        noise *= min(1.0, math.sqrt(scale[1] * scale[2]))
        if noise <= max(MIN_NOISE, MIN_NOISE_RATIO * trained):
            return cls()
        return cls(sides(volume, SIGMA, scale=scale), noise)

    @classmethod
    def of_pixels(cls, volume, pixels, spatial_dims=3, scale=(1, 1, 1)):
        """Return the smoothing by a number of pixels.

        Args:
            volume: see `section_thickness`.
            pixels: standard deviation, in pixels that the network sees.
            spatial_dims: 2 for sections that do not mix.
            scale: see `automatic`.
        """
        if not pixels:
            return cls()
        noise = noise_of(volume) if len(volume.shape) == 3 else None
        return cls(sides(volume, pixels, spatial_dims, scale), noise)

    @property
    def contrast(self):
        """Factor that restores the contrast of the image after smoothing."""
        left = math.prod(map(left_of_noise, self.sigma))
        return (1 - (1 - left**2) * min(self.noise or 0.0, MAX_NOISE) ** 2) ** -0.5

    def __bool__(self):
        """Return whether anything is smoothed."""
        return any(self.sigma)

    def __str__(self):
        """One-line description."""
        size = " x ".join(f"{side:.2g}" for side in self.sigma)
        why = "" if self.noise is None else f": its noise is {self.noise:.2f} of its contrast"
        return f"The image is smoothed by a Gaussian of {size} voxels{why}"

    def __call__(self, tile):
        """Return a tile `(z, y, x)` or `(z, y, x, channels)` as float32, smoothed."""
        sigma = (*self.sigma, *(0,) * (tile.ndim - 3))
        image = np.asarray(tile, np.float32)
        return ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=TRUNCATE)


def sides(volume, pixels, spatial_dims=3, scale=(1, 1, 1)):
    """Return the standard deviations (z, y, x) of a Gaussian: less along z in thick sections.

    Args:
        volume: see `section_thickness`.
        pixels: standard deviation within sections.
        spatial_dims: 2 for sections that do not mix.
        scale: at which the network sees the volume.
    """
    thickness = section_thickness(volume) if spatial_dims == 3 else None
    seen = None if thickness is None else thickness * math.sqrt(scale[1] * scale[2]) / scale[0]
    along_z = 0.0 if seen is None else pixels / max(1.0, np.rint(seen))
    return tuple(float(side) if side >= MIN_SIGMA else 0.0 for side in (along_z, pixels, pixels))


@cache
def left_of_noise(sigma):
    """Return the share of white noise that a Gaussian along one axis leaves."""
    impulse = np.zeros(2 * math.ceil(TRUNCATE * sigma) + 3)
    impulse[len(impulse) // 2] = 1
    weights = ndimage.gaussian_filter1d(impulse, sigma, truncate=TRUNCATE) if sigma else impulse
    return float(np.sqrt(np.square(weights).sum()))
