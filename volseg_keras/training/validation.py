"""Scores of the held-out parts, slab by slab."""

from dataclasses import dataclass, replace

import numpy as np

from ..inference.engines.output import foreground_probability, to_labels
from ..inference.options import PLAIN_PREDICTION
from ..inference.predictor import Predictor
from ..networks.models import metadata
from ..scores import Confusion, ThresholdScores, best_threshold
from ..volumes.labels import NOT_ANNOTATED
from .data.annotated_sections import without_context

# How a network is scored while it is trained, by number of spatial axes. One view of a volume
# misleads: H, trained on EPFL alone, scored 0.855 by one and 0.930 by two.
WHILE_TRAINING = {2: PLAIN_PREDICTION, 3: replace(PLAIN_PREDICTION, tta=2)}


@dataclass(frozen=True)
class HeldOutScores:
    """Scores of a network on the held-out parts.

    Attributes:
        jaccard: Jaccard index of each part by its name, see `scores.Confusion.foreground_jaccard`.
        threshold: minimum foreground probability for which the mean of the parts is highest; 0.5
            for more than two classes.
    """

    jaccard: dict
    threshold: float

    @property
    def mean(self):
        """Mean over the parts."""
        return float(np.mean(list(self.jaccard.values())))


def score(model, engine, parts, contrast=1.0, options=PLAIN_PREDICTION):
    """Score a network of standardised intensities.

    Args:
        model: the network.
        engine: that runs it, see `inference.engines`.
        parts: `LabelledVolume`s that it was not trained on.
        contrast: gain of the standardised intensities.
        options: `PredictionOptions`, of which the normalization is that of each part.

    Returns:
        A `HeldOutScores`.
    """
    return predictor_score(
        Predictor(lambda sample: engine, metadata(model)), parts, contrast, options
    )


def predictor_score(predictor, parts, contrast=1.0, options=PLAIN_PREDICTION):
    """Score a `Predictor`; the other arguments are those of `score`."""
    classes = predictor.metadata.num_classes
    jaccard, curves = {}, []
    for part in parts:
        confusion = Confusion(classes, NOT_ANNOTATED)
        thresholds = ThresholdScores(NOT_ANNOTATED)
        if predictor.spatial_dims == 2 and not predictor.chosen_smoothing(options):
            part = without_context(part)
        intensity = part.intensity.at_contrast(contrast)
        slabs = predictor.slabs(part.image, replace(options, normalization=intensity))
        for z, values in slabs:
            truth = np.asarray(part.label[z : z + len(values)])
            confusion.add(truth, to_labels(values))
            if classes == 2:
                thresholds.add(truth, foreground_probability(values))
        jaccard[part.name] = confusion.foreground_jaccard()
        curves.append(thresholds.jaccard())
    threshold = best_threshold(np.mean(curves, axis=0)) if classes == 2 else 0.5
    return HeldOutScores(jaccard, threshold)
