"""Folders of runs, and runs that are continued."""

from itertools import count
from pathlib import Path

from ..pretrained.choice import AUTO


def next_run(folder):
    """Return the folder of the run that is next in a folder of runs: one cut off, or a new one.

    Args:
        folder: that holds run_1, run_2 and so on, or will.
    """
    runs = (Path(folder) / f"run_{number}" for number in count(1))
    return next(run for run in runs if not (run / "metrics.json").is_file())


def train_or_resume(volume, labels, folder, start=None, minutes=None, stop=None, on_progress=None):
    """Train on a stack by `fit` with "auto", or continue a run in the folder that was cut off.

    Args:
        volume: `(z, y, x)` array-like of grey levels.
        labels: `(z, y, x)` array-like of class ids.
        folder: of the run.
        start: as of `fit`; None or "auto" to look for one.
        minutes: as of `fit`, like `stop`.
        stop: see `minutes`.
        on_progress: not called; `report.console.shown_by` is how to follow the training.

    Returns:
        The dict of `fit`.
    """
    from .fit import fit  # and with it Keras

    start = None if start == AUTO else start
    options = {"start": start, "minutes": minutes, "stop": stop, "resume": True}
    return fit("auto", volume, labels, output=Path(folder).expanduser(), **options)
