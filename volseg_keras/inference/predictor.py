"""A model, or an ensemble of several, ready to run on volumes."""

import math
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from ..errors import require
from ..networks.metadata import ModelMetadata
from ..pretrained.choice import BEST
from ..pretrained.prediction_defaults import PredictionDefaults
from ..volumes.dimensions import channels_of, check_axes
from ..volumes.intensity import IntensityStatistics
from .denoising import Denoising
from .engines.wrappers import (
    VIEWS,
    Averaged,
    Denoised,
    FlipAveraged,
    Resampled,
    Standardized,
)
from .options import PredictionOptions
from .prepared_prediction import PreparedPrediction
from .section_smoothing import SectionSmoothing
from .tiled_prediction import halo_of, sample_tile, smallest


@dataclass(frozen=True)
class Predictor:
    """A model ready to run, of any format.

    Attributes:
        engine_factory: see `inference.engines.factories`.
        metadata: `ModelMetadata`.
        defaults: `PredictionDefaults` for options that are None.
    """

    engine_factory: object
    metadata: ModelMetadata
    defaults: PredictionDefaults = PredictionDefaults()

    @property
    def spatial_dims(self):
        """2 or 3, of the network."""
        return self.metadata.spatial_dims

    def check_labels(self, threshold=0.5, instances=False):
        """Raise ValueError for a threshold out of range, or an option that needs two classes.

        Args:
            threshold: minimum foreground probability.
            instances: whether instances are to be found.
        """
        classes = self.metadata.num_classes
        good = isinstance(threshold, Real) and 0 < threshold < 1
        require(good, "threshold", "a number between 0 and 1", f"{threshold=}")
        good = threshold == 0.5 or classes <= 2
        require(good, "threshold", f"0.5 for a model of {classes} classes", f"{threshold=}")
        good = not instances or classes <= 2
        expected = "a model of two classes; for more, use `volseg measure --components` afterwards"
        require(good, "instances", expected, f"{classes} classes")

    def check_options(self, options):
        """Raise ValueError for options that have no effect on this model.

        Args:
            options: `PredictionOptions`.
        """
        if self.spatial_dims == 2:
            return
        for name, neutral in (("smoothing", 0), ("zooms", (1,))):
            value = getattr(options, name)
            good = value is None or value == neutral
            require(
                good,
                name,
                f"none, or a 2D model such as {BEST[2][0]}",
                f"{name}={value} with a 3D model",
            )

    def check_volume(self, volume):
        """Raise ValueError for a volume of other axes or of another number of channels."""
        check_axes(volume)
        own, given = self.metadata.channels, channels_of(volume)
        expected = f"a model of {given} channel{'s' * (given > 1)}, like the volume"
        require(given == own, "model", expected, f"one of {own} channel{'s' * (own > 1)}")

    def check(self, volume, options, threshold=0.5, instances=False):
        """Raise ValueError unless a volume can be predicted with these options.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like; no voxel of it is read.
            options: `PredictionOptions`.
            threshold: see `check_labels`.
            instances: see `check_labels`.
        """
        self.check_labels(threshold, instances)
        self.check_volume(volume)
        self.check_options(options)

    def prepare(self, volume, options=None):
        """Return the `PreparedPrediction` of a volume, which is measured for it.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of intensities.
            options: `PredictionOptions`; those that have no effect are ignored, see `check`.

        Raises:
            ValueError: the model takes another number of channels, or the volume is constant.
        """
        options = options or PredictionOptions()
        self.check_volume(volume)
        intensity = self.intensity(volume, self.chosen_normalization(options))
        options = self.resolved(volume, replace(options, normalization=intensity or "model"))
        sections = self.section_smoothing(volume, options)
        return PreparedPrediction(self, volume, options, sections)

    def slabs(self, volume, options=None, on_progress=None):
        """Yield finished z slabs `(z, values)` of a volume; see `prepare` and its `slabs`."""
        return self.prepare(volume, options).slabs(on_progress)

    def model_scale(self, scale):
        """Return a scale, set to 1 along z for a 2D network."""
        return (1,) * (3 - self.spatial_dims) + tuple(scale)[3 - self.spatial_dims :]

    def chosen_zooms(self, options):
        """Return the zooms of `PredictionOptions`, by default the model's own."""
        return self.defaults.zooms if options.zooms is None else options.zooms

    def chosen_smoothing(self, options):
        """Return the smoothing of `PredictionOptions`, by default the model's own."""
        return self.defaults.smoothing if options.smoothing is None else options.smoothing

    def chosen_normalization(self, options):
        """Return the normalization of `PredictionOptions`, by default as in training."""
        if options.normalization is not None:
            return options.normalization
        if self.defaults.normalize == "volume":
            return "volume"
        self.check_constants()
        constants = self.metadata.normalization
        return IntensityStatistics(constants.mean, constants.standard_deviation, padding=None)

    def views(self, options):
        """Return the number of views that `PredictionOptions` averages over."""
        most = len(VIEWS[self.spatial_dims])
        if isinstance(options.tta, bool):
            return most if options.tta else 1
        views = self.defaults.views if options.tta is None else options.tta
        return min(max(views, 1), most)

    def denoising(self, volume, options):
        """Return the `Denoising` of a volume; for a 2D network only if requested.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of intensities.
            options: `PredictionOptions`.
        """
        if isinstance(options.denoise, Denoising):
            return options.denoise
        if options.denoise is not None:
            return Denoising.of_pixels(volume, options.denoise, self.spatial_dims, options.scale)
        if self.spatial_dims == 2 or options.normalization == "model":
            return Denoising()
        return Denoising.automatic(volume, self.defaults.noise, options.scale)

    def resolved(self, volume, options):
        """Return `PredictionOptions` with the defaults for the model and the volume filled in.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of intensities.
            options: `PredictionOptions`.
        """
        return replace(
            options,
            tta=self.views(options) if options.tta is None else options.tta,
            smoothing=self.chosen_smoothing(options),
            zooms=self.chosen_zooms(options),
            denoise=self.denoising(volume, options) if options.denoise is None else options.denoise,
        )

    def scales(self, options):
        """Return the scales (z, y, x) at which the network sees a volume, one for each zoom."""
        scale = self.model_scale(options.scale)
        if self.spatial_dims == 3:
            return [scale]
        zooms = self.chosen_zooms(options)
        return [(1, *(round(zoom * side, 4) for side in scale[1:])) for zoom in zooms]

    def halo(self, options):
        """Return the context (z, y, x) of a tile in voxels of the volume."""
        return halo_of(self.spatial_dims, options.seamless, smallest(self.scales(options)))

    @property
    def all_defaults(self):
        """The `PredictionDefaults` of every model."""
        return [self.defaults]

    def averaging_text(self, smoothing, options):
        """Return a line that says what is averaged, or "".

        Args:
            smoothing: the `SectionSmoothing` of the volume.
            options: `PredictionOptions`.
        """
        count = len(self.scales(options))
        views = self.views(options)
        parts = [f"{views} views"] if views > 1 else []
        parts += [f"{count} zooms"] if count > 1 else []
        parts += [str(smoothing)] if smoothing.sigma else []
        return f"Probabilities are averaged over {' and '.join(parts)}" if parts else ""

    def section_smoothing(self, volume, options):
        """Return the `SectionSmoothing` of a volume: none for a 3D network, which sees neighbours.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of intensities.
            options: `PredictionOptions`.
        """
        if self.spatial_dims == 3:
            return SectionSmoothing()
        pixels = self.chosen_smoothing(options)
        return SectionSmoothing.of(volume, pixels / math.sqrt(math.prod(options.scale[1:])))

    def intensity(self, volume, normalization):
        """Return the `IntensityStatistics` of a volume, None for the model's own constants.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of intensities.
            normalization: see `PredictionOptions`; not None.

        Raises:
            ValueError: the model has no constants, or the volume is constant.
        """
        if normalization == "volume":
            return IntensityStatistics.of(volume)
        if normalization == "model":
            self.check_constants()
            return None
        channels, given = self.metadata.channels, np.size(normalization.mean)
        expected = f"a mean and a standard deviation, or {channels} of each, one per channel"
        require(given in (1, channels), "normalization", expected, f"{given} of each")
        return normalization.with_padding_of(volume)

    def check_constants(self):
        """Raise ValueError unless the model itself standardises intensities."""
        expected = "'volume' or (mean, standard deviation) for a model without constants"
        require(self.metadata.normalization, "normalization", expected, "'model'")

    def engine(self, volume, options):
        """Return the engine of raw intensities for the tiles of a volume.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of intensities.
            options: `PredictionOptions` from `resolved`.
        """
        model_normalization = self.metadata.normalization
        intensity = self.intensity(volume, options.normalization)
        sample = sample_tile(volume, self.spatial_dims)
        denoising, count = self.denoising(volume, options), self.views(options)
        if intensity and denoising:
            intensity = intensity.at_contrast(denoising.contrast)
        sample = intensity.standardize(sample, model_normalization) if intensity else sample
        engine = self.engine_factory(denoising(sample) if denoising else sample)
        if count > 1:
            engine = FlipAveraged(engine, VIEWS[self.spatial_dims][:count])
        if denoising:
            engine = Denoised(engine, denoising)
        if intensity:
            engine = Standardized(engine, intensity, model_normalization)
        zoomed = [
            engine if scale == (1, 1, 1) else Resampled(engine, scale, self.spatial_dims)
            for scale in self.scales(options)
        ]
        return zoomed[0] if len(zoomed) == 1 else Averaged(tuple(zoomed))

    def release(self):
        """Release the memory of large tiles, if the engine can."""
        if hasattr(self.engine_factory, "release"):
            self.engine_factory.release()
