"""Everything that depends on a model and a volume, determined once before prediction."""

from dataclasses import dataclass
from functools import cached_property

from .options import PredictionOptions
from .section_smoothing import SectionSmoothing, padding_of
from .tiled_prediction import planned_slabs, tile_plan


@dataclass(frozen=True)
class PreparedPrediction:
    """A model ready to run on a volume, see `Predictor.prepare`.

    Attributes:
        predictor: the `Predictor`.
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like of intensities.
        options: `PredictionOptions` from `Predictor.resolved`, whose normalization was measured.
        section_smoothing: the `SectionSmoothing` of the volume.
    """

    predictor: object
    volume: object
    options: PredictionOptions
    section_smoothing: SectionSmoothing

    @property
    def intensity(self):
        """`IntensityStatistics` to standardise with, None for the model's own constants."""
        value = self.options.normalization
        return None if value == "model" else value

    @property
    def spatial_dims(self):
        """2 or 3, of the network."""
        return self.predictor.spatial_dims

    @property
    def scales(self):
        """The scales (z, y, x) at which the network sees the volume."""
        return self.predictor.scales(self.options)

    @property
    def halo(self):
        """Context (z, y, x) of a tile in voxels of the volume."""
        return self.predictor.halo(self.options)

    @cached_property
    def engine(self):
        """The engine of raw intensities for the tiles of the volume, started when it is needed."""
        return self.predictor.engine(self.volume, self.options)

    def start(self):
        """Start the engine now, which takes seconds for some models."""
        return self.engine

    @property
    def description(self):
        """Lines to display: what is done to the volume, and what is averaged."""
        denoising = self.predictor.denoising(self.volume, self.options)
        averaging = self.predictor.averaging_text(self.section_smoothing, self.options)
        return [str(fact) for fact in (self.intensity, denoising, averaging) if fact]

    def slabs(self, on_progress=None, part=None):
        """Yield finished z slabs `(z, values)`; see `tiled_prediction.planned_slabs`.

        Args:
            on_progress: called with the number of tiles done and their total.
            part: a part of the volume, as an array-like, to predict instead of all of it.
        """
        volume = self.volume if part is None else part
        axes = tile_plan(
            volume.shape,
            self.spatial_dims,
            self.options.tile,
            scales=self.scales,
            halo=self.halo,
        )
        slabs = planned_slabs(self.engine, volume, axes, on_progress)
        if not self.section_smoothing.sigma:
            return slabs
        padded = padding_of(volume, self.intensity)
        return self.section_smoothing.slabs(slabs, 0, volume.shape[0], padded)
