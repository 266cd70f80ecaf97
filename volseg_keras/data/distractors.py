"""Dark tissue that is not what is searched for, drawn over a patch."""

import numpy as np
from scipy import ndimage


def add_sheath(image, label, seed, donor=None):
    """Draw the sheath of a myelinated axon over a patch and label it background, in place.

    An elliptic tube around a random axis with dark rims; what it surrounds stays as it is. It keeps
    the image's own noise, and where a donor is foreground takes its grey levels, so that neither
    noise nor texture tells it from the foreground, but form does.

    Args:
        image: float32 (z, y, x) or (z, y, x, channels), standardised grey levels.
        label: (z, y, x) class ids.
        seed: integer that the sheath is a function of.
        donor: `(image, label)` of another place, of the same shape.
    """
    images = image.reshape(*image.shape[:3], -1)  # a view
    greys = donor and donor[0].reshape(images.shape)
    for channel in range(images.shape[3]):
        grey = donor and (greys[..., channel], donor[1])
        rim = draw_sheath(images[..., channel], seed, grey)
    label[rim > 0] = 0


def draw_sheath(image, seed, donor):
    """Draw a sheath over one channel in place; return the voxels' depth in it, `rim`."""
    rng = np.random.default_rng(seed)
    radius = rough_radius(rng, image.shape)
    inner, thickness = rng.uniform(6, 70), rng.uniform(5, 60)
    rim = np.minimum(radius - inner, inner + thickness - radius)
    stripes = np.cos(radius * np.float32(2 * np.pi / rng.uniform(2.5, 8)))
    cloud = rng.standard_normal([max(1, n // 3) for n in image.shape], np.float32)
    cloud = ndimage.zoom(cloud, np.divide(image.shape, cloud.shape), order=1, mode="nearest")
    noise = image - ndimage.gaussian_filter(image, rng.uniform(1, 2))
    grey = noise + np.float32(rng.uniform(-1.8, -0.5)) + np.float32(rng.uniform(0, 0.4)) * stripes
    grey += np.float32(rng.uniform(0, 0.4)) * cloud
    if donor is not None:
        grey = np.where(donor[1] > 0, donor[0], grey)
    outline = np.exp(-np.square(rim / np.float32(rng.uniform(1, 9))))
    grey += np.float32(rng.uniform(0.2, 1)) * outline * (noise + np.float32(-2.2) - grey)
    image += np.clip(rim + 0.5, 0, 1) * (grey - image)
    return rim


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
    ripple = rng.uniform(0, 8) * sum(np.sin(wave * o) for o in offset)
    return np.hypot(*sides) + ripple.astype(np.float32)
