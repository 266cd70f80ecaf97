"""How often integers occur, counted in little memory."""

import numpy as np

# Voxels that are counted at a time: as 64-bit integers they stay in the cache.
IN_CACHE = 2**17


def counts_of(values, size, lowest=0):
    """Return how often each of `size` integers from `lowest` on occurs in an array of them."""
    counts, values = np.zeros(size, np.int64), np.ravel(values)
    for start in range(0, values.size, IN_CACHE):
        part = np.subtract(values[start : start + IN_CACHE], lowest, dtype=np.int64)
        counts += np.bincount(part, minlength=size)
    return counts
