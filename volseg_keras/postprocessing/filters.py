"""Filters of label maps: median, small objects, holes."""

import cc3d
import numpy as np
from scipy import ndimage

from ..errors import require
from ..volumes.labels import distinct_values

# Voxels are connected by faces, in objects and in the background.
CONNECTIVITY = 6


def median(volume, size=3):
    """Filter a volume by the median of every voxel's neighbourhood.

    For class ids this is the majority vote of the neighbourhood, which for two classes is the
    median; in a tie the lower class wins. Volumes are mirrored at their border.

    Args:
        volume: `(z, y, x)` probabilities, or class ids of few classes.
        size: side of the neighbourhood in voxels, odd, or three (z, y, x).

    Returns:
        An array of the shape and type of `volume`.

    Raises:
        ValueError: a side is not odd.
    """
    volume = np.asarray(volume)
    sizes = np.broadcast_to(size, 3)
    good = sizes.dtype.kind in "ui" and (sizes % 2 == 1).all() and (sizes >= 1).all()
    require(good, "size", "odd sides", f"{size=}")
    if volume.dtype.kind == "f":
        exact = volume.astype(np.float32) if volume.dtype == np.float16 else volume
        return ndimage.median_filter(exact, tuple(sizes)).astype(volume.dtype, copy=False)
    kind = np.min_scalar_type(int(np.prod(sizes)))
    result, most = np.zeros_like(volume), np.zeros(volume.shape, kind)
    for label in distinct_values(volume):
        votes = (volume == label).astype(kind)
        for axis, side in enumerate(sizes):
            votes = ndimage.correlate1d(votes, np.ones(side), axis)
        result[votes > most] = label
        np.maximum(votes, most, out=most)
    return result


def remove_small(labels, min_size):
    """Set connected components of fewer than `min_size` voxels to 0.

    Args:
        labels: `(z, y, x)` class ids or instances; a component has one label.
        min_size: the smallest size that is kept.
    """
    labels = np.asarray(labels)
    kept = cc3d.dust(writable(labels), min_size, connectivity=CONNECTIVITY)
    return kept.astype(labels.dtype, copy=False)


def fill_holes(labels):
    """Fill the holes of objects with their labels.

    A hole is background that touches neither the volume's border (for a single section, its edges)
    nor more than one label.

    Args:
        labels: `(z, y, x)` class ids or instances. Another six bytes of memory per voxel
            are needed.
    """
    labels = np.array(labels)
    holes = cc3d.connected_components(labels == 0, connectivity=CONNECTIVITY)
    first = int(len(labels) == 1)  # a single section has no border along z
    for i, box in enumerate(ndimage.find_objects(holes), 1):
        if touches_border(box[first:], labels.shape[first:]):
            continue
        box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
        hole = holes[box] == i
        around = distinct_values(labels[box][ndimage.binary_dilation(hole) & ~hole])
        if len(around) == 1:
            labels[box][hole] = around[0]
    return labels


def writable(labels):
    """Return labels as cc3d needs them: writable integers in native byte order."""
    whole = labels.view(np.uint8) if labels.dtype == bool else labels
    return np.require(whole, whole.dtype.newbyteorder("="), "W")


def touches_border(box, shape):
    """Return whether a bounding box, a tuple of slices, touches the border of a volume."""
    return any(s.start == 0 or s.stop == n for s, n in zip(box, shape, strict=True))
