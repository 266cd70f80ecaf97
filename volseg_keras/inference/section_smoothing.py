"""Average the predictions of a 2D network for a section with those for its neighbours."""

import math
from dataclasses import dataclass

import numpy as np

from ..volumes.section_thickness import section_thickness

# Sections farther away than this many standard deviations do not count; a sigma of fewer sections
# than this counts as 0.
REACH, MIN_SIGMA = 2, 0.3
# Values that are converted to float32 at a time.
CHUNK = 2**24


@dataclass(frozen=True)
class SectionSmoothing:
    """A Gaussian average of probabilities along z.

    A 2D network sees each section by itself. An object that it finds, or misses, on a single
    section only is corrected by the neighbours. Padding, such as blank sections, neither
    counts nor changes.

    Attributes:
        sigma: standard deviation, in sections; 0 for no smoothing.
    """

    sigma: float = 0.0

    @classmethod
    def of(cls, volume, pixels):
        """Return the smoothing by a number of pixels, given the thickness of a volume's sections.

        Args:
            volume: see `section_thickness`.
            pixels: standard deviation, in pixels of the volume.
        """
        thickness = section_thickness(volume) if pixels else None
        sigma = pixels / max(thickness, 0.5) if thickness else 0.0
        return cls(sigma if sigma >= MIN_SIGMA else 0.0)

    def __str__(self):
        """Part of a line to display."""
        return f"neighbouring sections, by a Gaussian of {self.sigma:.2g} sections"

    @property
    def reach(self):
        """How many sections on each side count."""
        return math.ceil(REACH * self.sigma)

    def slabs(self, slabs, start, stop, padded=None):
        """Yield smoothed slabs `(z, values)`, in order; memory holds one more slab.

        Args:
            slabs: `(z, values)` from `tiling.tiled_slabs`, of whole planes.
            start: first section to return; those before it count as neighbours only.
            stop: one past the last section to return; those after it count as neighbours only.
            padded: callable from the first section, and one past the last, to where they are
                padding, `(z, y, x)`, or None for nowhere; None for no padding at all.
        """
        kept, low, done = None, 0, start
        for z, values in slabs:
            kept, low = (values, z) if kept is None else (np.concatenate([kept, values]), low)
            ready = min(z + len(values) - self.reach, stop)
            if ready > done:
                yield done, self._mean(kept, low, done, ready, padded)
                unused = max(0, ready - self.reach - low)
                kept, low, done = kept[unused:], low + unused, ready
        if done < stop:
            yield done, self._mean(kept, low, done, stop, padded)

    def _mean(self, values, low, start, stop, padded):
        """Return the smoothed sections `start` to `stop` of values `(z, y, x, maps)` from `low`."""
        weights = self._weights(np.arange(start, stop), low + np.arange(len(values)))
        mean = np.empty((stop - start, *values.shape[1:]), values.dtype)
        mask = padded(low, low + len(values)) if padded else None
        rows = max(1, CHUNK // values[:, 0].size)
        for y in range(0, values.shape[1], rows):
            part = values[:, y : y + rows].astype(np.float32)
            known = None if mask is None else ~mask[:, y : y + rows, :, None]
            found = _weighted(weights, part, known, start - low)
            # Weights of float32 may add up to a little more than 1.
            whole = mean.dtype.kind in "iu"
            mean[:, y : y + rows] = np.rint(found) if whole else np.minimum(found, part.max())
        return mean

    def _weights(self, sections, neighbours):
        """Return the weight of each neighbour for each section."""
        away = np.abs(neighbours - sections[:, None])
        gauss = np.exp(-0.5 * np.square(away / self.sigma)) * (away <= self.reach)
        return (gauss / gauss.sum(axis=1, keepdims=True)).astype(np.float32)


def _weighted(weights, values, known, first):
    """Return the weighted means of the values that are known, from section `first` on."""
    if known is None:
        return np.tensordot(weights, values, 1)
    total = np.tensordot(weights, values * known, 1)
    share = np.tensordot(weights, known.astype(np.float32), 1)
    sections = slice(first, first + len(weights))
    return np.divide(total, share, out=values[sections].copy(), where=known[sections])


def padding_of(volume, intensity, plane=(slice(None), slice(None))):
    """Return `padded` of `SectionSmoothing.slabs` for a volume, None where it has no padding.

    Args:
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like of intensities.
        intensity: its `IntensityStatistics`, or None.
        plane: slices (y, x) of the part that is smoothed.
    """
    if not (intensity and intensity.padding):
        return None

    def padded(start, stop):
        found = intensity.padded(np.asarray(volume[(slice(start, stop), *plane)]))
        return found.all(-1) if found is not None and found.ndim == 4 else found

    return padded
