"""What is chosen once a network is trained, on the held-out part: contrast and threshold."""

import keras
import numpy as np

from ..atomic import whole
from ..inference.engines import keras_engine
from ..inference.predict import label_map, not_background, predict_slabs, standardised
from ..nets.metrics import best_threshold, foreground_jaccard, segmentation_scores
from ..nets.models import split_normalization, with_normalization

# A network may do best on more contrast than it was trained with. H, trained on gains of 0.8 to
# 1.2, has a Jaccard index of 0.928, 0.936 and 0.922 on its held-out part at 1, 1.2 and 1.6.
CONTRASTS = (0.9, 1.0, 1.1, 1.2, 1.3)
# Of a smaller gain another part of the same tissue would tell the contrary.
LEAST_GAIN = 0.002


def calibrate(path, image, label, **options):
    """Choose the contrast and the threshold of a saved network on its held-out part.

    Args:
        path: .keras file of `with_normalization`; it is written anew.
        image: `(z, y, x)` or `(z, y, x, channels)` grey levels.
        label: `(z, y, x)` class ids.
        **options: `ignore_class` of `segmentation_scores`.

    Returns:
        A dict of `contrast`, `threshold` (0.5 for more than two classes) and `held_out_jaccard`,
        the mean Jaccard index of the foreground classes at that contrast and a threshold of 0.5.
    """
    network, (*constants, _) = split_normalization(keras.saving.load_model(path, compile=False))
    engine, found = keras_engine(network), []
    for contrast in CONTRASTS:
        slabs = held_out_slabs(network, engine, image, (*constants, contrast))
        jaccard = held_out_jaccard(slabs, label, **options)
        best = threshold(slabs, label, **options)
        found.append({"contrast": contrast, "held_out_jaccard": jaccard, "threshold": best})
        print(f"contrast {contrast:g}  held-out {jaccard:.3f}", flush=True)
    chosen = most_suitable(found)
    with whole(path) as part:
        with_normalization(network, *constants, chosen["contrast"]).save(part)
    return chosen


def most_suitable(found):
    """Return the row of the highest Jaccard index, that of the training unless it is clear."""
    plain = next(row for row in found if row["contrast"] == 1)
    best = max(found, key=lambda row: row["held_out_jaccard"])
    clear = best["held_out_jaccard"] >= plain["held_out_jaccard"] + LEAST_GAIN
    return best if clear else plain


def held_out_slabs(network, engine, image, standards):
    """Return the slabs of `predict_slabs`.

    Args:
        network: of standardised grey levels.
        engine: that runs it, see `inference.engines`.
        image: `(z, y, x)` or `(z, y, x, channels)` grey levels.
        standards: mean, deviation and contrast of `with_normalization`.
    """
    mean, deviation, contrast = standards
    engine = standardised(engine, (mean, np.divide(deviation, contrast)))
    return list(predict_slabs(engine, image, len(network.inputs[0].shape) - 2))


def held_out_jaccard(slabs, label, **options):
    """Return the mean Jaccard index of the foreground classes."""
    classes = max(slabs[0][1].shape[-1], 2)
    return foreground_jaccard(
        segmentation_scores(label, label_map(slabs), num_classes=classes, **options)
    )


def threshold(slabs, label, **options):
    """Return the threshold that suits two classes best; 0.5 for more."""
    if slabs[0][1].shape[-1] > 2:
        return 0.5
    probability = np.concatenate([not_background(slab) for _, slab in slabs])
    return best_threshold(label, probability, **options)
