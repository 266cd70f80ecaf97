"""Patches of several volumes, shared out by weights."""

import numpy as np

from .batches import Patches


class PatchMix(Patches):
    """Patches of several volumes, shared out evenly or by weights.

    Args:
        samplers: `PatchSampler`s of one patch shape and as many channels.
        weights: shares of the patches, one a sampler; equal by default.
    """

    def __init__(self, samplers, weights=None):
        self.samplers = list(samplers)
        first = self.samplers[0]
        self.patch_shape, self.spatial_dims = first.patch_shape, first.spatial_dims
        self.channels = first.channels
        self.order = share_out([1] * len(self.samplers) if weights is None else weights)

    def __getitem__(self, index):
        """Return patch number `index` as a `Sample`."""
        return self.samplers[self.order[index % len(self.order)]][index]


def share_out(weights):
    """Return the order in which volumes take turns, each as often as its weight asks for.

    Example:
        >>> share_out([2, 1])
        [0, 1, 0]
    """
    ratios = np.array(weights, float) / min(weights)
    # The smallest integers of about these ratios.
    errors = [np.max(np.abs(np.rint(k * ratios) / (k * ratios) - 1)).round(9) for k in range(1, 33)]
    counts = np.rint(ratios * (1 + int(np.argmin(errors)))).astype(int)
    period, turns, had = counts.sum(), [], np.zeros(len(counts), int)
    for turn in range(1, period + 1):
        # The volume that lags furthest behind its share.
        turns.append(int(np.argmax(counts * turn - had * period)))
        had[turns[-1]] += 1
    return turns
