"""Flips, rotations, deformation and grey-level changes of a patch and its labels, as drawn."""

from functools import partial

import numpy as np
from scipy import ndimage

from ..volumes.labels import NOT_ANNOTATED

# Standard deviation, in voxels, of the blur of the edge where stained objects end.
STAIN_EDGE = 1.5


def move_voxels(array, drawn, order):
    """Deform, flip and transpose an array that has `drawn.margin` voxels around it.

    Args:
        array: the patch, (z, y, x) or (z, y, x, channels), with its margin.
        drawn: a `Draw`.
        order: 1 for images (linear), 0 for labels (nearest).
    """
    if drawn.field is not None:
        array = deform(array, drawn.field, drawn.margin, order)
    array = np.flip(array, drawn.flips)
    if drawn.section and drawn.section.kind == "shifted":
        array, index = array.copy(), drawn.section.index
        shift = drawn.section.shift + (0,) * (array.ndim - 3)
        array[index] = ndimage.shift(array[index], shift, order=0, mode="nearest")
    return array.swapaxes(1, 2) if drawn.transpose else array


def deform(array, field, margin, order):
    """Sample an array at displaced coordinates; the margin is cut off."""
    shape = [size - 2 * m for size, m in zip(array.shape, margin, strict=False)]
    coordinates = np.indices(shape, np.float32)
    for axis, displacement in enumerate(field):
        coordinates[axis] += smooth_field(displacement, shape) + margin[axis]
    sample = partial(ndimage.map_coordinates, coordinates=coordinates, order=order, mode="nearest")
    if array.ndim == 3:
        return sample(array)
    return np.stack([sample(array[..., c]) for c in range(array.shape[3])], axis=-1)


def smooth_field(displacement, shape):
    """Interpolate control points linearly, axis by axis, to every voxel of `shape`."""
    for axis, size in enumerate(shape):
        points = displacement.shape[axis]
        where = np.linspace(0, points - 1, size, dtype=np.float32)
        left = np.minimum(where.astype(int), max(points - 2, 0))
        right = np.minimum(left + 1, points - 1)
        weight = (where - left).reshape([-1 if a == axis else 1 for a in range(3)])
        low, high = displacement.take(left, axis), displacement.take(right, axis)
        displacement = low + weight * (high - low)
    return displacement


def stain(image, label, staining):
    """Return an image with the grey levels of labelled objects shifted; the shift's edge is soft.

    Several sections must all be annotated: otherwise a shift shows which of them are.

    Args:
        image: float32 (z, y, x, channels), standardised grey levels.
        label: (z, y, x) class ids; 0 and `NOT_ANNOTATED` are left as they are.
        staining: seed, and the largest offset in standard deviations.
    """
    seed, amplitude = staining
    if not amplitude or len(label) > 1 and (label == NOT_ANNOTATED).any():
        return image
    offsets = np.random.default_rng(seed).uniform(-amplitude, amplitude, 256).astype(np.float32)
    offsets[[0, NOT_ANNOTATED]] = 0
    sigma = [STAIN_EDGE if size > 1 else 0 for size in label.shape]
    return image + ndimage.gaussian_filter(offsets[label], sigma)[..., None]


def change_intensities(image, drawn):
    """Change the grey levels of a standardised float32 image, of one or several channels."""
    if drawn.exponent != 1:
        # Within 4 standard deviations of the mean, where nearly all grey levels lie.
        unit = np.clip(image / 8 + 0.5, 0, 1)
        image = 8 * (unit**drawn.exponent - 0.5**drawn.exponent)
    if drawn.blur:
        sigma = [drawn.blur if size > 1 else 0 for size in image.shape[:3]]
        image = ndimage.gaussian_filter(image, sigma, truncate=3, axes=(0, 1, 2))
    image = image * np.float32(drawn.gain) + np.float32(drawn.offset)
    if drawn.shading is not None:
        field = smooth_field(drawn.shading, image.shape[:3])
        image += field.reshape(*field.shape, *[1] * (image.ndim - 3))
    seed, amplitude = drawn.noise
    rng = np.random.default_rng(seed)
    if amplitude:
        image += np.float32(amplitude) * rng.standard_normal(image.shape, np.float32)
        image /= np.float32(np.hypot(1, amplitude))
    if drawn.section and drawn.section.kind != "shifted":
        index, level = drawn.section.index, np.float32(drawn.section.level)
        clean = image[index] if drawn.section.kind == "noisy" else level
        image[index] = clean + rng.standard_normal(image.shape[1:], np.float32)
    return image
