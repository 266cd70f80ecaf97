"""Losses on class probabilities."""

import keras
from keras import ops

from ..errors import require
from .layers import register
from .training_ops import compiled


@register
class JaccardLoss(keras.losses.Loss):
    """Smooth Jaccard loss (paper, Section 2.4).

    `1 - (sum p y + C) / (sum p + sum y - sum p y + C)`, sums over all voxels of the batch. Under
    `tf.distribute` every replica sums over its own share of the batch, as batch normalisation does,
    and the loss is the mean over replicas.

    Input shapes: `y_pred` is `(batch, *spatial, classes)`; `y_true` an integer label map
        `(batch, *spatial)` or `(batch, *spatial, 1)`, or one-hot like `y_pred`. A `sample_weight`
        that broadcasts to `(batch, *spatial)` weighs voxels in both sums.

    Args:
        class_id: the class of the index; None averages over all classes.
        smooth: C, which keeps an empty patch finite.
        ignore_class: label of voxels that count in neither sum, e.g. 255 for "not annotated".

    Raises:
        ValueError: `smooth` is not positive, or the shapes do not fit.
    """

    def __init__(self, class_id=1, smooth=1.0, ignore_class=None, name="jaccard_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        require(smooth > 0, "smooth", "a positive number", f"{smooth=}")
        self.class_id = class_id
        self.smooth = smooth
        self.ignore_class = ignore_class

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the loss of a batch, a number; under `tf.distribute` the share of a replica."""
        y_true = ops.convert_to_tensor(y_true)
        # Keras would weight the ratio, but the weight of a voxel belongs in the sums.
        return super().__call__(
            y_true if sample_weight is None else (y_true, sample_weight), y_pred
        )

    def call(self, y_true, y_pred):
        """Return the loss of a batch as `(1,)`, which Keras reduces.

        Args:
            y_true: labels, or a tuple of labels and their weights.
            y_pred: probabilities.
        """
        y_true, sample_weight = y_true if isinstance(y_true, tuple) else (y_true, None)
        return compiled(type(self).batch_loss)(self, y_true, y_pred, sample_weight)

    def batch_loss(self, y_true, y_pred, sample_weight):
        """Return the loss of a batch as `(1,)`."""
        given = tensors(y_true, y_pred, sample_weight, self.ignore_class, self.dtype)
        return ops.reshape(self.weighted(*given), (1,))

    def weighted(self, y_true, y_pred, weight):
        """Return the loss of one-hot labels with voxel weights `(batch, *spatial)`."""
        # Sums of all classes, of which one is picked: slicing a channel has a slow gradient.
        axes = list(range(len(y_pred.shape) - 1))
        weight = weight[..., None]
        true = weight * y_true
        overlap = ops.sum(true * y_pred, axis=axes)
        total = ops.sum(true, axis=axes) + ops.sum(weight * y_pred, axis=axes)
        index = (overlap + self.smooth) / (total - overlap + self.smooth)
        return 1 - (ops.mean(index) if self.class_id is None else index[self.class_id])

    def get_config(self):
        """Return the arguments of `__init__`."""
        own = {
            "class_id": self.class_id,
            "smooth": self.smooth,
            "ignore_class": self.ignore_class,
        }
        return {**super().get_config(), **own}


@register
class JaccardCrossentropyLoss(JaccardLoss):
    """Jaccard loss plus the mean cross-entropy of the voxels.

    The cross-entropy gives early steps a gradient where the Jaccard term has little. Shapes and
    arguments are those of `JaccardLoss`.
    """

    def __init__(self, name="jaccard_crossentropy_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def weighted(self, y_true, y_pred, weight):
        """Return the loss of one-hot labels with voxel weights `(batch, *spatial)`."""
        jaccard = super().weighted(y_true, y_pred, weight)
        log_likelihood = y_true * ops.log(y_pred + keras.config.epsilon())
        count = ops.maximum(ops.sum(weight), 1.0)
        return jaccard - ops.sum(weight[..., None] * log_likelihood) / count


def tensors(y_true, y_pred, sample_weight, ignore_class, dtype):
    """Return one-hot labels, probabilities and voxel weights from the arguments of a loss."""
    y_pred = ops.convert_to_tensor(y_pred, dtype)
    y_true, weight = one_hot_and_weight(ops.convert_to_tensor(y_true), y_pred, ignore_class)
    if sample_weight is not None:
        weight = weight * voxel_weight(ops.convert_to_tensor(sample_weight, dtype), weight)
    return y_true, y_pred, weight


def one_hot_and_weight(y_true, y_pred, ignore_class):
    """Return one-hot labels `(batch, *spatial, classes)` and voxel weights `(batch, *spatial)`."""
    classes = y_pred.shape[-1]
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == classes > 1:
        y_true = ops.cast(y_true, y_pred.dtype)
        ignored = y_true[..., ignore_class] if ignore_class in range(classes) else 0.0
        return y_true, ops.ones_like(y_true[..., 0]) - ignored
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    require(
        len(y_true.shape) == len(y_pred.shape) - 1,
        "y_true",
        f"shape (batch, *spatial), (batch, *spatial, 1) or one-hot {tuple(y_pred.shape)}",
        f"shape {tuple(y_true.shape)}",
    )
    y_true = ops.cast(y_true, "int32")
    weight = ops.ones_like(y_true)
    if ignore_class is not None:
        weight = ops.cast(y_true != ignore_class, "int32")
        # Not every backend has a one-hot row for a label that is not a class.
        y_true = y_true * weight
    return ops.one_hot(y_true, classes, dtype=y_pred.dtype), ops.cast(weight, y_pred.dtype)


def voxel_weight(sample_weight, weight):
    """Shape a `sample_weight` of (batch,), (batch, *spatial) or (.., 1) like `weight`."""
    if len(sample_weight.shape) == len(weight.shape) + 1:
        sample_weight = ops.squeeze(sample_weight, -1)
    missing = len(weight.shape) - len(sample_weight.shape)
    return ops.reshape(sample_weight, (*ops.shape(sample_weight), *[1] * missing))
