"""A cache of sections that can only be decoded as a whole, while their blocks are predicted."""

import math
import shutil
import tempfile
from threading import Lock

import numpy as np

from ...volumes.volume import full_key

SMALL_BYTES = 2**28  # of sections that each process keeps in memory
DEEPEST = 2**30  # bytes of the sections that a piece spans
DECODED = 2**28  # bytes of sections decoded at a time, unless their pieces hold more


class SectionCache:
    """A volume whose most recently read sections are kept, decoded.

    To read a part of a section of a PNG or a compressed TIFF, all of it is decoded. Without a cache
    a section of 10,000 x 10,000 pixels would be decoded for each of its hundred blocks.

    Args:
        volume: `(z, y, x)` array-like.
        count: number of sections to keep; reading more of them at once bypasses the cache.
        folder: for a temporary file, if they are larger than `SMALL_BYTES`.
    """

    def __init__(self, volume, count, folder):
        self.volume, self.shape, self.dtype = volume, volume.shape, volume.dtype
        self.count = min(count, self.shape[0])
        shape = (self.count, *self.shape[1:])
        if math.prod(shape) * self.dtype.itemsize <= SMALL_BYTES:
            self.kept = np.empty(shape, self.dtype)
        else:
            file = tempfile.TemporaryFile(dir=folder, prefix="sections_")
            self.kept = np.memmap(file, self.dtype, "w+", shape=shape)
        self.held = np.full(self.count, -1)  # the section in each place: z modulo their number
        self.lock = Lock()  # tiles are read by a thread

    def __getitem__(self, key):
        """Read a block; `key` is one or up to three slices."""
        sections, *plane = full_key(key)
        start, stop, _ = sections.indices(self.shape[0])
        if stop - start > self.count:
            return self.volume[key]
        with self.lock:
            self.decode(start, stop)
            turn = min(stop, start - start % self.count + self.count)
            spans = [(start, turn), (turn, stop)]
            parts = [self.kept[(self.places(*span), *plane)] for span in spans if span[0] < span[1]]
            return np.concatenate(parts) if parts else self.volume[key]

    def places(self, start, stop):
        """Return the places of sections as a slice; the range must not wrap around."""
        first = start % self.count
        return slice(first, first + stop - start)

    def decode(self, start, stop):
        """Decode the missing sections of a range, in runs that fit in memory."""
        some = max(self.volume.pieces[0], DECODED // section_bytes(self.volume))
        z = start
        while z < stop:
            end = z
            while end < min(stop, z + some) and self.held[end % self.count] != end:
                end += 1
            if end > z:
                for at, section in enumerate(self.volume[z:end], z):
                    self.kept[at % self.count], self.held[at % self.count] = section, at
            z = max(end, z + 1)


def section_bytes(volume):
    """Return the size of a section."""
    return math.prod(volume.shape[1:]) * volume.dtype.itemsize


def with_cache(volume, count, folder, side):
    """Return a volume, behind a `SectionCache` if it is stored in pieces wider than blocks.

    There is no cache if disk space is short, or if the pieces are deep.

    Args:
        volume: a `Volume`.
        count: number of sections that a row of blocks reads.
        folder: see `SectionCache`.
        side: pixels of a block along y and x.
    """
    pieces, section = volume.pieces, section_bytes(volume)
    if not pieces or max(pieces[1:]) <= side or pieces[0] * section > max(section, DEEPEST):
        return volume
    size, room = min(count, volume.shape[0]) * section, shutil.disk_usage(folder).free / 2
    return SectionCache(volume, count, folder) if size <= max(SMALL_BYTES, room) else volume
