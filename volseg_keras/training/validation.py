"""Scores of the held-out parts, slab by slab."""

from dataclasses import dataclass

import numpy as np

from ..inference.engines import to_labels
from ..inference.section_smoothing import SectionSmoothing
from ..inference.tiled_prediction import not_background, predict_slabs
from ..inference.wrappers import Standardized
from ..networks.models import spatial_dims_of
from ..scores import Confusion, ThresholdScores, best_threshold
from ..volumes.labels import NOT_ANNOTATED
from .annotated_sections import without_context


@dataclass(frozen=True)
class HeldOutScores:
    """Scores of a network on the held-out parts.

    Attributes:
        jaccard: Jaccard index of each part by its name, the mean of the foreground classes.
        threshold: the least foreground probability for which the mean of the parts is highest; 0.5
            for more than two classes.
    """

    jaccard: dict
    threshold: float

    @property
    def mean(self):
        """Mean over the parts."""
        return float(np.mean(list(self.jaccard.values())))


def score(model, engine, parts, contrast=1.0, smoothing=0.0):
    """Score a network of standardised intensities.

    Args:
        model: the network.
        engine: that runs it, see `inference.engines`.
        parts: `LabelledVolume`s that it was not trained on.
        contrast: gain of the standardised intensities.
        smoothing: of a 2D network's probabilities over sections, see `SectionSmoothing`, in pixels.

    Returns:
        A `HeldOutScores`.
    """
    dims, classes = spatial_dims_of(model), model.output_shape[-1]
    jaccard, curves = {}, []
    for part in parts:
        confusion = Confusion(classes, NOT_ANNOTATED)
        thresholds = ThresholdScores(NOT_ANNOTATED)
        if dims == 2 and not smoothing:
            part = without_context(part)
        ready = Standardized(engine, part.intensity.at_contrast(contrast))
        slabs = predict_slabs(ready, part.image, dims)
        if smoothing:
            slabs = SectionSmoothing.of(part.image, smoothing).slabs(slabs, 0, len(part.label))
        for z, values in slabs:
            truth = np.asarray(part.label[z : z + len(values)])
            confusion.add(truth, to_labels(values))
            if classes == 2:
                thresholds.add(truth, not_background(values))
        jaccard[part.name] = confusion.foreground_jaccard()
        curves.append(thresholds.jaccard())
    threshold = best_threshold(np.mean(curves, axis=0)) if classes == 2 else 0.5
    return HeldOutScores(jaccard, threshold)
