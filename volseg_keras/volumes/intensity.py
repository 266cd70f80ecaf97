"""Standardise the intensities of a volume."""

from dataclasses import dataclass, replace

import numpy as np

from ..errors import invalid, require
from .intensity_measurement import measure_intensity, measure_padding
from .padding import fill_padding, find_padding


@dataclass(frozen=True)
class IntensityStatistics:
    """The statistics that a volume is standardised with: `(intensity - mean) / deviation`.

    Constant padding (a frame of zeros around an aligned stack, blank sections) is not tissue. It is
    left out of the statistics, and replaced by the mirrored image, or by 0 farther away.

    Attributes:
        mean: mean intensity, a tuple for several channels.
        deviation: standard deviation, a tuple for several channels.
        padding: intensities that are padding where at least 16 voxels in a row along x have them;
            None if that was not measured. Constant sections of 64 x 64 pixels or more are padding
            in any case.

    Example:
        >>> intensity = IntensityStatistics.of(volume)
        >>> standardized = intensity.standardize(volume[:16])  # float32
    """

    mean: float | tuple
    deviation: float | tuple
    padding: tuple | None = ()

    @classmethod
    def of(cls, volume, on_progress=None):
        """Measure a volume, see `measure_intensity`."""
        return cls(*measure_intensity(volume, on_progress))

    def with_padding_of(self, volume):
        """Return the same statistics with the padding of a volume, if none was measured yet."""
        return self if self.padding is not None else replace(self, padding=measure_padding(volume))

    def __str__(self):
        """One-line description."""
        pairs = zip(np.atleast_1d(self.mean), np.atleast_1d(self.deviation), strict=True)
        levels = "; ".join(
            f"mean {mean:.4g}, deviation {deviation:.4g}" for mean, deviation in pairs
        )
        padding = " and ".join(f"{level:g}" for level in self.padding or ())
        also = f"; padding of {padding} is background" if padding else ""
        return f"Intensities are standardised: {levels}{also} (--normalize sets others)"

    def at_contrast(self, contrast):
        """Return the statistics that multiply standardised intensities by a contrast."""
        return replace(self, deviation=np.divide(self.deviation, contrast).tolist())

    def padded(self, block):
        """Return where a block of the volume is padding, of the block's shape; None if nowhere."""
        return None if self.padding is None else find_padding(block, self.padding)

    def standardize(self, block, constants=None, padded=None):
        """Return a block of the volume as float32, standardised.

        Args:
            block: `(z, y, x)` or `(z, y, x, channels)`.
            constants: the `Normalization` that the network itself standardises with; the result
                then has these statistics.
            padded: of `padded`, where it is known.
        """
        mean, deviation = np.asarray(self.mean), np.asarray(self.deviation)
        target = 0.0
        if constants:
            deviation = deviation / np.asarray(constants.standard_deviation)
            target = np.asarray(constants.mean)
            mean = mean - deviation * target
        standardized = np.subtract(block, mean.astype(np.float32), dtype=np.float32)
        standardized /= deviation.astype(np.float32)
        if padded is None:
            padded = self.padded(block)
        if padded is None:
            return standardized
        return fill_padding(standardized, padded, np.float32(target))


def checked_normalization(value):
    """Return "volume", "model" or an `IntensityStatistics`, of an argument `normalization`.

    Args:
        value: one of these, or `(mean, standard deviation)`, each a number or one for each channel.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, str) and value in ("volume", "model"):
        return value
    is_intensity = isinstance(value, IntensityStatistics)
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
        return IntensityStatistics(tuple(mean.tolist()), tuple(deviation.tolist()), None)
    return IntensityStatistics(float(mean), float(deviation), None)
