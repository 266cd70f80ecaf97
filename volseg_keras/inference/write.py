"""Labels and probabilities written to files as they are predicted."""

import math
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from ..volumes.volume import open_volume
from ..volumes.writing import create_volume
from .predict import not_background

SMALL = 2**27  # voxels


class Found(NamedTuple):
    """What was found in a volume: share of the foreground, a voxel in its midst, highest label."""

    share: float
    center: tuple
    highest: int


def write_labels(slabs, image, output, probability_file, dtype=np.uint8):
    """Write labels and, if a file is named, foreground probabilities, as they come.

    Returns:
        The labels, in memory if they are small; and a `Found`.
    """
    z = total = most = highest = 0
    kept, shape = [], image.shape
    center = tuple(n // 2 for n in shape)
    with ExitStack() as files:
        write = files.enter_context(create_volume(output, shape, dtype, labels=True, like=image))
        if probability_file:
            levels = create_volume(probability_file, shape, np.float32, like=image)
            keep = files.enter_context(levels)
        for labels, values in slabs:
            write(labels)
            if math.prod(shape) < SMALL:
                kept.append(labels)
            if probability_file:
                keep(not_background(values))
            count, richest, where = busiest(labels)
            if richest > most:
                most, center = richest, (z + where[0], *where[1:])
            z, total = z + len(labels), total + count
            highest = max(highest, int(labels.max()))
    found = (kept[0] if len(kept) == 1 else np.concatenate(kept)) if kept else open_volume(output)
    return found, Found(total / math.prod(shape), center, highest)


def busiest(labels):
    """Return the number of foreground voxels, the most in a plane, and a voxel in its midst."""
    counts = np.array([np.count_nonzero(plane) for plane in labels])
    plane = int(counts.argmax())
    found = labels[plane] > 0
    y = int(np.count_nonzero(found, axis=1).argmax())
    x = int(np.where(found[y], np.count_nonzero(found, axis=0), 0).argmax())
    return int(counts.sum()), int(counts[plane]), (plane, y, x)
