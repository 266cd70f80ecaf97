"""Dark tissue that is not what is searched for, drawn over a patch."""

import numpy as np
from scipy import ndimage


def add_sheath(image, label, seed):
    """Draw the sheath of a myelinated axon over a patch and label it background, in place.

    An elliptic tube around a random axis, of grey levels between those of membranes and of
    mitochondria, striped along its radius, with dark rims; what it surrounds stays as it is.

    Args:
        image: float32 (z, y, x), standardised grey levels.
        label: (z, y, x) class ids.
        seed: integer that the sheath is a function of.
    """
    rng = np.random.default_rng(seed)
    radius = rough_radius(rng, image.shape)
    inner, thickness = rng.uniform(8, 45), rng.uniform(6, 32)
    rim = np.minimum(radius - inner, inner + thickness - radius)
    cover = np.clip(rim + 0.5, 0, 1)
    stripes = np.cos(radius * np.float32(2 * np.pi / rng.uniform(2.5, 8)))
    sigma = rng.uniform(0.6, 1.5)
    grain = ndimage.gaussian_filter(rng.standard_normal(image.shape, np.float32), sigma)
    grey = rng.uniform(-2.0, -0.6) + rng.uniform(0, 0.5) * stripes
    grey += rng.uniform(0.2, 0.5) / grain.std() * grain
    grey -= rng.uniform(0.3, 1.2) * np.exp(-np.square(rim / 2))
    image += cover * (grey - image)
    label[rim > 0] = 0


def rough_radius(rng, shape):
    """Return every voxel's distance, in voxels, to a random line, rippled and elliptic."""
    centre = rng.uniform(0, shape)
    along = rng.standard_normal(3)
    across = np.linalg.svd(along[None])[2][1:]
    across[1] *= rng.uniform(0.7, 1.0)
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    offset = [(g - c).astype(np.float32) for g, c in zip(grid, centre, strict=True)]
    sides = [sum(np.float32(w) * o for w, o in zip(row, offset, strict=True)) for row in across]
    wave = np.float32(2 * np.pi / rng.uniform(60, 150))
    ripple = rng.uniform(0, 4) * sum(np.sin(wave * o) for o in offset)
    return np.hypot(*sides) + ripple.astype(np.float32)
