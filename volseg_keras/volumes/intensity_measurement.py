"""The mean and standard deviation of a volume's tissue, and the levels of its padding."""

import math

import numpy as np

from ..errors import invalid, require
from .counting import counts_of
from .padding import RUN, in_rows
from .volume import checked_finite

# Intensities are clipped at these quantiles before their statistics are taken.
QUANTILES = (0.001, 0.999)
# Voxels that statistics are taken of, and the size above which only some sections, or stripes of
# them, are read.
SAMPLED, LARGE = 2**25, 2**29
# Sections that are read of a large volume, if it has that many; and the stripes of each, if whole
# sections are too large.
FEWEST_SECTIONS, STRIPES = 8, 16
# So many times fewer voxels of floats, whose levels are all distinct.
FEWER_FLOATS = 16
# A level is padding if voxels in rows of it are this share of a volume, or that of a section: one
# that was lost, wholly or in part, among hundreds.
PADDING_SHARE, SECTION_SHARE = 0.01, 0.25
# If fewer voxels are outside such rows, the image is flat by nature and all of it counts.
LEAST_TISSUE = 0.01


def measure_intensity(volume, on_progress=None):
    """Return the mean, the standard deviation and the levels of padding of a volume.

    Intensities are clipped at their 0.1 and 99.9 percentiles first, so that a few dead or
    saturated voxels change nothing. Only some rows of large volumes are used, and only some
    sections, or stripes of them, of volumes beyond half a Gvoxel are read.

    Args:
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like, in memory or in a file.
        on_progress: called with the number of pieces read and their total.

    Returns:
        Two numbers, or for several channels two tuples; and a sorted tuple of levels.

    Raises:
        ValueError: the volume is constant, has only two intensities, or holds values that are
            not finite.
    """
    if len(volume.shape) == 4:
        found = [measure_intensity(channel) for channel in _channels(volume)]
        means, deviations, paddings = zip(*found, strict=True)
        return means, deviations, _united(paddings)
    levels, counts, row_counts, wide = _histogram(volume, on_progress)
    if len(levels) <= 2:
        found = " and ".join(f"{level:g}" for level in levels)
        received = f"only {found}{' (labels?)' if len(levels) == 2 else ''}"
        raise invalid("image", "an image of more than two grey levels", received)
    padding, counts = _padding(levels, counts, row_counts, wide)
    return *_statistics(levels, counts), padding


def measure_padding(volume):
    """Return the sorted levels of padding of a volume.

    Args:
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like.
    """
    channels = [volume] if len(volume.shape) == 3 else _channels(volume)
    return _united(_padding(*_histogram(channel, None))[0] for channel in channels)


def _united(paddings):
    """Return the levels of several paddings, sorted."""
    return tuple(sorted({level for padding in paddings for level in padding}))


def _channels(volume):
    """Return the channels of a volume `(z, y, x, channels)`."""
    return [_Channel(volume, number) for number in range(volume.shape[3])]


class _Channel:
    """A channel of a volume `(z, y, x, channels)`, read where it is indexed by slices."""

    def __init__(self, volume, number):
        self.volume, self.number = volume, number
        self.shape, self.dtype = volume.shape[:3], volume.dtype

    def __getitem__(self, key):
        return self.volume[key][..., self.number]


def _padding(levels, counts, row_counts, wide):
    """Return the levels of padding of a histogram, and the counts of all that is not in rows."""
    if (counts - row_counts).sum() < LEAST_TISSUE * counts.sum():
        return (), counts
    padding = (row_counts >= PADDING_SHARE * counts.sum()) | wide
    return tuple(levels[padding].tolist()), counts - row_counts


def _statistics(levels, counts):
    """Return mean and standard deviation, clipped at `QUANTILES`."""
    rank = counts.cumsum() / counts.sum()
    low, high = (levels[np.searchsorted(rank, share)] for share in QUANTILES)
    levels = np.clip(levels, low, high)
    mean = np.average(levels, weights=counts)
    deviation = np.sqrt(np.average(np.square(levels - mean), weights=counts))
    received = f"mean {mean:.6g}, standard deviation {deviation:.6g}"
    require(deviation > 1e-6 * abs(mean), "image", "grey levels that vary", received)
    return float(mean), float(deviation)


def _histogram(volume, on_progress):
    """Return sorted float64 levels, and three arrays of their length.

    How often each occurs, how often in rows of `RUN`, and whether rows of it fill `SECTION_SHARE`
    of a section.
    """
    integers = volume.dtype.kind in "uib" and volume.dtype.itemsize <= 2
    found = [_counted(piece, integers) for piece in _pieces(volume, on_progress)]
    values, *columns = (np.concatenate(column) for column in zip(*found, strict=True))
    levels, inverse = np.unique(values, return_inverse=True)
    counts, row_counts, wide = (np.bincount(inverse, weights=column) for column in columns)
    return levels.astype(np.float64), counts, row_counts, wide > 0


def _counted(piece, integers):
    """Return the columns of `_histogram` for a piece."""
    rows = np.zeros(piece.shape, bool)
    if piece.shape[-1] >= RUN:
        same = in_rows(piece[..., 1:] == piece[..., :-1], RUN - 1)
        rows[..., 1:] |= same
        rows[..., :-1] |= same
    wide = [_wide_levels(*pair) for pair in zip(piece, rows, strict=True)]
    wide = np.unique(np.concatenate(wide))
    if not integers:
        values, inverse = np.unique(piece, return_inverse=True)
        inverse = inverse.ravel()
        row_counts = np.bincount(inverse[rows.ravel()], minlength=len(values))
        return values, np.bincount(inverse), row_counts, np.isin(values, wide)
    lowest = int(np.iinfo(piece.dtype).min) if piece.dtype.kind == "i" else 0
    size = 2 ** (8 * piece.dtype.itemsize)
    counts, row_counts = (counts_of(part, size, lowest) for part in (piece, piece[rows]))
    values = np.flatnonzero(counts)
    return values + lowest, counts[values], row_counts[values], np.isin(values + lowest, wide)


def _wide_levels(section, rows):
    """Return the values of which rows fill `SECTION_SHARE` of a section."""
    least = SECTION_SHARE * section.size
    if np.count_nonzero(rows) < least:
        return section[:0, 0]
    values, counts = np.unique(section[rows], return_counts=True)
    return values[counts >= least]


def _pieces(volume, on_progress):
    """Yield pieces `(z, y, x)` of a volume: some rows of a large one, some sections of a larger."""
    depth, *plane = volume.shape
    size = math.prod(volume.shape)
    fewer = size // (LARGE // 2) if size > LARGE else 1
    step = min(fewer, max(1, depth // FEWEST_SECTIONS))
    thickness = 1 if fewer > 1 else max(1, 2**24 // math.prod(plane))
    height = max(1, 2**26 // plane[1]) if fewer > 1 else plane[0]
    if step < fewer:
        height = min(height, math.ceil(plane[0] / STRIPES))
    rows = max(1, height * step // fewer)  # that are read, in the middle of every `height`
    starts = [
        (z, y + (height - rows) // 2)
        for z in range(min(step, depth) // 2, depth, step * thickness)
        for y in range(0, plane[0], height)
    ]
    integers = volume.dtype.kind in "uib" and volume.dtype.itemsize <= 2
    every = math.ceil(size / fewer / (SAMPLED if integers else SAMPLED // FEWER_FLOATS))
    for done, (z, y) in enumerate(starts, 1):
        piece = np.asarray(volume[z : z + thickness, y : y + rows])
        yield checked_finite(piece)[:, min(every, piece.shape[1]) // 2 :: every]
        if on_progress:
            on_progress(done, len(starts))
