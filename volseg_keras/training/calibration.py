"""What is chosen once a network is trained, on its held-out part: statistics, contrast and more."""

from itertools import product
from pathlib import Path

import keras
import numpy as np

from ..atomic import whole
from ..inference.engines import keras_engine
from ..inference.predict import label_map, not_background, predict_slabs, standardised
from ..nets.metrics import best_threshold, foreground_jaccard, segmentation_scores
from ..nets.models import split_normalization, with_normalization
from .freezing import batch_norms
from .statistics import settle_statistics

# A network may do best on another contrast than it was trained with on average: of gains from 0.8
# to 1.2, H has a Jaccard index of 0.926 on its held-out part at 1 and of 0.933 at 1.2.
CONTRASTS = (0.9, 1.0, 1.1, 1.2, 1.3)
# Of a smaller gain another part of the same tissue would tell the contrary.
LEAST_GAIN = 0.002


def calibrate(path, image, label, batches=(), **options):
    """Choose statistics, contrast and threshold of a saved network on its held-out part.

    Args:
        path: .keras file of `with_normalization`; it is written anew.
        image: `(z, y, x)` or `(z, y, x, channels)` grey levels.
        label: `(z, y, x)` class ids.
        batches: of the network's inputs, to take its statistics from, see `settle_statistics`.
        **options: `ignore_class` of `segmentation_scores`.

    Returns:
        A dict of `statistics`, those of the "training" or of the "prediction"; `contrast`;
        `threshold` (0.5 for more than two classes); and `held_out_jaccard`, the mean Jaccard index
        of the foreground classes with these and a threshold of 0.5.
    """
    path = Path(path)
    network, (*constants, _) = split_normalization(keras.saving.load_model(path, compile=False))
    engine, classes, found = keras_engine(network), network.output_shape[-1], []
    weights = {"training": network.get_weights()}
    if batches and batch_norms(network):
        settle_statistics(network, batches)
        weights["prediction"] = network.get_weights()
    for statistics, contrast in product(weights, CONTRASTS):
        network.set_weights(weights[statistics])
        slabs = list(held_out_slabs(network, engine, image, at_contrast(*constants, contrast)))
        jaccard = held_out_jaccard(slabs, classes, label, **options)
        row = {"statistics": statistics, "contrast": contrast, "held_out_jaccard": jaccard}
        found.append({**row, "threshold": threshold(slabs, label, **options)})
        print(f"{statistics} statistics  contrast {contrast:g}  held-out {jaccard:.3f}", flush=True)
    chosen = most_suitable(found)
    network.set_weights(weights[chosen["statistics"]])
    with whole(path) as part:
        with_normalization(network, *constants, chosen["contrast"]).save(part)
    return chosen


def most_suitable(found):
    """Return the row nearest to the training of those that are clearly no worse than the best."""
    best = max(row["held_out_jaccard"] for row in found)
    good = [row for row in found if row["held_out_jaccard"] > best - LEAST_GAIN]
    return min(good, key=lambda row: (row["statistics"] != "training", abs(row["contrast"] - 1)))


def at_contrast(mean, deviation, contrast):
    """Return the `(mean, deviation)` that standardise to a contrast."""
    return mean, np.divide(deviation, contrast).tolist()


def held_out_slabs(network, engine, image, normalization):
    """Return the slabs of `predict_slabs`.

    Args:
        network: of standardised grey levels.
        engine: that runs it, see `inference.engines`.
        image: `(z, y, x)` or `(z, y, x, channels)` grey levels.
        normalization: `(mean, standard deviation)` of the grey levels.
    """
    engine = standardised(engine, normalization)
    return predict_slabs(engine, image, len(network.inputs[0].shape) - 2)


def held_out_jaccard(slabs, classes, label, **options):
    """Return the mean Jaccard index of the foreground classes, of so many."""
    scores = segmentation_scores(label, label_map(slabs), num_classes=classes, **options)
    return foreground_jaccard(scores, label)


def threshold(slabs, label, **options):
    """Return the threshold that suits two classes best; 0.5 for more."""
    if slabs[0][1].shape[-1] > 2:
        return 0.5
    probability = np.concatenate([not_background(slab) for _, slab in slabs])
    return best_threshold(label, probability, **options)
