"""Scores of label maps that come piece by piece."""

import numpy as np


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


def highest(jaccard):
    """Return the best threshold by the indices of all, the middle of those that are best alike.

    A multiple of 1/256 between 0 and 1: what is at least as probable is foreground.
    """
    best = np.flatnonzero(jaccard[1:256] == jaccard[1:256].max()) + 1
    return float(best[len(best) // 2] / 256)


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
        """Add a label map and a prediction of the same shape."""
        if self.ignore_class is not None:
            kept = y_true != self.ignore_class
            y_true, y_pred = y_true[kept], y_pred[kept]
        size = len(self.counts)
        pairs = np.ravel(y_true).astype(np.int64) * size + np.ravel(y_pred)
        self.counts += np.bincount(pairs, minlength=size**2).reshape(size, size)

    def foreground_jaccard(self):
        """Return the mean Jaccard index of the foreground classes; see the function."""
        hits, true, claimed = self.counts.diagonal(), self.counts.sum(1), self.counts.sum(0)
        union = true + claimed - hits
        jaccard = np.where(union, hits / np.maximum(union, 1), 1.0)[1:]
        present = true[1:] > 0
        return float(np.mean(jaccard[present] if present.any() else jaccard))
