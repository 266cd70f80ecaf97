"""What `fit` is given: checked before any long work."""

import math

import numpy as np

from ..networks.models import check_sizes
from ..volumes.intensity import Intensity
from .callbacks import Budget

LARGEST_RATIO = 1000  # of the shares of two volumes


def make_budget(row, steps, minutes):
    """Return the budget, or raise ValueError."""
    if steps is not None and minutes is not None:
        raise ValueError(
            "Invalid value for `minutes`. Expected either `steps` or `minutes`. "
            f"Received: steps={steps}, minutes={minutes}"
        )
    for name, value in (("steps", steps), ("minutes", minutes)):
        if value is not None and not value > 0:
            raise ValueError(
                f"Invalid value for `{name}`. Expected a positive number. Received: {name}={value}"
            )
    if steps is None and (minutes := minutes or row.minutes):
        return Budget(None, 60.0 * minutes)
    return Budget(steps or row.steps, None)


def checked_start(model, own, normalization):
    """Return "volume" or the `Intensity` to standardise by, of a network that patches fit.

    Args:
        model: the network.
        own: `(mean, deviation, contrast)` that it came with, or None.
        normalization: "volume", "model" or `(mean, standard deviation)`.

    Raises:
        ValueError: the network takes no patches, or has no constants.
    """
    check_sizes(model)
    if isinstance(normalization, str) and normalization == "volume":
        return normalization
    if isinstance(normalization, str) and normalization == "model" and own:
        return Intensity(*own[:2])
    if isinstance(normalization, str) or np.shape(normalization)[:1] != (2,):
        raise ValueError(
            "Invalid value for `normalization`. Expected 'volume', (mean, standard deviation), or "
            "'model' for a network that was trained with constants. "
            f"Received: normalization={normalization!r}"
        )
    mean, deviation = np.asarray(normalization, float)
    if not (np.isfinite([mean, deviation]).all() and np.all(deviation > 0)):
        raise ValueError(
            "Invalid value for `normalization`. Expected a finite mean and a positive standard "
            f"deviation. Received: normalization={normalization!r}"
        )
    return Intensity(mean.tolist(), deviation.tolist())


def check_weights(weights, volumes):
    """Raise ValueError unless there is one positive weight for each volume, or None."""
    if weights is None:
        return
    positive = len(weights) == len(volumes) and all(0 < w < math.inf for w in weights)
    if not positive or max(weights) > LARGEST_RATIO * min(weights):
        raise ValueError(
            "Invalid value for `weights`. Expected one positive number for each of "
            f"{len(volumes)} volumes, none {LARGEST_RATIO} times another. "
            f"Received: weights={weights}"
        )


def check_run(checkpoint, resume):
    """Return whether there is a run to resume; raise where one or a model would be replaced."""
    # A copy of a run, such as a published model, comes without its checkpoint.
    finished = checkpoint.with_name("metrics.json").exists() and not checkpoint.exists()
    begun = checkpoint.exists() or checkpoint.with_name("model.keras").exists()
    if finished or begun and not resume:
        raise FileExistsError(
            "Invalid value for `output`. Expected a new folder, or `resume` and a checkpoint. "
            f"Received: {checkpoint.parent} holds a run"
        )
    if resume and not checkpoint.exists():
        print(f"No checkpoint in {checkpoint.parent} yet: the run starts", flush=True)
    return checkpoint.exists()
