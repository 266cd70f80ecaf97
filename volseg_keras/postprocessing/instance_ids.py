"""Find the instances of a label map: its labels, or their connected components."""

import warnings
from dataclasses import dataclass

import cc3d
import numpy as np

from ..errors import require
from ..volumes.labels import (
    FEWEST_GREY_LEVELS,
    NOT_ANNOTATED,
    are_two,
    class_ids_with_gaps,
    distinct_values,
    whole_numbers,
)
from .filters import CONNECTIVITY, writable

LARGEST_ID = 2**22  # ids above it are renumbered


@dataclass(frozen=True)
class InstanceMap:
    """The instances of a label map.

    Attributes:
        ids: `(z, y, x)` instance ids.
        class_ids: `(z, y, x)` uint8 class ids.
        are_components: whether instances are connected components, else the labels themselves.
    """

    ids: np.ndarray
    class_ids: np.ndarray
    are_components: bool


def as_instances(labels, name="labels"):
    """Return the `InstanceMap` of a label map.

    For a mask (one label besides 0) and for 8-bit labels, which are classes (255 beside others is
    "not annotated"), instances are the connected components. Other labels, also floats, are
    instance ids of one class. `name` is the label map's name in error messages.
    """
    labels = np.asarray(labels)
    are_classes = labels.dtype.itemsize == 1
    labels = whole_numbers(labels, name)
    least = labels.min(initial=0)
    require(least >= 0, name, "labels from 0", f"a minimum of {least}")
    if are_classes:
        classes = class_ids_with_gaps(labels, name=name)
        return InstanceMap(components(classes * (classes != NOT_ANNOTATED)), classes, True)
    mask = is_mask(labels)
    ids = components(labels) if mask else labels
    return InstanceMap(ids, (labels > 0).astype(np.uint8), mask)


def instances_to_measure(labels, components, source):
    """Return the instance ids of a label map from a file and, for components, the class ids.

    Warns if labels may be classes or grey levels, because several of them lie on more than one
    object.

    Args:
        labels: `(z, y, x)` instance ids; or with `components` class ids or a mask.
        components: whether instances are the connected components.
        source: the map's name in error messages, for example its file.

    Raises:
        ValueError: a label is not a whole number, or the only label lies on several objects.
    """
    if components:
        found = as_instances(class_ids_with_gaps(labels, name="labels"))
        return found.ids, found.class_ids
    count = (distinct_values(labels) > 0).sum()
    is_small = count < FEWEST_GREY_LEVELS or labels.dtype.itemsize == 1
    several = is_small and objects_of(labels).max(initial=0) > count
    received = f"{source} with one label on several objects"
    require(not several or count > 1, "labels", "instance ids, or --components", received)
    if several:
        warnings.warn(
            "some labels lie on several objects: give --components if they are classes; are they "
            "grey levels?",
            stacklevel=2,
        )
    return whole_numbers(labels, "labels"), None


def objects_of(labels):
    """Return the connected components of all labels of a map, be they classes or instances."""
    if labels.dtype.itemsize == 1:
        return as_instances(labels).ids
    return components(whole_numbers(labels, "labels"))


def components(labels):
    """Return the uint32 connected components, by faces, of every label of a map but 0."""
    found = cc3d.connected_components(writable(np.asarray(labels)), connectivity=CONNECTIVITY)
    return found.astype(np.uint32, copy=False)


def is_mask(labels):
    """Return whether a label map has one label besides 0."""
    top = labels.max(initial=0)
    return bool(top > 0 and are_two(labels, 0, top))


def compact_large_ids(labels):
    """Return labels and None; if ids are large, labels renumbered without gaps and their ids."""
    if labels.dtype == bool or labels.max(initial=0) <= LARGEST_ID:
        return labels.astype(np.uint8) if labels.dtype == bool else labels, None
    ids = np.unique(np.concatenate([np.zeros(1, labels.dtype), *map(np.unique, labels)]))
    numbers = np.empty(labels.shape, np.uint32)
    for plane, number in zip(labels, numbers, strict=True):
        number[...] = np.searchsorted(ids, plane)
    return numbers, ids
