"""Compare a segmentation with the truth, both as stored in files."""

import warnings
from dataclasses import dataclass

import numpy as np

from .errors import require
from .postprocessing.instance_ids import as_instances, compact_large_ids, components
from .scores import instance_scores, segmentation_scores
from .volumes.labels import (
    NOT_ANNOTATED,
    are_class_ids,
    class_ids,
    count_classes,
    present_ids,
)


@dataclass(frozen=True)
class Evaluation:
    """How well labels agree with the truth.

    Attributes:
        scores: of `segmentation_scores`; with `scored`, the share of the voxels that count, and
            `instances`, those of `instance_scores` if they were asked for.
        truth: `(z, y, x)` uint8 class ids, 255 where voxels do not count.
        labels: predicted class ids.
        notes: lines for people on what was compared.
    """

    scores: dict
    truth: np.ndarray
    labels: np.ndarray
    notes: tuple

    @property
    def true_foreground(self):
        """The class ids of the truth, 0 where voxels do not count."""
        return self.truth * (self.truth != NOT_ANNOTATED)

    @property
    def counted_labels(self):
        """The predicted class ids, 0 where voxels do not count."""
        return self.labels * (self.truth != NOT_ANNOTATED)


def evaluate(truth, labels, *, instances=False, skip_empty=False):
    """Score labels by the truth.

    Voxels of 255 among other class ids, in either map, do not count.

    Args:
        truth: `(z, y, x)` class ids, a mask of two grey levels, or instance ids.
        labels: the same of a prediction.
        instances: also score instances, see `as_instances`.
        skip_empty: sections without any true label do not count.

    Returns:
        The `Evaluation`.

    Raises:
        ValueError: shapes differ or are not (z, y, x), or a map holds no labels.

    Example:
        >>> evaluate(truth, labels, skip_empty=True).scores["classes"][1]["jaccard"]
    """
    if instances:
        objects = as_instances(truth, "truth"), as_instances(labels, "prediction")
        _warn_of_unlabelled(objects)
        true, found = _class_maps(objects)
        notes = [_instances_note(objects)]
    else:
        true, found = class_ids(truth, name="truth"), class_ids(labels, name="prediction")
        notes = _check_annotated(truth, true)
    require(true.ndim == 3, "truth", "labels (z, y, x)", f"shape {true.shape}")
    expected = f"the shape of the truth, {true.shape}"
    require(found.shape == true.shape, "prediction", expected, f"shape {found.shape}")
    if not instances:
        _warn_of_ids(truth, labels, true, found)
        _warn_of_missing_background(true, found)
    uncounted = found == NOT_ANNOTATED
    if uncounted.any():
        notes.append(f"{uncounted.mean():.1%} of the prediction is 255, and does not count")
    notes += _leave_out_empty(true, uncounted, skip_empty)
    if uncounted.any():
        true = np.where(uncounted, np.uint8(NOT_ANNOTATED), true)
    del uncounted
    counted = true != NOT_ANNOTATED
    scored = float(np.mean(counted))
    ignored = None if scored == 1 else NOT_ANNOTATED
    scores = segmentation_scores(
        true, found, num_classes=count_classes(true, found), ignore_class=ignored
    )
    scores["scored"] = scored
    if ignored:
        notes.append(f"Scored: {scored:.1%} of the voxels")
    if instances:
        ids = [each.ids for each in objects]
        if ignored:
            ids, lines = _counted_ids(objects, counted)
            notes += lines
        scores["instances"] = instance_scores(*(compact_large_ids(each)[0] for each in ids))
    return Evaluation(scores, true, found, tuple(notes))


def _check_annotated(truth, true):
    """Raise ValueError for a truth that is 255 everywhere; return lines on sections that are."""
    full = true.all(axis=tuple(range(1, true.ndim)))
    if not full.any() or NOT_ANNOTATED in true:
        return []
    planes = [z for z in np.flatnonzero(full) if (np.asarray(truth[z]) == NOT_ANNOTATED).all()]
    received = "255 everywhere, which means not annotated"
    require(len(planes) < len(true), "truth", "labels with annotated sections", received)
    if not planes:
        return []
    return [
        f"255 fills {len(planes)} of {len(true)} sections of the truth and counts as foreground, "
        "since all labels are 0 or 255; if they are not annotated, number classes from 1"
    ]


def _leave_out_empty(true, uncounted, skip_empty):
    """Mark sections without any label as not counted, if asked to; return lines on them."""
    empty = ~true.any(axis=(1, 2))
    count = np.count_nonzero(empty)
    text = f"{count} of {len(true)} sections of the truth are empty"
    if skip_empty:
        uncounted[empty] = True
        return [f"{text}: skipped"]
    if len(true) < 2 * count < 2 * len(true):
        return [f"{text} and count as background; --skip-empty leaves them out"]
    return []


def _class_maps(objects):
    """Return the class ids of both maps; of foreground alone where a map holds instance ids."""
    maps = [each.class_ids for each in objects]
    if all(each.are_components and are_class_ids(each.class_ids) for each in objects):
        return maps
    return [np.where(classes == NOT_ANNOTATED, classes, classes > 0) for classes in maps]


def _instances_note(objects):
    """Return a line on what the instances of both maps are."""
    truth, prediction = (
        "connected components" if each.are_components else "ids as they are" for each in objects
    )
    return f"Instances of the truth: {truth}; of the prediction: {prediction}"


def _counted_ids(objects, counted):
    """Return the instance ids of both maps where voxels count, and lines on what was changed.

    Connected components are found again among these voxels; predicted ids are split likewise if
    the truth has components.
    """
    truth, prediction = objects
    ids = [each.ids * counted for each in objects]
    if truth.are_components or prediction.are_components:
        ids[1] = components(ids[1])
    if not truth.are_components:
        return ids, []
    ids[0] = components(ids[0])
    split = "Predicted ids are split where the voxels that count do not connect them"
    return ids, [] if prediction.are_components else [split]


def _warn_of_unlabelled(objects):
    """Warn of sections of 255 among instance ids, which may be meant as "not annotated"."""
    for name, each in zip(("truth", "prediction"), objects, strict=True):
        full = (section == NOT_ANNOTATED for section in each.ids)
        if not each.are_components and any(section.all() for section in full):
            warnings.warn(
                f"255 fills a section of the {name} and counts as an object there; it means not "
                "annotated in 8-bit labels only",
                stacklevel=3,
            )


def _warn_of_missing_background(true, found):
    """Warn if one map seems to number classes from 1, such as those of ilastik."""
    for name, labels, other in (("truth", true, found), ("prediction", found, true)):
        if labels.all() and not other.all() and len(present_ids(labels)) > 1:
            warnings.warn(
                f"the {name} has no 0, which is background here; if its classes are numbered from "
                "1, as in ilastik, subtract 1 first",
                stacklevel=3,
            )


def _warn_of_ids(truth, labels, true, found):
    """Warn if one map seems to hold instances where the other has one class."""
    in_truth, in_prediction = len(present_ids(true)), len(present_ids(found))
    for name, given, count, other in (
        ("truth", truth, in_truth, in_prediction),
        ("prediction", labels, in_prediction, in_truth),
    ):
        # A volume knows its type without being read again.
        dtype = np.dtype(given.dtype if hasattr(given, "dtype") else np.asarray(given).dtype)
        if dtype.itemsize > 1 and count > 1 == other:
            warnings.warn(
                f"the {name} has {count} labels where the other map has one class; ids of objects "
                "are scored by `volseg evaluate --instances`",
                stacklevel=3,
            )
