"""A model, or several together, ready to run on volumes."""

from dataclasses import dataclass

import numpy as np

from ..patches.sampler import channels_of
from ..volumes.intensity import Intensity
from .predict import (
    Standardized,
    averaged,
    predict_slabs,
    resampled,
    sample_tile,
    segment,
    tile_plan,
    together,
)


@dataclass
class Segmenter:
    """A model ready to run, whatever it was loaded from.

    Attributes:
        start: callable from a sample tile of a volume to an engine, see `inference.engines`.
        metadata: as of `networks.models.metadata`.
    """

    start: object
    metadata: dict

    def segment(self, volume, threshold=0.5, **options):
        """Yield labels and probabilities slab by slab; see `inference.predict.segment`.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of grey levels.
            threshold: least foreground probability, of two classes.
            **options: of `slabs`.

        Raises:
            ValueError: a threshold other than 0.5 is asked of more than two classes.
        """
        self.check_threshold(threshold)
        return segment(self.slabs(volume, **options), threshold)

    def check_two_classes(self):
        """Raise ValueError unless the model tells a foreground from a background."""
        if (classes := self.metadata["num_classes"]) > 2:
            raise ValueError(
                "Invalid value for `instances`. Expected a model of two classes. "
                f"Received: {classes} classes"
            )

    def check_threshold(self, threshold):
        """Raise ValueError for a threshold that the model has no use for."""
        classes = self.metadata["num_classes"]
        if threshold != 0.5 and classes > 2:
            raise ValueError(
                f"Invalid value for `threshold`. Expected 0.5 for a model of {classes} classes. "
                f"Received: threshold={threshold}"
            )

    def slabs(self, volume, *, engine=None, scale=(1, 1, 1), on_tile=None, **options):
        """Yield finished z slabs `(z, values)`; see `inference.predict.predict_slabs`.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of grey levels.
            engine: of `engine`, where it was made before; else made of the other options.
            scale: as of `engine`.
            on_tile: called with the number of tiles done and their total.
            **options: `tile` and `seamless` of `predict_slabs`, the others of `engine`.
        """
        dims, scale = self.metadata["spatial_dims"], self.seen(scale)
        cut = {name: options.pop(name) for name in ("tile", "seamless") if name in options}
        tile_plan(volume.shape, dims, scale=scale, **cut)
        engine = engine or self.engine(volume, scale=scale, **options)
        return predict_slabs(engine, volume, dims, on_tile=on_tile, scale=scale, **cut)

    def seen(self, scale):
        """Return a scale of 1 along z for a network that sees planes, else as it is."""
        dims = self.metadata["spatial_dims"]
        return (1,) * (3 - dims) + tuple(scale)[3 - dims :]

    def intensity(self, volume, normalization="volume", on_progress=None):
        """Return the `Intensity` to standardise a volume by, None for the model's own constants.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of grey levels.
            normalization: as of `engine`.
            on_progress: called with the number of pieces read and their total.

        Raises:
            ValueError: the model has no constants, or the volume no statistics to go by.
        """
        if isinstance(normalization, Intensity):
            return normalization
        if isinstance(normalization, str) and normalization == "volume":
            return Intensity.of(volume, on_progress)
        if isinstance(normalization, str) and normalization == "model":
            self.check_constants()
            return None
        if isinstance(normalization, str) or np.shape(normalization)[:1] != (2,):
            raise ValueError(
                "Invalid value for `normalization`. Expected 'volume', 'model' or (mean, standard "
                f"deviation). Received: normalization={normalization!r}"
            )
        return Intensity(*np.asarray(normalization, float).tolist())

    def check_constants(self):
        """Raise ValueError unless the model itself standardises grey levels."""
        if not self.metadata["normalization"]:
            raise ValueError(
                "Invalid value for `normalization`. Expected 'volume' or (mean, standard "
                "deviation) for a model without constants. Received: 'model'"
            )

    def engine(self, volume, *, tta=False, normalization="volume", scale=(1, 1, 1)):
        """Return the engine of raw grey levels for the tiles of a volume.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of grey levels.
            tta: average over flips and transpositions.
            normalization: "volume" to standardise grey levels by the volume's own statistics,
                "model" by the constants in the model, or `(mean, standard deviation)`, or an
                `Intensity`.
            scale: how many voxels the network sees for one of the volume, along (z, y, x).

        Raises:
            ValueError: the model takes another number of channels.
        """
        if (channels := channels_of(volume)) != self.metadata["channels"]:
            raise ValueError(
                f"Invalid value for `model`. Expected one of the volume's channels, {channels}. "
                f"Received: {self.metadata['channels']} channels"
            )
        dims, own = self.metadata["spatial_dims"], self.metadata["normalization"]
        intensity, sample = self.intensity(volume, normalization), sample_tile(volume, dims)
        engine = self.start(intensity.standardize(sample, own) if intensity else sample)
        engine, scale = averaged(engine, dims) if tta else engine, self.seen(scale)
        if intensity:
            engine = Standardized(engine, intensity, own)
        return engine if scale == (1, 1, 1) else resampled(engine, scale, dims)


class Ensemble(Segmenter):
    """Several models whose probabilities are averaged.

    Args:
        members: their `Segmenter`s, of as many spatial axes and classes.

    Raises:
        ValueError: they differ in those.
    """

    def __init__(self, members):
        about = [member.metadata for member in members]
        for name in ("spatial_dims", "num_classes"):
            if len({row[name] for row in about}) > 1:
                raise ValueError(
                    f"Invalid value for `model`. Expected models of one {name}. "
                    f"Received: {', '.join(str(row[name]) for row in about)}"
                )
        super().__init__(None, about[0])
        self.members = members

    def check_constants(self):
        """Raise ValueError unless every member itself standardises grey levels."""
        for member in self.members:
            member.check_constants()

    def engine(self, volume, *, normalization="volume", **options):
        """Return the engine that averages those of the members; see `Segmenter.engine`."""
        intensity = self.intensity(volume, normalization) or "model"
        engines = (m.engine(volume, normalization=intensity, **options) for m in self.members)
        return together(list(engines))
