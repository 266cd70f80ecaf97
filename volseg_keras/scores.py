"""NumPy scores of label maps, of instances, and of volumes that are read in pieces."""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from .errors import require

MOST_CLASSES = 256
PIECE = 2**20  # voxels that are counted at once, since their pairs take 24 bytes each
# Jaccard indices that differ by less are equal where a threshold is chosen.
TIE = 0.005


def segmentation_scores(y_true, y_pred, *, num_classes=None, ignore_class=None):
    """Score a label map as in Table 1 of the paper.

    Args:
        y_true: integer label map of any shape.
        y_pred: integer label map of the same shape.
        num_classes: number of classes; by default one more than the largest label.
        ignore_class: label of `y_true` whose voxels do not count.

    Returns:
        A dict: `classes`, a list of `{"precision", "recall", "jaccard"}` in order of the class,
        each from 0 to 1 (1 where a class is in neither map); and `voc`, the mean Jaccard
        index of the classes that are in either map.

    Raises:
        ValueError: shapes differ, labels are not class ids, or no voxel is left.

    Example:
        >>> scores = volseg_keras.segmentation_scores(truth, labels, ignore_class=255)
        >>> jaccard = scores["classes"][1]["jaccard"]
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    check_label_maps(y_true, y_pred)
    if ignore_class is not None:
        kept = y_true != ignore_class
        y_true, y_pred = y_true[kept], y_pred[kept]
    require(y_true.size, "y_true", "at least one voxel that counts", "none")
    low, high = min(y_true.min(), y_pred.min()), max(y_true.max(), y_pred.max())
    known = num_classes is not None
    expected = f"class ids from 0 to {num_classes - 1 if known else MOST_CLASSES - 1}"
    good = low >= 0 and high < (num_classes if known else MOST_CLASSES)
    require(good, "y_true and y_pred", expected, f"{low} to {high}")
    confusion = Confusion(num_classes or 1 + max(int(high), 1))
    confusion.add(y_true, y_pred)
    columns = confusion.precision(), confusion.recall(), confusion.jaccard()
    names = "precision", "recall", "jaccard"
    classes = [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]
    present = (confusion.true > 0) | (confusion.predicted > 0)
    return {"classes": classes, "voc": float(confusion.jaccard()[present].mean())}


class Confusion:
    """Voxels of each true and predicted class, accumulated over pieces of a volume.

    Args:
        num_classes: number of classes.
        ignore_class: label whose voxels do not count.
    """

    def __init__(self, num_classes, ignore_class=None):
        self.ignore_class = ignore_class
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def add(self, y_true, y_pred):
        """Add class ids and predicted ones of the same shape."""
        if self.ignore_class is not None:
            kept = y_true != self.ignore_class
            y_true, y_pred = y_true[kept], y_pred[kept]
        y_true, y_pred = np.ravel(y_true), np.ravel(y_pred)
        size = len(self.counts)
        for start in range(0, len(y_true), PIECE):
            true, predicted = (
                ids[start : start + PIECE].astype(np.int64) for ids in (y_true, y_pred)
            )
            pairs = np.bincount(true * size + predicted, minlength=size**2)
            self.counts += pairs.reshape(size, size)

    @property
    def true(self):
        """The number of true voxels of every class."""
        return self.counts.sum(axis=1)

    @property
    def predicted(self):
        """The number of predicted voxels of every class."""
        return self.counts.sum(axis=0)

    def precision(self):
        """Return the share of the predicted voxels of every class that are right."""
        return self._share(self.predicted)

    def recall(self):
        """Return the share of the true voxels of every class that are found."""
        return self._share(self.true)

    def jaccard(self):
        """Return the Jaccard index of every class."""
        return self._share(self.true + self.predicted - self.counts.diagonal())

    def _share(self, total):
        """Return hits among `total`; of none 1 if the class is in neither map, else 0."""
        neither = (self.true == 0) & (self.predicted == 0)
        return np.where(total > 0, self.counts.diagonal() / np.maximum(total, 1), neither)

    def foreground_jaccard(self):
        """Return the mean Jaccard index of the foreground classes that have a true voxel.

        If none has, that of all: such a class has 1, or 0 if any voxel is predicted. The VOC score
        of `segmentation_scores` differs, to be that of Table 1: it includes background, and
        classes that are only predicted.
        """
        jaccard, occurs = self.jaccard()[1:], self.true[1:] > 0
        return float(np.mean(jaccard[occurs] if occurs.any() else jaccard))


def instance_scores(y_true, y_pred, *, iou_thresholds=(0.5, 0.75)):
    """Score instances: detection at several thresholds of overlap, and the adapted Rand error.

    A true and a predicted instance can match if their Jaccard index (IoU) is at least a threshold;
    every instance matches at most one other, and the number of matches is maximal. The average
    precision is that of the 2018 Data Science Bowl and StarDist, TP / (TP + FP + FN).

    Args:
        y_true: instance ids `(z, y, x)`, 0 being background; not class ids.
        y_pred: instance ids of the same shape.
        iou_thresholds: thresholds of the IoU.

    Returns:
        A dict: `true` and `predicted`, numbers of instances; `matches`, a list of `{"iou",
        "matched", "precision", "recall", "f1", "average_precision"}`, the last four from 0 to 1
        (1 where neither map has instances); and `adapted_rand_error`, from 0 to 1, over the
        true foreground (Arganda-Carreras et al., Front. Neuroanat. 9:142, 2015).

    Raises:
        ValueError: shapes differ, or ids are not integers from 0 to 2**32 - 1.
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    check_label_maps(y_true, y_pred)
    check_ids(y_true=y_true, y_pred=y_pred)
    true, predicted, count = shared_voxels(y_true, y_pred)
    both = (true > 0) & (predicted > 0)
    sizes = [np.bincount(ids, weights=count, minlength=1) for ids in (true, predicted)]
    union = sizes[0][true] + sizes[1][predicted] - count
    numbers = [int(np.count_nonzero(size[1:])) for size in sizes]
    shape = tuple(map(len, sizes))
    matches = []
    for threshold in np.atleast_1d(iou_thresholds).tolist():
        good = both & (count >= threshold * union)
        # SciPy before 1.13 matches 32-bit indices only.
        where = [ids[good].astype(np.int32) for ids in (true, predicted)]
        pairs = csr_array((good[good], tuple(where)), shape=shape)
        matched = int(np.count_nonzero(maximum_bipartite_matching(pairs) >= 0))
        matches.append({"iou": threshold, **detection(matched, *numbers)})
    return {
        "true": numbers[0],
        "predicted": numbers[1],
        "matches": matches,
        "adapted_rand_error": (
            rand_error(true, predicted, count) if numbers[0] else float(numbers[1] > 0)
        ),
    }


def shared_voxels(y_true, y_pred):
    """Return the pairs of ids that share voxels, renumbered from 0, and how many they share.

    Voxels that are background in both do not count.
    """
    found = [(np.zeros(0, np.uint64), np.zeros(0, np.int64))]
    for true, predicted in zip(y_true, y_pred, strict=True):
        either = (true != 0) | (predicted != 0)
        keys = true[either].astype(np.uint64) << np.uint64(32)
        found.append(np.unique(keys | predicted[either].astype(np.uint64), return_counts=True))
    keys, counts = map(np.concatenate, zip(*found, strict=True))
    keys, inverse = np.unique(keys, return_inverse=True)
    zero = np.zeros(1, np.uint64)
    ids = (keys >> np.uint64(32), keys & np.uint64(2**32 - 1))
    true, predicted = (np.unique(np.append(zero, i), return_inverse=True)[1][1:] for i in ids)
    return true, predicted, np.bincount(inverse, weights=counts, minlength=len(keys))


def detection(matched, positives, claimed):
    """Return the scores of a number of matches among true and predicted instances."""

    def ratio(total):
        return float(matched / total) if total else float(positives == claimed)

    return {
        "matched": matched,
        "precision": ratio(claimed),
        "recall": ratio(positives),
        "f1": ratio((positives + claimed) / 2),
        "average_precision": ratio(positives + claimed - matched),
    }


def rand_error(true, predicted, count):
    """Return one minus the F score of pairs of voxels that are in one instance of both maps."""
    inside = true > 0
    count = count[inside]
    sizes = [np.bincount(ids[inside], weights=count) for ids in (true, predicted)]
    both, *each = (float(np.sum(n * (n - 1))) for n in (count, *sizes))
    return 1 - 2 * both / sum(each) if any(each) else 0.0


def check_ids(**maps):
    """Raise ValueError for ids of more than 32 bits, since pairs of ids are counted as 64 bits."""
    for name, labels in maps.items():
        low, high = labels.min(initial=0), labels.max(initial=0)
        expected = f"ids from 0 to {2**32 - 1}"
        require(low >= 0 and high < 2**32, name, expected, f"from {low} to {high}")


def check_label_maps(y_true, y_pred):
    """Raise ValueError unless both are integer maps of one shape."""
    for name, labels in (("y_true", y_true), ("y_pred", y_pred)):
        good = labels.dtype.kind in "iub"
        require(good, name, "an integer label map", f"dtype {labels.dtype}")
    expected = f"the shape {y_true.shape} of `y_true`"
    require(y_pred.shape == y_true.shape, "y_pred", expected, f"shape {y_pred.shape}")


class ThresholdScores:
    """Foreground Jaccard index at every threshold, accumulated over pieces of a volume.

    Args:
        ignore_class: label whose voxels do not count.
    """

    def __init__(self, ignore_class=None):
        self.ignore_class = ignore_class
        self.hits, self.claimed = np.zeros(257), np.zeros(257)

    def add(self, y_true, probability):
        """Add a label map, all but 0 being foreground, and probabilities of the same shape."""
        level = np.floor(np.asarray(probability) * 256).astype(np.int64)
        kept = slice(None) if self.ignore_class is None else y_true != self.ignore_class
        level, true = level[kept].ravel(), (np.asarray(y_true)[kept] > 0).ravel()
        self.hits += np.bincount(level[true], minlength=257)
        self.claimed += np.bincount(level, minlength=257)

    def jaccard(self):
        """Return the index of the thresholds 0, 1/256, ..., 1."""
        hits, claimed = (counts[::-1].cumsum()[::-1] for counts in (self.hits, self.claimed))
        return hits / np.maximum(hits[0] + claimed - hits, 1)


def best_threshold(jaccard):
    """Return the best threshold by `ThresholdScores.jaccard`.

    Of thresholds that are as good within `TIE`, it is the one nearest to 0.5: on a few sections
    such differences are chance, and the best one of them does worse on others.

    It is a multiple of 1/256 between 0 and 1; voxels of at least this probability are foreground.
    """
    best = np.flatnonzero(jaccard[1:256] >= jaccard[1:256].max() - TIE) + 1
    return float(best[np.argmin(np.abs(best - 128))] / 256)
