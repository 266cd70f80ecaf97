"""Confident predictions of a trained network as labels of sections without annotation."""

import math

import numpy as np

from ...inference.engines.output import to_probability
from ...inference.open_model import open_model
from ...inference.options import PredictionOptions
from ...progress import progress_bar
from ...volumes.labels import NOT_ANNOTATED

# A prediction is confident if its probability is this share of the way from the threshold to 0
# or 1.
CONFIDENT_SHARE = 0.8
# For more than two classes: if the most probable class has this probability.
CONFIDENT_PROBABILITY = 0.9


def confident_labels(model, volume, threshold, defaults):
    """Return confident predictions where a volume is not annotated, 255 elsewhere.

    Args:
        model: folder of a run.
        volume: a `LabelledVolume` in memory.
        threshold: minimum foreground probability of the model, of two classes.
        defaults: `PredictionDefaults` of the model.

    Returns:
        uint8 class ids `(z, y, x)`.
    """
    predictor = open_model(model, defaults=defaults)
    label = np.asarray(volume.label)
    found, z = np.empty_like(label), 0
    options = PredictionOptions(normalization=volume.intensity)
    with progress_bar("predicting sections without annotation") as on_progress:
        for _, values in predictor.slabs(volume.image, options, on_progress=on_progress):
            found[z : z + len(values)] = confident_ids(to_probability(values), threshold)
            z += len(values)
    found[label != NOT_ANNOTATED] = NOT_ANNOTATED
    return found


def confident_ids(probability, threshold):
    """Return class ids of probabilities `(z, y, x, maps)`, 255 where they are not confident."""
    if probability.shape[-1] > 2:
        likeliest = probability.argmax(-1).astype(np.uint8)
        return np.where(
            probability.max(-1) >= CONFIDENT_PROBABILITY, likeliest, np.uint8(NOT_ANNOTATED)
        )
    foreground = probability[..., -1]
    ids = np.full(foreground.shape, NOT_ANNOTATED, np.uint8)
    ids[foreground <= threshold * (1 - CONFIDENT_SHARE)] = 0
    ids[foreground >= threshold + CONFIDENT_SHARE * (1 - threshold)] = 1
    return ids


def confident_text(found):
    """Return one line about confident labels."""
    known = np.count_nonzero(found != NOT_ANNOTATED)
    marked = np.count_nonzero((found != NOT_ANNOTATED) & (found > 0))
    return (
        f"Self-training: confident predictions label {known / math.prod(found.shape):.0%} of the "
        f"stack, {marked / max(known, 1):.1%} of them foreground"
    )
