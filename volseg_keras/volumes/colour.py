"""Images in colour that are grey."""

import numpy as np


class InColour(ValueError):
    """An image is in colour where grey levels are wanted."""


class Grey:
    """The grey levels of an image in colour, whose colours are checked as they are read.

    Args:
        array: with an axis of three colours, or four with opacity.
        axis: its number.
    """

    def __init__(self, array, axis):
        self.array, self.axis, self.dtype = array, axis, array.dtype
        self.shape = tuple(n for i, n in enumerate(array.shape) if i != axis)
        chunks = getattr(array, "chunks", None)
        self.chunks = chunks and tuple(n for i, n in enumerate(chunks) if i != axis)

    def __getitem__(self, key):
        """Read a block; `key` has an integer or slice an axis."""
        whole = (*key[: self.axis], slice(None), *key[self.axis :])
        block = np.asarray(self.array[whole])
        axis = sum(isinstance(k, slice) for k in key[: self.axis])
        first, *others = np.moveaxis(block, axis, 0)[:3]
        if not all((first == other).all() for other in others):
            raise InColour("it is in colour; choose a channel, as in --channel 0")
        return first


def as_grey(array, axes):
    """Return an image in colour and its axes without that of colours, where it is grey.

    Three of its planes are looked at; the others are as they are read.
    """
    axis = axes.find("S")
    if axis < 0 or array.shape[axis] not in (3, 4):
        return array, axes
    grey, rest = Grey(array, axis), axes.replace("S", "")
    outer = [i for i, a in enumerate(rest) if a not in "YX"]
    found = False
    for share in (0, 0.5, 1):
        key = [slice(None)] * len(rest)
        for i in outer:
            key[i] = int(share * (grey.shape[i] - 1))
        try:
            found = bool(grey[tuple(key)].any()) or found
        except InColour:
            return array, axes
    return (grey, rest) if found else (array, axes)
