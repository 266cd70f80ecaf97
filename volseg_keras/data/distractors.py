"""Dark tissue that is not what is searched for, drawn over a patch."""

import numpy as np
from scipy import fft, ndimage


def add_distractor(image, label, seed, draw):
    """Draw over a patch what is not searched for and label it background, in place.

    Args:
        image: float32 (z, y, x) or (z, y, x, channels), standardised grey levels.
        label: (z, y, x) class ids.
        seed: integer that the drawing is a function of.
        draw: `draw_sheath` or `draw_body`.
    """
    images = image.reshape(*image.shape[:3], -1)  # a view
    for channel in range(images.shape[3]):
        covered = draw(images[..., channel], np.random.default_rng(seed))
    label[covered] = 0


def draw_sheath(image, rng):
    """Draw the sheath of a myelinated axon; return which voxels it covers.

    An elliptic tube around a random axis, grey between two dark outlines, thicker on one side; half
    of the tubes hold nothing but bright cytoplasm. Its texture and noise have the patch's own
    spectrum, so that form and outline tell it from the foreground.
    """
    radius, side = rough_radius(rng, image.shape)
    thick = rng.uniform(6, 55) * (1 + np.float32(rng.uniform(0, 0.8)) * side)
    inside = radius - np.float32(rng.uniform(15, 75))
    outside = thick - inside
    rim = np.minimum(inside, outside)
    smooth, noise = texture(image, rng)
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
        cover(image, -inside, bright + noise, soft)
    cover(image, rim, grey + noise, soft)
    return (rim > 0) | (filled & (inside < 0))


def draw_body(image, rng):
    """Draw a dense body, such as a lysosome; return which voxels it covers.

    A rough ellipsoid, darker and smoother inside than mitochondria are.
    """
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    radii = rng.uniform(8, 32, 3)
    sides = across(rng.uniform(0, image.shape), axes / radii[:, None], image.shape)
    depth = np.float32(radii.min()) * (1 - np.sqrt(sum(np.square(side) for side in sides)))
    smooth, noise = texture(image, rng)
    depth += np.float32(rng.uniform(0, 6)) * ndimage.gaussian_filter(smooth, 3)
    grey = np.float32(rng.uniform(-2.5, -1.4)) + np.float32(rng.uniform(0.05, 0.3)) * smooth
    cover(image, depth, grey + noise, rng.uniform(2, 6))
    return depth > 0


def cover(image, depth, grey, soft):
    """Put grey levels in an image where `depth` is positive, with an edge of `soft` voxels."""
    image += np.clip(depth / np.float32(soft) + np.float32(0.5), 0, 1) * (grey - image)


def texture(image, rng):
    """Return texture and noise of an image's own spectrum, of random phases and so of no form."""
    white = rng.standard_normal(image.shape, np.float32)
    spectrum = fft.rfftn(white)
    spectrum *= np.abs(fft.rfftn(image)) / np.maximum(np.abs(spectrum), 1e-9)
    spectrum[0, 0, 0] = 0
    shuffled = fft.irfftn(spectrum, image.shape)
    smooth = ndimage.gaussian_filter(shuffled, 2)
    return smooth, shuffled - smooth


def across(centre, axes, shape):
    """Return the coordinates of every voxel from a centre, along each of some axes."""
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    offset = [(g - c).astype(np.float32) for g, c in zip(grid, centre, strict=True)]
    return [sum(np.float32(w) * o for w, o in zip(row, offset, strict=True)) for row in axes]


def rough_radius(rng, shape):
    """Return every voxel's distance, in voxels, to a random line, rippled and elliptic.

    And, from -1 to 1, on which side of the line it is.
    """
    centre = rng.uniform(0, shape)
    axes = np.linalg.svd(rng.standard_normal((1, 3)))[2]
    axes[2] *= rng.uniform(0.7, 1.0)
    sides = across(centre, axes[1:], shape)
    wave = np.float32(2 * np.pi / rng.uniform(60, 150))
    phases = across(centre, np.eye(3), shape)
    ripple = np.float32(rng.uniform(0, 5)) * sum(np.sin(wave * phase) for phase in phases)
    radius = np.hypot(*sides)
    return radius + ripple, sides[0] / np.maximum(radius, 1)
