"""Labels as files have them: class ids, masks of two grey levels, whole numbers of any type."""

import numpy as np

from .source import listed

NOT_ANNOTATED = 255  # beside other labels
FEW = 32  # labels below are class ids even where there are two of them, others are grey levels


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
            raise ValueError(
                f"Invalid value for `{name}`. Expected integers, of any type (probabilities become "
                f"labels by a threshold, as in label > 0.5). Received: {plane[wrong].flat[0]:.6g}"
            )
    low, high = labels.min(initial=0), labels.max(initial=0)
    for kind in (np.uint8, np.uint16, np.uint32, np.int32, np.int64):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return labels.astype(kind)
    raise ValueError(
        f"Invalid value for `{name}`. Expected labels below 2^63. Received: {low} to {high}"
    )


def class_ids(labels, mask=True):
    """Return uint8 class ids of a label map; two grey levels are a mask, which becomes 0 and 1.

    They are grey levels where one is no class id of few classes, as 0 and 128, 0 and 255, or 0 and
    65535. Beside other labels 255 means "not annotated".

    Args:
        labels: array-like of integers, booleans, or floats without fractions.
        mask: False where 0 and 255 alone are no mask: where nothing but background is annotated.

    Raises:
        ValueError: a label has a fraction or is out of the range from 0 to 255, or most ids below
            the highest are of no voxel: grey levels of a blurred mask, or ids of instances.
    """
    labels = classes_or_mask(labels, mask)
    present = present_ids(labels)
    top = max(present, default=0)
    if top >= FEW and 2 * len(present) <= top:
        raise ValueError(
            "Invalid value for `label`. Expected class ids from 0 without gaps, or two grey levels "
            "of a mask (one that JPEG or resampling blurred becomes a mask by a threshold, as in "
            f"label > 127). Received: {listed([str(i) for i in np.unique(labels)])}"
        )
    return labels


def classes_or_mask(labels, mask=True):
    """Return what `class_ids` does, of ids with any gaps."""
    labels = whole_numbers(labels)
    if labels.dtype.kind not in "uib":
        raise ValueError(
            f"Invalid value for `label`. Expected integers. Received: dtype {labels.dtype}"
        )
    if not labels.size or labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    low, high = labels.min(), labels.max()
    ids = (0, *range(1, FEW), NOT_ANNOTATED)
    annotated = not mask and high == NOT_ANNOTATED
    if not (low in ids and high in ids[:-1] or annotated) and are_two(labels, low, high):
        foreground = labels != 0 if low == 0 or high == 0 or low == high else labels == high
        if low not in ids[1:-1] or high != NOT_ANNOTATED:
            return foreground.astype(np.uint8)
    if low < 0 or high > 255:
        raise ValueError(
            "Invalid value for `label`. Expected class ids from 0 to 255 (ids of instances are for "
            "`instances`), or two grey levels of a mask. "
            f"Received: dtype {labels.dtype}, from {low} to {high}"
        )
    return labels.astype(np.uint8, copy=False)


def are_two(labels, low, high):
    """Return whether a label map has no other labels than two."""
    return all(((plane == low) | (plane == high)).all() for plane in labels)


def present_ids(labels):
    """Return the class ids of uint8 maps but background and what is not annotated, in order."""
    counts = np.bincount(np.ravel(labels), minlength=256)
    return [int(i) for i in np.flatnonzero(counts) if i not in (0, NOT_ANNOTATED)]
