"""Labels for sections that nobody annotated: what a trained network is sure of."""

import math

import numpy as np

from ..inference.open_model import open_model
from ..inference.options import PredictionOptions
from ..inference.predict import decoded
from ..report.console import progress_bar
from ..volumes.volume import NOT_ANNOTATED

# How far from the threshold, as a share of what there is, a probability is sure; and the least
# probability of the likeliest of more than two classes.
SURE, LIKELY = 0.8, 0.9


def confident_labels(model, volume, threshold=0.5):
    """Return what a model is sure of where a volume is not annotated, 255 elsewhere.

    Args:
        model: folder of a run.
        volume: a `LabelledVolume` in memory.
        threshold: least foreground probability of the model, of two classes.

    Returns:
        uint8 class ids `(z, y, x)`.
    """
    predictor, found, z = open_model(model), np.empty_like(volume.label), 0
    options = PredictionOptions(normalization=volume.intensity)
    with progress_bar("predicting sections without annotation") as on_progress:
        for _, values in predictor.slabs(volume.image, options, on_progress=on_progress):
            found[z : z + len(values)] = sure(decoded(values), threshold)
            z += len(values)
    found[volume.label != NOT_ANNOTATED] = NOT_ANNOTATED
    return found


def sure(probability, threshold):
    """Return class ids of probabilities `(z, y, x, maps)`, 255 where they are not sure."""
    if probability.shape[-1] > 2:
        likeliest = probability.argmax(-1).astype(np.uint8)
        return np.where(probability.max(-1) >= LIKELY, likeliest, np.uint8(NOT_ANNOTATED))
    foreground = probability[..., -1]
    ids = np.full(foreground.shape, NOT_ANNOTATED, np.uint8)
    ids[foreground <= threshold * (1 - SURE)] = 0
    ids[foreground >= threshold + SURE * (1 - threshold)] = 1
    return ids


def told_of(found):
    """Return one line about confident labels."""
    known = np.count_nonzero(found != NOT_ANNOTATED)
    marked = np.count_nonzero((found != NOT_ANNOTATED) & (found > 0))
    return (
        f"Self-training: {known / math.prod(found.shape):.0%} of the stack gets labels that the "
        f"network is sure of, {marked / max(known, 1):.1%} of them foreground"
    )
