"""Keras metrics."""

from numbers import Integral

import keras
from keras import ops

from .layers import register
from .losses import tensors
from .training_ops import compiled


@register
class Jaccard(keras.metrics.Metric):
    """Jaccard index of a class, or the mean of several, accumulated over batches.

    A voxel belongs to the class of highest probability. `y_pred` is `(batch, *spatial, classes)`;
    `y_true` is `(batch, *spatial)`, with a last axis of 1 or without, or one-hot. Unlike
    `scores.Confusion.foreground_jaccard`, the mean is always over the same classes: one that occurs
    neither in `y_true` nor in `y_pred` counts as 1.

    Args:
        class_id: the class to score, or a list of classes to average over.
        ignore_class: label of voxels that do not count.
        name: name in logs.
        dtype: accumulator type.
    """

    def __init__(self, class_id=1, ignore_class=None, name="jaccard", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.class_id = class_id
        self.ignore_class = ignore_class
        self.classes = (class_id,) if isinstance(class_id, Integral) else tuple(class_id)
        self._direction = "up"  # like Keras's own metrics, for callbacks that monitor it
        shape = (len(self.classes),)
        self.intersection = self.add_weight(shape, "zeros", name="intersection")
        self.union = self.add_weight(shape, "zeros", name="union")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch."""
        intersection, union = compiled(Jaccard.counts)(self, y_true, y_pred, sample_weight)
        self.intersection.assign_add(intersection)
        self.union.assign_add(union)

    def counts(self, y_true, y_pred, sample_weight):
        """Return intersection and union of every class in a batch."""
        given = y_true, y_pred, sample_weight
        y_true, y_pred, weight = tensors(*given, self.ignore_class, self.dtype)
        highest = ops.max(y_pred, axis=-1)
        intersection, union = [], []
        for class_id in self.classes:
            true = y_true[..., class_id]
            predicted = ops.cast(y_pred[..., class_id] >= highest, self.dtype)
            overlap = ops.sum(weight * true * predicted)
            intersection.append(overlap)
            union.append(ops.sum(weight * (true + predicted)) - overlap)
        return ops.stack(intersection), ops.stack(union)

    def result(self):
        """Return the mean of intersection / union, which is 1 where both are empty."""
        intersection, union = (ops.convert_to_tensor(v) for v in (self.intersection, self.union))
        return ops.mean(ops.where(union > 0, intersection / ops.maximum(union, 1e-9), 1.0))

    def get_config(self):
        """Return the arguments of `__init__`."""
        own = {"class_id": self.class_id, "ignore_class": self.ignore_class}
        return {**super().get_config(), **own}
