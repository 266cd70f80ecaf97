"""Label maps as files hold them: class ids, masks of two grey levels, integers of any type."""

import hashlib
import warnings

import numpy as np

from ..errors import invalid, listed, require
from .counting import counts_of

NOT_ANNOTATED = 255  # beside other labels
MANY = 20  # more classes are likely to be a mistake
# Two labels below it are class ids, two others are the grey levels of a mask.
FEWEST_GREY_LEVELS = 32


def whole_numbers(labels, name="label"):
    """Return labels as integers, whatever type a program gave them.

    Args:
        labels: array-like of integers, booleans, or floats without fractions.
        name: what an error calls them.

    Raises:
        ValueError: a label has a fraction, as probabilities have, or is not finite.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind != "f":
        return labels
    for plane in labels if labels.ndim else labels[None]:
        wrong = ~(np.isfinite(plane) & (plane == np.rint(plane)))
        if wrong.any():
            expected = "integers of any type (threshold probabilities first, as in label > 0.5)"
            raise invalid(name, expected, f"{plane[wrong].flat[0]:.6g}")
    low, high = labels.min(initial=0), labels.max(initial=0)
    for kind in (np.uint8, np.uint16, np.uint32, np.int32, np.int64):
        if np.iinfo(kind).min <= low and int(high) <= np.iinfo(kind).max:
            return labels.astype(kind)
    raise invalid(name, "labels below 2^63", f"{low} to {high}")


def digest(arrays):
    """Return the hexadecimal SHA-256 digest of the values of arrays, one after the other."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return found.hexdigest()


def class_ids(labels, allow_mask=True, name="label"):
    """Return uint8 class ids of a label map; two grey levels are a mask, which becomes 0 and 1.

    Two labels are a mask if one of them is too high for a class id, such as 0 and 128 or 0 and 255.
    Beside other labels 255 means "not annotated".

    Args:
        labels: array-like of integers, booleans, or floats without fractions.
        allow_mask: False to take 0 and 255 for background and "not annotated" even without other
            labels.
        name: what an error calls the labels.

    Raises:
        ValueError: a label has a fraction or is not from 0 to 255, or most ids below the highest do
            not occur, as in a blurred mask or a map of instances.
    """
    labels = class_ids_with_gaps(labels, allow_mask, name)
    if not are_class_ids(labels):
        raise invalid(
            name,
            "class ids from 0 without gaps, or a mask of two grey levels (threshold one that JPEG "
            "or resampling blurred, as in label > 127)",
            listed([str(i) for i in np.unique(labels)]),
        )
    return labels


def are_class_ids(labels):
    """Return whether a uint8 map has ids of classes: few, or more than half of those possible."""
    present = present_ids(labels)
    top = max(present, default=0)
    return top < FEWEST_GREY_LEVELS or 2 * len(present) > top


def class_ids_with_gaps(labels, allow_mask=True, name="label"):
    """Return what `class_ids` does, but allow any gaps between ids."""
    labels = whole_numbers(labels, name)
    require(labels.dtype.kind in "uib", name, "integers", f"dtype {labels.dtype}")
    if not labels.size or labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    low, high = labels.min(), labels.max()
    if _is_mask(labels, low, high, allow_mask):
        foreground = high if high != 0 else low  # -1 beside 0 is a mask, too
        return (labels == foreground).astype(np.uint8)
    require(
        low >= 0 and high <= 255,
        name,
        "class ids from 0 to 255 (not instance ids), or a mask of two grey levels",
        f"dtype {labels.dtype}, from {low} to {high}",
    )
    return labels.astype(np.uint8, copy=False)


def _is_mask(labels, low, high, allow_mask):
    """Return whether labels from `low` to `high` are one or two grey levels, not class ids."""
    if high == NOT_ANNOTATED:
        are_ids = not allow_mask or 0 < low < FEWEST_GREY_LEVELS  # a class, partly annotated
    else:
        are_ids = 0 <= low and high < FEWEST_GREY_LEVELS
    return not are_ids and are_two(labels, low, high)


def are_two(labels, low, high):
    """Return whether a label map has no labels but two given ones."""
    return all(((plane == low) | (plane == high)).all() for plane in labels)


def present_ids(labels):
    """Return the class ids that occur in uint8 maps, in order, without 0 and "not annotated"."""
    return [int(i) for i in distinct_values(labels) if i not in (0, NOT_ANNOTATED)]


def count_classes(*labels):
    """Return the number of classes of label maps in which 255 means "not annotated".

    Warns if classes have no voxel, or if there are so many that they may not be classes.
    """
    present = sorted({i for values in labels for i in present_ids(values)})
    top = max(present, default=0)
    missing = sorted(set(range(1, top)) - set(present))
    if top > 1 and not any((values == 0).any() for values in labels):
        missing = [0, *missing]
    if len(present) >= MANY:
        warnings.warn(
            f"labels have {len(present)} classes, up to {top}: are they grey levels, or ids of "
            "instances?",
            stacklevel=2,
        )
    elif missing:
        names = ", ".join(map(str, missing[:9])) + ", ..." * (len(missing) > 9)
        from_1 = "; if they are numbered from 1, as in ilastik, subtract 1" if 0 in missing else ""
        warnings.warn(
            f"labels of {top + 1} classes, 0 to {top}, have no voxel of {names}{from_1}",
            stacklevel=2,
        )
    return max(2, 1 + top)


def distinct_values(labels):
    """Return the sorted distinct values of an array."""
    if labels.dtype != np.uint8:
        return np.unique(labels)
    return np.flatnonzero(counts_of(labels, 256)).astype(np.uint8)


def are_labels(volume):
    """Return whether a volume seems to hold labels, not grey levels, by its type and a few planes.

    Args:
        volume: `(z, y, x)` array-like, of which three planes are read.
    """
    dtype = np.dtype(volume.dtype)
    if getattr(volume, "grey_levels", None):  # the file declares an image with this few grey levels
        return False
    if dtype.kind == "f" or dtype.itemsize > 2:  # micrographs have no more than 16 bits
        return dtype.kind in "uib"
    planes = np.unique([len(volume) // 4, len(volume) // 2, 3 * len(volume) // 4])
    return all(len(np.unique(volume[int(z)])) < FEWEST_GREY_LEVELS for z in planes)


def in_smallest_type(labels):
    """Return labels as unsigned integers of no more bits than they need.

    Fiji takes 8 and 16 bits for integers, of 32 it makes floats. Ids of instances up to 255 take
    16, since 255 of 8 bits is read as "not annotated".

    Args:
        labels: array-like of whole numbers, none below 0.

    Raises:
        ValueError: a label has a fraction or is below 0.
    """
    labels = whole_numbers(labels)
    low = labels.min(initial=0)
    require(low >= 0, "labels", "none below 0", low)
    top = labels.max(initial=0)
    instances = top == NOT_ANNOTATED and len(np.unique(labels)) > FEWEST_GREY_LEVELS
    return labels.astype(np.uint16 if instances else np.min_scalar_type(top), copy=False)
