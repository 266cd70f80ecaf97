"""Synthetic myelin drawn over a patch: dark tissue that is background."""

import numpy as np
from scipy import fft, ndimage

from ..volumes.labels import NOT_ANNOTATED


def add_sheath(image, label, seed):
    """Draw the sheath of a myelinated axon over a patch, in place; where annotated, as background.

    An elliptic tube around a random axis, grey between two dark outlines, thicker on one side; half
    of the tubes are filled with bright cytoplasm. Its texture and noise have the patch's own
    spectrum, so that only its shape and outline distinguish it from the foreground.

    Args:
        image: float32 (z, y, x) or (z, y, x, channels), standardised grey levels.
        label: (z, y, x) class ids.
        seed: integer that determines the sheath.
    """
    images = image.reshape(*image.shape[:3], -1)  # a view
    for channel in range(images.shape[3]):
        covered = draw_sheath(images[..., channel], seed)
    label[covered & (label != NOT_ANNOTATED)] = 0


def draw_sheath(image, seed):
    """Draw a sheath over one channel in place; return which voxels it covers."""
    rng = np.random.default_rng(seed)
    radius, side = rough_radius(rng, image.shape)
    thick = rng.uniform(6, 55) * (1 + np.float32(rng.uniform(0, 0.8)) * side)
    inside = radius - np.float32(rng.uniform(15, 75))
    outside = thick - inside
    rim = np.minimum(inside, outside)
    texture = shuffled(image, rng)
    smooth = ndimage.gaussian_filter(texture, 2)
    noise = texture - smooth
    stripes = np.cos(inside * np.float32(2 * np.pi / rng.uniform(3, 9)))
    grey = np.float32(rng.uniform(-1.5, -0.3)) + np.float32(rng.uniform(0.2, 0.7)) * smooth
    grey += np.float32(rng.uniform(0, 0.2)) * stripes
    for edge in (inside, outside):
        width, dark = rng.uniform(1.5, 8), np.float32(rng.uniform(-3, -1.7))
        grey += np.exp(-np.square(edge / np.float32(width) - 1)) * (dark - grey)
    soft = rng.uniform(2, 6)
    bright = np.float32(rng.uniform(0.3, 0.9)) + np.float32(0.4) * smooth
    filled = rng.random() < 0.5
    if filled:
        blend(image, -inside, bright + noise, soft)
    blend(image, rim, grey + noise, soft)
    return (rim > 0) | (filled & (inside < 0))


def blend(image, depth, grey, soft):
    """Put grey levels in an image where `depth` is positive, with an edge of `soft` voxels."""
    image += np.clip(depth / np.float32(soft) + np.float32(0.5), 0, 1) * (grey - image)


def shuffled(image, rng):
    """Return an image of the same spectrum without its structures: mean 0, random phases."""
    white = rng.standard_normal(image.shape, np.float32)
    spectrum = fft.rfftn(white)
    spectrum *= np.abs(fft.rfftn(image)) / np.maximum(np.abs(spectrum), 1e-9)
    spectrum[0, 0, 0] = 0
    return fft.irfftn(spectrum, image.shape)


def rough_radius(rng, shape):
    """Return every voxel's rippled, elliptic distance to a random line; and its side, -1 to 1."""
    centre = rng.uniform(0, shape)
    along = rng.standard_normal(3)
    across = np.linalg.svd(along[None])[2][1:]
    across[1] *= rng.uniform(0.7, 1.0)
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    offset = [(g - c).astype(np.float32) for g, c in zip(grid, centre, strict=True)]
    sides = [sum(np.float32(w) * o for w, o in zip(row, offset, strict=True)) for row in across]
    wave = np.float32(2 * np.pi / rng.uniform(60, 150))
    ripple = rng.uniform(0, 5) * sum(np.sin(wave * o) for o in offset)
    radius = np.hypot(*sides)
    return radius + ripple.astype(np.float32), sides[0] / np.maximum(radius, 1)
