"""Volumes with other voxels."""

import numpy as np
from skimage.transform import resize

from .labels import NOT_ANNOTATED


def resample(image, scale):
    """Return grey levels with other voxels, by linear interpolation, smoothed where they get fewer.

    Args:
        image: `(z, y, x)` or `(z, y, x, channels)` grey levels.
        scale: number of new voxels for one, along (z, y, x).

    Returns:
        An array of the image's type.
    """
    image = np.asarray(image)
    grey = _resized(image.astype(np.float32), scale, 1, anti_aliasing=min(scale) < 1)
    return (np.rint(grey) if image.dtype.kind in "iu" else grey).astype(image.dtype)


def resample_labels(label, scale):
    """Return the class ids `(z, y, x)` that are nearest to new voxels; `scale` as in `resample`.

    Of sections that get fewer, those stay that are annotated.
    """
    label = np.asarray(label)
    depth = max(1, round(len(label) * scale[0]))
    ratio = depth / len(label)
    nearest = np.rint((np.arange(depth) + 0.5) / ratio - 0.5).astype(int)
    nearest = np.clip(nearest, 0, len(label) - 1)
    annotated = (label != NOT_ANNOTATED).any(axis=(1, 2))
    for z in np.flatnonzero(annotated):
        place = int((z + 0.5) * ratio)
        if not annotated[nearest[place]]:
            nearest[place] = z
    return _resized(label[nearest], (1, *scale[1:]), 0)


def _resized(array, scale, order, anti_aliasing=False):
    """Return a resampled array; it works plane by plane if the thickness does not change."""
    shape = [max(1, round(n * s)) for n, s in zip(array.shape, scale, strict=False)]
    shape += array.shape[3:]
    options = {"order": order, "mode": "edge", "preserve_range": True}
    options["anti_aliasing"] = anti_aliasing
    if scale[0] != 1:
        return resize(array, shape, **options).astype(array.dtype)
    out = np.empty(shape, array.dtype)
    for plane, into in zip(array, out, strict=True):
        into[...] = resize(plane, shape[1:], **options)
    return out
