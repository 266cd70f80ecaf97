"""Statistics, averaging and threshold of a trained network, chosen on the held-out parts."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np

from ..files import atomic_path
from ..inference.engines.runtimes import keras_engine
from ..inference.options import PLAIN_PREDICTION
from ..networks.models import spatial_dims_of, split_normalization, with_normalization
from ..pretrained.prediction_defaults import PredictionDefaults
from .loop.batch_norm import batch_norms, recalibrate_batch_norm
from .validation import score

WEIGHT_TOLERANCE = 1e-3  # relative difference of weights that are equal except for rounding


@dataclass(frozen=True)
class Calibration:
    """How a trained network predicts best, as chosen on the parts that were held out.

    Attributes:
        statistics: of batch-normalisation layers, "as trained" or "recalibrated".
        averaging: its part of `PredictionDefaults`: views, smoothing and zooms.
        threshold: minimum foreground probability; 0.5 for more than two classes, or if nothing is
            held out.
        held_out: Jaccard index of each held-out part by its name, the mean of the foreground
            classes, at a threshold of 0.5; empty where nothing is held out.
    """

    statistics: str
    averaging: PredictionDefaults = PredictionDefaults()
    threshold: float = 0.5
    held_out: dict = field(default_factory=dict)

    @property
    def held_out_jaccard(self):
        """Mean Jaccard index of the held-out parts, None where there are none."""
        return float(np.mean(list(self.held_out.values()))) if self.held_out else None

    def to_json(self):
        """Return the entries of metrics.json."""
        mean = {"held_out_jaccard": self.held_out_jaccard}
        if not self.held_out:
            return {"statistics": self.statistics, "threshold": self.threshold, **mean}
        return {
            "statistics": self.statistics,
            **self.averaging.averaging_to_json(),
            "threshold": self.threshold,
            **mean,
            "held_out": self.held_out,
        }

    @classmethod
    def from_json(cls, metrics):
        """Return what the entries of a metrics.json say, a dict with others too."""
        return cls(
            statistics=metrics["statistics"],
            averaging=PredictionDefaults.from_json(metrics),
            threshold=metrics["threshold"],
            held_out=metrics.get("held_out", {}),
        )


@dataclass(frozen=True)
class PredictionAveraging:
    """A way to average what a network finds.

    Attributes:
        over: text for people.
        spatial_dims: of the networks that it is tried for.
        changes: of `PredictionOptions`.
        worth: minimum gain in the Jaccard index.
    """

    over: str
    spatial_dims: tuple
    changes: dict
    worth: float = 0.002


# What is tried, one after the other. These values are good on held-out parts of both EPFL and SBEM;
# views must be worth their time.
AVERAGING = (
    PredictionAveraging("neighbouring sections", (2,), {"smoothing": 4.0}),
    PredictionAveraging("two zooms", (2,), {"zooms": (1.0, 0.75)}),
    PredictionAveraging("two views", (3,), {"tta": 2}, worth=0.005),
    PredictionAveraging("four views", (3,), {"tta": 4}, worth=0.005),
)


def save_atomically(network, constants, path):
    """Write the .keras file of a network and what it standardises with."""
    with atomic_path(path) as part:
        with_normalization(network, *constants).save(part)


def calibrate(path, parts, batches=()):
    """Choose statistics, averaging and threshold of a saved network on held-out parts.

    Without such parts the statistics are recalibrated: those of training have not caught up at the
    end of a short one. After 300 steps of D, from published weights on four sections of SBEM, the
    Jaccard index held out was 0.529 as trained and 0.558 recalibrated.

    It can be repeated, as after a crash before its result was written: if recalibration does not
    change the statistics, they were recalibrated before.

    Args:
        path: .keras file of `with_normalization`; it is overwritten.
        parts: `LabelledVolume`s that it was not trained on, or none.
        batches: of the network's inputs, to take its statistics from, see
            `recalibrate_batch_norm`.

    Returns:
        A `Calibration`.
    """
    path = Path(path)
    network, constants = split_normalization(keras.saving.load_model(path, compile=False))
    if not parts:
        norms = batches and batch_norms(network)
        if norms:
            recalibrate_batch_norm(network, batches)
            save_atomically(network, constants, path)
        return Calibration("recalibrated" if norms else "as trained")
    score_parts = partial(score, network, keras_engine(network), parts, constants.contrast)
    statistics, scores = choose_statistics(network, score_parts, batches)
    options, scores = choose_averaging(spatial_dims_of(network), score_parts, scores)
    save_atomically(network, constants, path)
    return Calibration(
        statistics=statistics,
        averaging=PredictionDefaults(max(1, int(options.tta)), options.smoothing, options.zooms),
        threshold=scores.threshold,
        held_out=scores.jaccard,
    )


def choose_statistics(network, score_parts, batches):
    """Leave a network with the statistics of its norms that score best.

    Args:
        network: with those of its training.
        score_parts: returns its `HeldOutScores`.
        batches: see `calibrate`.

    Returns:
        "as trained" or "recalibrated", and their `HeldOutScores`.
    """
    trained = network.get_weights()
    found = {"as trained": (trained, score_parts())}
    if batches and batch_norms(network):
        recalibrate_batch_norm(network, batches)
        weights = network.get_weights()
        pairs = zip(trained, weights, strict=True)
        if all(np.allclose(a, b, rtol=WEIGHT_TOLERANCE) for a, b in pairs):
            found = {"recalibrated": found["as trained"]}
        else:
            found["recalibrated"] = weights, score_parts()
    for statistics, (_, scores) in found.items():
        print(f"batch statistics {statistics}: held-out {scores.mean:.3f}", flush=True)
    chosen = max(found, key=lambda name: found[name][1].mean)
    weights, scores = found[chosen]
    network.set_weights(weights)
    return chosen, scores


def choose_averaging(spatial_dims, score_parts, scores):
    """Return the `PredictionOptions` by which a network scores best, and its `HeldOutScores`.

    Args:
        spatial_dims: of the network.
        score_parts: returns its `HeldOutScores` with some options.
        scores: those without any averaging.
    """
    options = PLAIN_PREDICTION
    for row in AVERAGING:
        if spatial_dims not in row.spatial_dims:
            continue
        tried = replace(options, **row.changes)
        averaged = score_parts(tried)
        print(f"averaged over {row.over}: held-out {averaged.mean:.3f}", flush=True)
        if averaged.mean > scores.mean + row.worth:
            scores, options = averaged, tried
    return options, scores
