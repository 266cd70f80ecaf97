"""The options of a prediction, checked once."""

from dataclasses import asdict, dataclass, is_dataclass
from math import inf
from numbers import Integral, Real

import numpy as np

from ..errors import require
from ..pretrained.prediction_defaults import are_zooms
from ..volumes.intensity import IntensityStatistics, checked_normalization
from .denoising import Denoising

LENGTH = "a number of pixels, at least 0"
# Options that are stored with a job.
STORED = ("tta", "seamless", "normalization", "scale", "smoothing", "zooms", "denoise")


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """How a volume is predicted.

    Attributes:
        tta: average over all 8 (2D) or 16 (3D) flips and transpositions, over none (False), or over
            this many of them; None for the number stored with the model.
        seamless: give tiles enough context to agree within 0.001, at a scale of 1, with one
            prediction of the whole.
        normalization: "volume" to standardise intensities by the volume's own statistics, "model"
            by the constants in the model; or `(mean, standard deviation)`, kept as
            `IntensityStatistics`; None for what the model was trained with.
        scale: voxels that the network sees per voxel of the volume, along (z, y, x).
        tile: `(z, y, x)` of a tile, multiples of 16; None for a good size.
        smoothing: of a 2D network's probabilities, over neighbouring sections: the standard
            deviation in pixels that the network sees, which is divided by the thickness of the
            sections, see `SectionSmoothing`; 0 for none, None for the value stored with the model.
        zooms: of a 2D network: pixels that it sees per pixel of the scaled volume, along y and x;
            probabilities at several zooms are averaged. None for those stored with the model.
        denoise: standard deviation of a Gaussian that smooths the image first, in pixels that the
            network sees; a `Denoising`, or 0 for none; None to smooth volumes that are noisier than
            those that a 3D network was trained on.

    Raises:
        ValueError: an option is not one of these.
    """

    tta: bool | int | None = None
    seamless: bool = False
    normalization: str | IntensityStatistics | None = None
    scale: tuple = (1, 1, 1)
    tile: tuple | None = None
    smoothing: float | None = None
    zooms: tuple | None = None
    denoise: float | Denoising | None = None

    def __post_init__(self):
        """Check types and ranges; sizes of tiles are checked later, by the axes of the network."""
        if self.normalization is not None:
            object.__setattr__(self, "normalization", checked_normalization(self.normalization))
        object.__setattr__(self, "scale", _checked_scale(self.scale))
        if self.tile is not None:
            good = np.iterable(self.tile) and all(isinstance(n, Integral) for n in self.tile)
            require(good, "tile", "three multiples of 16, (z, y, x)", f"tile={self.tile}")
            object.__setattr__(self, "tile", tuple(self.tile))
        good = self.smoothing is None or _is_length(self.smoothing)
        require(good, "smoothing", LENGTH, f"smoothing={self.smoothing}")
        if self.zooms is not None:
            object.__setattr__(self, "zooms", checked_zooms(self.zooms))
        good = self.tta is None or isinstance(self.tta, Integral | np.bool_) and self.tta >= 0
        require(good, "tta", "True, False or a number of views", f"tta={self.tta}")
        if self.tta is not None:
            whole = bool(self.tta) if isinstance(self.tta, bool | np.bool_) else int(self.tta)
            object.__setattr__(self, "tta", whole)
        if not isinstance(self.denoise, Denoising | None):
            require(_is_length(self.denoise), "denoise", LENGTH, f"denoise={self.denoise}")

    def to_json(self):
        """Return the entries of job.json; the tile depends on the job."""
        found = {name: getattr(self, name) for name in STORED}
        return {name: asdict(v) if is_dataclass(v) else v for name, v in found.items()}

    @classmethod
    def from_json(cls, found):
        """Return the options of a dict with the entries of `to_json`."""
        values = {name: found[name] for name in STORED}
        if isinstance(values["normalization"], dict):
            values["normalization"] = IntensityStatistics(**values["normalization"])
        if isinstance(values["denoise"], dict):
            values["denoise"] = Denoising(**values["denoise"])
        return cls(**values)


def checked_zooms(value):
    """Return a tuple of zooms, or raise ValueError."""
    zooms = tuple(np.atleast_1d(value).tolist())
    expected = "numbers between 1/4 and 4, such as (1, 0.75)"
    require(are_zooms(zooms), "zooms", expected, f"zooms={zooms}")
    return zooms


def _is_length(value):
    return isinstance(value, Real) and 0 <= value < inf


def _checked_scale(value):
    sides = tuple(value) if np.iterable(value) else (value,)
    good = len(sides) == 3 and all(isinstance(s, Real) and 0 < s < inf for s in sides)
    require(good, "scale", "three positive numbers, (z, y, x)", f"scale={value}")
    return sides


# The network's own prediction: one view, without smoothing.
PLAIN_PREDICTION = PredictionOptions(tta=False, smoothing=0, zooms=(1,), denoise=0)
