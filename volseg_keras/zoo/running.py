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

    def by_volume(self, normalization):
        """Return whether `engine` has to read a whole volume, to standardise by its statistics."""
        return normalization == "volume" or not (normalization or self.metadata["normalization"])

    def constants(self, volume, normalization):
        """Return the pair to standardise by, None for the model's own; arguments of `engine`."""
        return grey_statistics(volume) if self.by_volume(normalization) else normalization

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

    def constants(self, volume, normalization):
        """Return those of every member: one may have constants of its own, and another not."""
        asked = [member.by_volume(normalization) for member in self.members]
        found = grey_statistics(volume) if any(asked) else None
        return {"members": [found if by_volume else normalization for by_volume in asked]}

    def engine(self, volume, *, normalization=None, **options):
        """Return the engine that averages those of the members; see `Segmenter.engine`."""
        if not isinstance(normalization, dict):
            normalization = self.constants(volume, normalization)
        pairs = zip(self.members, normalization["members"], strict=True)
        return together([m.engine(volume, normalization=own, **options) for m, own in pairs])
