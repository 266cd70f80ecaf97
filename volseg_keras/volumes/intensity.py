"""Intensity statistics of a volume, and standardisation with them."""

import math
from dataclasses import dataclass, replace

import numpy as np

from ..errors import invalid, require
from .counting import counts_of
from .volume import checked_finite

# Intensities are clipped at these quantiles before their statistics are taken.
QUANTILES = (0.001, 0.999)
# Voxels that statistics are taken of, and the size above which only some sections are read.
SAMPLED, LARGE = 2**25, 2**29
# So many times fewer voxels of floats, whose levels are all distinct.
FEWER_FLOATS = 16
# So many equal voxels in a row are no tissue, and padding if they are this share of a volume, or
# that of a section: one that was lost, wholly or in part, among hundreds.
RUN, PADDING_SHARE, SECTION_SHARE = 16, 0.01, 0.25
# A block's sections are blank if they are constant and at least so wide.
BLANK = 64
# How many voxels of such a row may lie beyond the edge of a block.
BEYOND = 12
# If fewer voxels are outside such rows, the image is flat by nature and all of it counts.
LEAST_TISSUE = 0.01


@dataclass(frozen=True)
class Intensity:
    """The statistics that a volume is standardised with: `(intensity - mean) / deviation`.

    Constant padding (a frame of zeros around an aligned stack, blank sections) is no tissue. It is
    left out of the statistics, and replaced by the mirrored image, or by 0 farther away.

    Attributes:
        mean: mean intensity, a tuple for several channels.
        deviation: standard deviation, a tuple for several channels.
        padding: intensities that are padding where at least 16 voxels in a row along x have them;
            None if that was not measured. Sections that are constant are padding in any case.

    Example:
        >>> intensity = Intensity.of(volume)
        >>> standardized = intensity.standardize(volume[:16])  # float32
    """

    mean: float | tuple
    deviation: float | tuple
    padding: tuple | None = ()

    @classmethod
    def of(cls, volume, on_progress=None):
        """Measure a volume.

        Intensities are clipped at their 0.1 and 99.9 percentiles first, so that a few dead or
        saturated voxels change nothing. Only some rows of large volumes are used, and only some
        sections of volumes beyond half a Gvoxel are read.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like, in memory or in a file.
            on_progress: called with the number of pieces read and their total.

        Raises:
            ValueError: the volume is constant, has only two intensities, or holds values that are
                not finite.
        """
        if len(volume.shape) == 4:
            channels = [cls.of(channel) for channel in _channels(volume)]
            means, deviations = zip(*((c.mean, c.deviation) for c in channels), strict=True)
            return cls(means, deviations, tuple(sorted({p for c in channels for p in c.padding})))
        levels, counts, in_rows, wide = _histogram(volume, on_progress)
        if len(levels) <= 2:
            found = " and ".join(f"{level:g}" for level in levels)
            received = f"only {found}{' (labels?)' if len(levels) == 2 else ''}"
            raise invalid("image", "an image of more than two grey levels", received)
        padding, counts = _padding(levels, counts, in_rows, wide)
        mean, deviation = _statistics(levels, counts)
        return cls(mean, deviation, padding)

    def with_padding_of(self, volume):
        """Return the same statistics with the padding of a volume, if none was measured yet."""
        if self.padding is not None:
            return self
        channels = [volume] if len(volume.shape) == 3 else _channels(volume)
        found = {level for c in channels for level in _padding(*_histogram(c, None))[0]}
        return replace(self, padding=tuple(sorted(found)))

    def __str__(self):
        """One-line description."""
        pairs = zip(np.atleast_1d(self.mean), np.atleast_1d(self.deviation), strict=True)
        levels = ", ".join(f"{mean:.4g} +- {deviation:.4g}" for mean, deviation in pairs)
        padding = " and ".join(f"{level:g}" for level in self.padding or ())
        also = f"; padding of {padding} is background" if padding else ""
        return f"Standardised with grey levels of {levels}{also}"

    def at_contrast(self, contrast):
        """Return the statistics that multiply standardised intensities by a contrast."""
        return replace(self, deviation=np.divide(self.deviation, contrast).tolist())

    def padded(self, block):
        """Return where a block of the volume is padding, of the block's shape; None if nowhere."""
        found = None
        for level in self.padding or ():
            alike = block == np.asarray(level).astype(block.dtype)
            if alike.any():
                width = [(0, 0)] * alike.ndim
                width[2] = (BEYOND, BEYOND)
                rows = _in_rows(np.pad(alike, width, mode="edge"), RUN)[:, :, BEYOND:-BEYOND]
                found = rows if found is None else found | rows
        if self.padding is not None and min(block.shape[1:3]) >= BLANK:
            blank = (block == block[:, :1, :1]).all(axis=(1, 2), keepdims=True)
            if blank.any():
                found = np.broadcast_to(blank, block.shape) if found is None else found | blank
        return found

    def standardize(self, block, own=None, padded=None):
        """Return a block of the volume as float32, standardised.

        Args:
            block: `(z, y, x)` or `(z, y, x, channels)`.
            own: the `Normalization` that the network itself standardises with; the result then has
                these statistics.
            padded: of `padded`, where it is known.
        """
        mean, deviation = np.asarray(self.mean), np.asarray(self.deviation)
        target = 0.0
        if own:
            deviation = deviation / np.asarray(own.standard_deviation)
            target = np.asarray(own.mean)
            mean = mean - deviation * target
        standardized = np.subtract(block, mean.astype(np.float32), dtype=np.float32)
        standardized /= deviation.astype(np.float32)
        if padded is None:
            padded = self.padded(block)
        if padded is None:
            return standardized
        standardized = np.where(padded, np.float32(target), standardized)
        known = ~padded
        for plane, seen in zip(standardized, known, strict=True):
            if seen.any() and not seen.all():
                for axis in (1, 0):
                    seen = _mirror(plane, seen, axis)
        _mirror(standardized, known.any(axis=(1, 2), keepdims=True), 0)
        return standardized


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


def checked_normalization(value):
    """Return "volume", "model" or an `Intensity`, of an argument `normalization`.

    Args:
        value: one of these, or `(mean, standard deviation)`, each a number or one for each channel.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, str) and value in ("volume", "model"):
        return value
    is_intensity = isinstance(value, Intensity)
    try:
        pair = (value.mean, value.deviation) if is_intensity else value
        mean, deviation = np.asarray(pair, float)
    except (TypeError, ValueError) as error:
        expected = "'volume', 'model' or (mean, standard deviation)"
        raise invalid("normalization", expected, f"normalization={value!r}") from error
    good = np.isfinite([mean, deviation]).all() and np.all(deviation > 0)
    expected = "a finite mean and a positive standard deviation"
    require(good, "normalization", expected, f"normalization={value}")
    if is_intensity:
        return value
    if np.ndim(mean):
        return Intensity(tuple(mean.tolist()), tuple(deviation.tolist()), None)
    return Intensity(float(mean), float(deviation), None)


def _mirror(image, known, axis):
    """Fill unknown voxels in place by mirroring the known ones along an axis.

    Thus a frame around an image has the same effect on a network as the border of a file. Voxels
    farther away than the image is wide are not changed.

    Args:
        image: an array.
        known: where its voxels are known; of the same shape, or of one that broadcasts to it.
        axis: of both.

    Returns:
        Where voxels are known then, of the shape of `known`.
    """
    size = known.shape[axis]
    place = np.arange(size, dtype=np.int32)
    place = place.reshape([-1 if a == axis else 1 for a in range(known.ndim)])
    before = np.maximum.accumulate(np.where(known, place, -size), axis)
    after = np.where(known, place, 2 * size)
    after = np.flip(np.minimum.accumulate(np.flip(after, axis), axis), axis)
    nearest = np.where(place - before <= after - place, before, after)
    mirrored = 2 * nearest - place
    inside = (mirrored >= 0) & (mirrored < size)
    mirrored = np.where(inside, mirrored, 0)
    filled = ~known & inside & np.take_along_axis(known, mirrored, axis)
    if filled.any():
        values = np.take_along_axis(image, mirrored, axis)
        np.copyto(image, values, where=filled)
    return known | filled


def _padding(levels, counts, in_rows, wide):
    """Return the levels of padding of a histogram, and the counts of all that is not in rows."""
    if (counts - in_rows).sum() < LEAST_TISSUE * counts.sum():
        return (), counts
    padding = (in_rows >= PADDING_SHARE * counts.sum()) | wide
    return tuple(levels[padding].tolist()), counts - in_rows


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
    levels, place = np.unique(values, return_inverse=True)
    counts, in_rows, wide = (np.bincount(place, weights=column) for column in columns)
    return levels.astype(np.float64), counts, in_rows, wide > 0


def _counted(piece, integers):
    """Return the columns of `_histogram` for a piece."""
    rows = np.zeros(piece.shape, bool)
    if piece.shape[-1] >= RUN:
        same = _in_rows(piece[..., 1:] == piece[..., :-1], RUN - 1)
        rows[..., 1:] |= same
        rows[..., :-1] |= same
    wide = [_wide_levels(*pair) for pair in zip(piece, rows, strict=True)]
    wide = np.unique(np.concatenate(wide))
    if not integers:
        values, place = np.unique(piece, return_inverse=True)
        place = place.ravel()
        in_rows = np.bincount(place[rows.ravel()], minlength=len(values))
        return values, np.bincount(place), in_rows, np.isin(values, wide)
    lowest = int(np.iinfo(piece.dtype).min) if piece.dtype.kind == "i" else 0
    size = 2 ** (8 * piece.dtype.itemsize)
    counts, in_rows = (counts_of(part, size, lowest) for part in (piece, piece[rows]))
    values = np.flatnonzero(counts)
    return values + lowest, counts[values], in_rows[values], np.isin(values + lowest, wide)


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
    step = size // (LARGE // 2) if size > LARGE else 1
    thickness = 1 if step > 1 else max(1, 2**24 // math.prod(plane))
    height = max(1, 2**26 // plane[1]) if step > 1 else plane[0]
    starts = [
        (z, y)
        for z in range(min(step // 2, depth - 1), depth, step * thickness)
        for y in range(0, plane[0], height)
    ]
    integers = volume.dtype.kind in "uib" and volume.dtype.itemsize <= 2
    every = math.ceil(size / step / (SAMPLED if integers else SAMPLED // FEWER_FLOATS))
    for done, (z, y) in enumerate(starts, 1):
        piece = np.asarray(volume[z : z + thickness, y : y + height])
        yield checked_finite(piece)[:, min(every, piece.shape[1]) // 2 :: every]
        if on_progress:
            on_progress(done, len(starts))


def _in_rows(mask, length):
    """Return where a mask holds in at least `length` voxels in a row along axis 2."""
    # Erosion and dilation by doubling: a few passes whatever the length.
    shifts, covered = [], 1
    while covered < length:
        shifts.append(min(covered, length - covered))
        covered += shifts[-1]
    for shift in shifts:
        mask = mask[:, :, :-shift] & mask[:, :, shift:]
    for shift in shifts:
        grown = np.zeros((*mask.shape[:2], mask.shape[2] + shift, *mask.shape[3:]), bool)
        grown[:, :, :-shift] = mask
        grown[:, :, shift:] |= mask
        mask = grown
    return mask
