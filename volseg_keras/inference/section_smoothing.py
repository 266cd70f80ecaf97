"""Average what a 2D network finds on a section with what it finds on its neighbours."""

import math
from dataclasses import dataclass

import numpy as np

from ..volumes.section_thickness import section_thickness

# Sections farther away than so many standard deviations do not count; less than this many sections
# is no smoothing.
REACH, LEAST = 2, 0.3
# Values that are converted to float32 at a time.
CHUNK = 2**24


@dataclass(frozen=True)
class SectionSmoothing:
    """A Gaussian average of probabilities along z.

    A 2D network sees each section for itself. What it takes for an object on one section only, or
    misses on one only, is corrected by the neighbours. Sections on which nothing at all is found,
    such as blank ones, neither count nor change.

    Attributes:
        sigma: standard deviation, in sections; 0 for no smoothing.
    """

    sigma: float = 0.0

    @classmethod
    def of(cls, volume, pixels):
        """Return the smoothing by a number of pixels for sections as thick as those of a volume.

        Args:
            volume: as of `section_thickness`.
            pixels: standard deviation, in pixels of the volume.
        """
        thickness = section_thickness(volume) if pixels else None
        sigma = pixels / max(thickness, 0.5) if thickness else 0.0
        return cls(sigma if sigma >= LEAST else 0.0)

    def __str__(self):
        """One line for people."""
        return f"Averaged over neighbouring sections, by a Gaussian of {self.sigma:.2g} sections"

    @property
    def reach(self):
        """How many sections on each side count."""
        return math.ceil(REACH * self.sigma)

    def slabs(self, slabs, start, stop):
        """Yield smoothed slabs `(z, values)`, in order; memory holds one more slab.

        Args:
            slabs: `(z, values)` as of `tiling.tiled_slabs`, from section `start` to `stop`.
            start: first section to return; those before it count as neighbours only.
            stop: one past the last section to return; those after it count as neighbours only.
        """
        kept, low, done = None, 0, start
        for z, values in slabs:
            kept, low = (values, z) if kept is None else (np.concatenate([kept, values]), low)
            ready = min(z + len(values) - self.reach, stop)
            if ready > done:
                yield done, self._mean(kept, done - low, ready - low)
                unused = max(0, ready - self.reach - low)
                kept, low, done = kept[unused:], low + unused, ready
        if done < stop:
            yield done, self._mean(kept, done - low, stop - low)

    def _mean(self, values, first, last):
        """Return the smoothed sections `first` to `last` of the values `(z, y, x, maps)`."""
        weights = self._weights(np.array([_finds(section) for section in values]), first, last)
        mean = np.empty((last - first, *values.shape[1:]), values.dtype)
        rows = max(1, CHUNK // values[:, 0].size)
        for y in range(0, values.shape[1], rows):
            part = np.tensordot(weights, values[:, y : y + rows].astype(np.float32), 1)
            mean[:, y : y + rows] = np.rint(part) if mean.dtype.kind in "iu" else part
        return mean

    def _weights(self, counts, first, last):
        """Return what each section, if it counts, adds to the sections `first` to `last`."""
        place = np.arange(first, last)[:, None]
        away = np.abs(np.arange(len(counts)) - place)
        gauss = np.exp(-0.5 * np.square(away / self.sigma)) * (away <= self.reach)
        weights = np.where(counts[place], gauss * counts, away == 0)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _finds(section):
    """Return whether the values `(y, x, maps)` of a section are more than background throughout."""
    return bool(section.any() if section.shape[-1] == 1 else (section[..., 0] < 1).any())
