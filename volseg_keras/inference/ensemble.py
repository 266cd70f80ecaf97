"""Several models whose probabilities are averaged."""

import math
from dataclasses import dataclass, replace

from ..errors import require
from ..pretrained.prediction_defaults import PredictionDefaults
from .denoising import Denoising
from .engines.wrappers import Averaged, InThickTiles
from .predictor import Predictor
from .tiled_prediction import voxels_at_once


@dataclass(frozen=True)
class EnsemblePredictor(Predictor):
    """Several models whose probabilities are averaged, see `of`.

    Each has its own zooms and views. 2D networks beside 3D ones get the tiles of the 3D networks,
    and each smooths over the sections of a tile; 2D networks alone share the mean of their
    smoothing. Intensities are standardised for all of them alike.

    Attributes:
        members: their `Predictor`s.
    """

    members: tuple = ()

    @classmethod
    def of(cls, members):
        """Return the ensemble of several `Predictor`s.

        Raises:
            ValueError: they differ in the number of classes.
        """
        classes = [member.metadata.num_classes for member in members]
        received = ", ".join(map(str, classes))
        require(len(set(classes)) == 1, "model", "models of the same num_classes", received)
        smoothing = sum(member.defaults.smoothing for member in members) / len(members)
        defaults = PredictionDefaults(smoothing=smoothing)
        deepest = max(members, key=lambda member: member.spatial_dims)
        return cls(None, deepest.metadata, defaults, tuple(members))

    def check_options(self, options):
        """Raise ValueError for options that have no effect on any member."""
        members = sorted(self.members, key=lambda member: member.spatial_dims)
        members[0].check_options(options)  # a 2D network, if there is one

    def check_volume(self, volume):
        """Raise ValueError for a volume whose axes or channels do not suit every member."""
        for member in self.members:
            member.check_volume(volume)

    def check_constants(self):
        """Raise ValueError unless every member itself standardises intensities."""
        for member in self.members:
            member.check_constants()

    def chosen_normalization(self, options):
        """Return the normalization of all members; see `Predictor.chosen_normalization`.

        Raises:
            ValueError: they were trained with different ones, and none is given.
        """
        first, *others = (member.chosen_normalization(options) for member in self.members)
        expected = '"volume" or (mean, standard deviation), as the models were trained with others'
        require(all(other == first for other in others), "normalization", expected, "none")
        return first

    def resolved(self, volume, options):
        """Return the options as they are, since every member has its own."""
        return options

    def scales(self, options):
        """Return the scales (z, y, x) at which the members see a volume."""
        return [scale for member in self.members for scale in member.scales(options)]

    def halo(self, options):
        """Return the context (z, y, x) of a tile that is enough for all members."""
        return tuple(map(max, zip(*(each.halo(options) for each in self.members), strict=True)))

    @property
    def all_defaults(self):
        """The `PredictionDefaults` of every model."""
        return [each for member in self.members for each in member.all_defaults]

    def denoising(self, volume, options):
        """Return the `Denoising` of the first member that smooths the volume, if any does."""
        found = (member.denoising(volume, options) for member in self.members)
        return next(filter(None, found), Denoising())

    def averaging_text(self, smoothing, options):
        """Return a line that says what is averaged; see `Predictor.averaging_text`."""
        parts = [f"{len(self.members)} models", *([str(smoothing)] if smoothing.sigma else [])]
        return f"Probabilities are averaged over {' and '.join(parts)}"

    def engine(self, volume, options):
        """Return the engine that averages those of the members; see `Predictor.engine`."""
        engines = (self._engine_of(member, volume, options) for member in self.members)
        return Averaged(tuple(engines))

    def _engine_of(self, member, volume, options):
        """Return the engine of a member for the tiles of all of them."""
        if member.spatial_dims == self.spatial_dims:  # only their mean is smoothed
            return member.prepare(volume, replace(options, smoothing=0)).engine
        prepared = member.prepare(volume, options)
        voxels = voxels_at_once(prepared.spatial_dims, max(prepared.scales, key=math.prod)) // 2
        smoothing, intensity = prepared.section_smoothing, prepared.intensity
        return InThickTiles(prepared.engine, voxels, smoothing, intensity)

    def release(self):
        """Release the memory of all members."""
        for member in self.members:
            member.release()
