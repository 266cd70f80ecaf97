"""A model, or several together, ready to run on volumes."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from ..data.patches import channels_of, grey_statistics
from ..inference.predict import (
    averaged,
    predict_slabs,
    resampled,
    sample_tile,
    segment,
    standardised,
    tile_plan,
    together,
)


@dataclass
class Segmenter:
    """A model ready to run, whatever it was loaded from.

    Attributes:
        start: callable from a sample tile of a volume to an engine, see `inference.engines`.
        metadata: as of `zoo.export.metadata`.
    """

    start: object
    metadata: dict

    def segment(self, volume, threshold=0.5, *, on_tile=None, **options):
        """Yield labels and probabilities slab by slab; see `inference.predict.segment`.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of grey levels.
            threshold: least foreground probability, of two classes.
            on_tile: called with the number of tiles done and their total.
            **options: of `slabs`.

        Raises:
            ValueError: a threshold other than 0.5 is asked of more than two classes.
        """
        self.check_threshold(threshold)
        return segment(self.slabs(volume, on_tile=on_tile, **options), threshold)

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

    def slabs(self, volume, *, tile=None, seamless=False, scale=(1, 1, 1), on_tile=None, **options):
        """Yield finished z slabs `(z, values)`; see `inference.predict.predict_slabs`."""
        scale = self.seen(scale)
        dims, cut = self.metadata["spatial_dims"], {"seamless": seamless, "scale": scale}
        tile_plan(volume.shape, dims, tile, **cut)
        engine = self.engine(volume, scale=scale, **options)
        return predict_slabs(engine, volume, dims, tile=tile, on_tile=on_tile, **cut)

    def seen(self, scale):
        """Return a scale of 1 along z for a network that sees planes, else as it is."""
        dims = self.metadata["spatial_dims"]
        return (1,) * (3 - dims) + tuple(scale)[3 - dims :]

    def constants(self, volume, normalization):
        """Return the pair to standardise by, None for the model's own; arguments of `engine`."""
        if normalization == "volume" or not (normalization or self.metadata["normalization"]):
            return grey_statistics(volume)
        return normalization

    def engine(self, volume, *, tta=False, normalization=None, scale=(1, 1, 1)):
        """Return the engine of raw grey levels for the tiles of a volume.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of grey levels.
            tta: average over flips and transpositions.
            normalization: `(mean, standard deviation)` to standardise grey levels by; "volume" for
                the volume's own; None for those that the model was trained with, if it was.
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
        normalization = self.constants(volume, normalization)
        sample, prepare = sample_tile(volume, dims), lambda engine: engine
        if normalization:
            prepare = partial(standardised, normalization=normalization, own=own)
        engine = prepare(self.start(prepare(np.asarray)(sample)))
        engine, scale = averaged(engine, dims) if tta else engine, self.seen(scale)
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
        known = all(row["normalization"] for row in about)
        metadata = about[0] if known else {**about[0], "normalization": None}
        super().__init__(None, metadata)
        self.members = members

    def engine(self, volume, **options):
        """Return the engine that averages those of the members; see `Segmenter.engine`."""
        return together([member.engine(volume, **options) for member in self.members])
