"""Engines that wrap engines: they standardise, average views or models, or resample."""

import math
from dataclasses import dataclass

import numpy as np

from ...networks.metadata import Normalization
from ...volumes.intensity import IntensityStatistics
from ..denoising import Denoising
from ..section_smoothing import SectionSmoothing, padding_of
from ..tiled_prediction import multiples
from .output import to_probability


@dataclass(frozen=True)
class Standardized:
    """An engine of raw intensities.

    Attributes:
        engine: of standardised intensities, or of intensities that it standardises itself.
        intensity: `IntensityStatistics` of the raw intensities.
        model_normalization: `Normalization` of the engine, None if it does not standardise.
    """

    engine: object
    intensity: IntensityStatistics
    model_normalization: Normalization | None = None

    def __call__(self, tile):
        """Return the engine's values for a tile; padding is background."""
        padded = self.intensity.padded(tile)
        tile = self.intensity.standardize(tile, self.model_normalization, padded)
        values = self.engine(tile)
        if padded is None:
            return values
        values, outside = np.array(values), padded if padded.ndim == 3 else padded.all(-1)
        values[outside] = 0
        if values.shape[-1] > 1:
            values[outside, 0] = 1
        return values


# Views of a tile: the axes that are flipped, and whether y and x are then swapped. Rotations come
# before mirror images; the first n are the best n.
VIEWS_3D = (
    ((), False),
    ((0,), True),
    ((0, 1), False),
    ((1,), True),
    ((1, 2), False),
    ((0, 1, 2), True),
    ((0, 2), False),
    ((2,), True),
    ((0,), False),
    ((), True),
    ((1,), False),
    ((0, 1), True),
    ((2,), False),
    ((0, 2), True),
    ((0, 1, 2), False),
    ((1, 2), True),
)
VIEWS = {2: tuple(view for view in VIEWS_3D if 0 not in view[0]), 3: VIEWS_3D}


@dataclass(frozen=True)
class Denoised:
    """An engine that smooths tiles for another engine.

    Attributes:
        engine: of smoothed tiles.
        denoising: `Denoising`.
    """

    engine: object
    denoising: Denoising

    def __call__(self, tile):
        """Return the engine's values for a tile."""
        return self.engine(self.denoising(tile))


@dataclass(frozen=True)
class FlipAveraged:
    """An engine that averages over views of a tile, each put back in place.

    Attributes:
        engine: of one view.
        views: some of `VIEWS`.
    """

    engine: object
    views: tuple

    def __call__(self, tile):
        """Return the mean over the views, levels as levels."""
        total = None
        for flip, swap in self.views:
            view = np.flip(tile, flip)
            result = self.engine(np.ascontiguousarray(view.swapaxes(1, 2) if swap else view))
            if total is None:
                levels = result.dtype == np.uint8
                total = np.zeros((*tile.shape[:3], result.shape[-1]), "u2" if levels else "f4")
            total += np.flip(result.swapaxes(1, 2) if swap else result, flip)
        mean = total / np.float32(len(self.views))
        return np.rint(mean, out=mean).astype(np.uint8) if levels else mean


@dataclass(frozen=True)
class Averaged:
    """An engine that averages several: those of models, or of the zooms of one model.

    Attributes:
        engines: each from a tile to values.
    """

    engines: tuple

    def __call__(self, tile):
        """Return the mean of their values, as levels if all of them return levels."""
        results = [engine(tile) for engine in self.engines]
        if all(result.dtype == np.uint8 for result in results):
            return np.rint(np.mean(results, axis=0, dtype=np.float32)).astype(np.uint8)
        return np.mean([to_probability(result) for result in results], axis=0, dtype=np.float32)


@dataclass(frozen=True)
class InThickTiles:
    """An engine of a 2D network for the tiles of a 3D one.

    Attributes:
        engine: of a few sections.
        voxels: how many it takes at once.
        smoothing: `SectionSmoothing` of its probabilities.
        intensity: `IntensityStatistics` of the volume, None for the model's own constants.
    """

    engine: object
    voxels: int
    smoothing: SectionSmoothing
    intensity: IntensityStatistics | None

    def __call__(self, tile):
        """Return the engine's values for a tile, smoothed over its sections."""
        most = self.voxels // math.prod(tile.shape[1:3])
        # Equal parts, as each shape is compiled.
        count = max(n for n in range(1, len(tile) + 1) if len(tile) % n == 0 and n <= max(1, most))
        parts = [self.engine(tile[z : z + count]) for z in range(0, len(tile), count)]
        values = np.concatenate(parts)
        if not self.smoothing.sigma:
            return values
        padded = padding_of(tile, self.intensity)
        slabs = self.smoothing.slabs([(0, values)], 0, len(values), padded)
        return np.concatenate([smoothed for _, smoothed in slabs])


@dataclass(frozen=True)
class Resampled:
    """An engine that resamples tiles for another engine, and returns float32.

    Attributes:
        engine: of resampled tiles.
        scale: voxels that it sees per voxel of the volume, along (z, y, x).
        spatial_dims: of the network.
    """

    engine: object
    scale: tuple
    spatial_dims: int

    def __call__(self, tile):
        """Return the probabilities of a tile, in voxels of the volume."""
        from skimage.transform import resize

        options = {"order": 1, "mode": "edge", "preserve_range": True}
        shape = [max(1, round(n * s)) for n, s in zip(tile.shape, self.scale, strict=False)]
        smooth = any(a < b for a, b in zip(shape, tile.shape, strict=False))
        view = resize(tile.astype(np.float32), shape, anti_aliasing=smooth, **options)
        steps = multiples(self.spatial_dims)
        pads = [(0, -n % m) for n, m in zip(shape, steps, strict=True)]
        pads += [(0, 0)] * (tile.ndim - 3)
        values = to_probability(self.engine(np.pad(view, pads, mode="reflect")))
        values = values[tuple(slice(n) for n in shape)]
        maps = (resize(values[..., i], tile.shape[:3], **options) for i in range(values.shape[-1]))
        return np.stack(list(maps), axis=-1, dtype=np.float32)
