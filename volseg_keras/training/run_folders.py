"""Folders of runs, and runs that are continued."""

from functools import partial
from itertools import count
from pathlib import Path

from ..pretrained.choice import AUTO
from ..pretrained.presets import METRICS


def next_run(folder):
    """Return the folder of the run that is next in a folder of runs: one cut off, or a new one.

    Args:
        folder: that holds run_1, run_2 and so on, or will.
    """
    return next(run for run in runs(folder) if not (run / METRICS).is_file())


def runs(folder):
    """Yield run_1, run_2 and so on in a folder."""
    return (Path(folder) / f"run_{number}" for number in count(1))


def train_or_resume(volume, labels, folder, start=None, minutes=None, stop=None):
    """Train on a stack by `fit` with "auto", or continue a run in the folder that was cut off.

    If that run has other labels or another start, it is kept, and a new one begins next to it.

    Args:
        volume: `(z, y, x)` array-like of grey levels.
        labels: `(z, y, x)` array-like of class ids.
        folder: of the run.
        start: see `fit`; None or "auto" to choose one.
        minutes: see `fit`.
        stop: see `fit`.

    Returns:
        The folder of the run, and the dict of `fit`.
    """
    from .fit import fit  # and with it Keras

    start = None if start == AUTO else start
    train = partial(fit, "auto", volume, labels, start=start, minutes=minutes, stop=stop)
    folder = Path(folder).expanduser()
    try:
        return folder, train(output=folder, resume=True)
    except ValueError as error:
        if getattr(error, "argument", None) != "resume":
            raise
    folder = next(run for run in runs(folder.parent) if not run.exists())
    return folder, train(output=folder)
