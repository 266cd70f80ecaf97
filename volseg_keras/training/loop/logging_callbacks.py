"""What a training run reports: history.csv and lines on the console."""

import csv
import sys
import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import keras

from ...files import write_csv
from ...progress import current_listener

RECENT = 9  # epochs whose median speed gives the time left
HISTORY = (
    "step",
    "seconds",
    "loss",
    "jaccard",
    "learning_rate",
    "mvoxel_per_s",
    "val_jaccard",
)


class History(keras.callbacks.Callback):
    """Write history.csv, a row per epoch; rows after the step that a run resumes at are dropped.

    Args:
        budget: the `Budget`.
        path: of the file.
        voxels: voxels per step.
        held_out: names of the held-out parts; if there are several, each has a column.
    """

    def __init__(self, budget, path, voxels, held_out=()):
        super().__init__()
        self.budget = budget
        self.path = Path(path)
        self.voxels = voxels
        parts = held_out if len(held_out) > 1 else ()
        self.columns = (*HISTORY, *(f"val_jaccard {name}" for name in parts))
        self.rows = []

    def on_train_begin(self, logs=None):
        """Keep the rows that a resumed run builds on."""
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                self.rows = [r for r in rows if int(r["step"]) <= self.budget.step]
        self.write()

    def write(self):
        """Write the file."""
        write_csv(self.path, self.columns, self.rows)

    def on_epoch_begin(self, epoch, logs=None):
        """Note where the epoch starts."""
        self.mark = self.budget.step, time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Write the row; add rate and speed to `logs` for the callbacks that follow."""
        step, started = self.mark
        seconds = getattr(self, "trained", time.monotonic()) - started
        logs["learning_rate"] = float(
            keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        )
        logs["mvoxel_per_s"] = (self.budget.step - step) * self.voxels / seconds / 1e6
        self.rows.append({"step": self.budget.step, "seconds": self.budget.elapsed, **logs})
        self.write()

    def on_train_batch_end(self, batch, logs=None):
        """Note the end of the step, so that validation does not count as training time."""
        self.trained = time.monotonic()


@dataclass(frozen=True)
class ProgressSpan:
    """Which part of a longer training a run is.

    Attributes:
        before: share of the longer training that is done before it.
        share: its share of the longer training.
    """

    before: float = 0.0
    share: float = 1.0


class Progress(keras.callbacks.Callback):
    """Print loss, Jaccard, speed and time left: a line per epoch, on a terminal also one per step.

    A listener, see `progress.shown_by`, is called after every step.

    Args:
        budget: the `Budget`.
        held_out: names of the held-out parts.
        part: the `ProgressSpan` of this run; by default it is the whole training.
    """

    def __init__(self, budget, held_out=(), part=None):
        super().__init__()
        self.budget = budget
        self.held_out = held_out
        self.part = part or ProgressSpan()
        self.score = ""  # of the held-out parts, as text

    def on_train_begin(self, logs=None):
        """Measure the speed from here on: an earlier part of the run may have had another."""
        self.marks = deque([(time.monotonic(), self.budget.step)], RECENT + 1)
        self.compiled = False
        if listener := current_listener():
            listener("compiling the network", self.progress, 1.0)
        elif sys.stdout.isatty():
            print("\rcompiling the network, which takes up to a minute ", end="", flush=True)

    def on_epoch_end(self, epoch, logs=None):
        """Print the line of an epoch."""
        self.marks.append((time.monotonic(), self.budget.step))
        held_out, score = "", logs.get("val_jaccard")
        if score is not None:
            held_out = self.score = f"  held-out {score:.3f}"
        if score is not None and len(self.held_out) > 1:
            each = (f"{name} {logs[f'val_jaccard {name}']:.3f}" for name in self.held_out)
            held_out += f" ({', '.join(each)})"
        speed = f"{logs['mvoxel_per_s']:.2g} Mvoxel/s"
        print(f"\r{self.line(logs)}{held_out}  {speed}{self.time_left()}", flush=True)

    def on_train_batch_end(self, batch, logs=None):
        """Report the step to the listener, or overwrite one line on a terminal."""
        if not self.compiled:  # during the first step, which is slower than the next ones
            self.compiled = True
            self.marks.clear()
            self.marks.append((time.monotonic(), self.budget.step))
        if listener := current_listener():
            line = self.line(logs, width=0)
            listener(f"{line}{self.score}{self.time_left()}", self.progress, 1.0)
        elif sys.stdout.isatty():
            text = f"step {self.budget.step:6d}{self.time_left()}"
            print(f"\r{text:50}", end="", flush=True)

    def line(self, logs, width=6):
        """Return step, loss and Jaccard index as text."""
        step, loss, jaccard = self.budget.step, logs["loss"], logs["jaccard"]
        return f"step {step:{width}d}  loss {loss:.3f}  jaccard {jaccard:.3f}"

    @property
    def progress(self):
        """Share of the whole training that is done, from 0 to 1."""
        return self.part.before + self.part.share * self.budget.progress

    def time_left(self):
        """Return a text with the time left of the whole training, empty while it is unknown."""
        budget, marks = self.budget, [*self.marks]
        whole = (1 - self.part.before) / self.part.share  # of this part and those after it, for it
        if budget.max_steps is None:
            left = whole * budget.max_seconds - budget.elapsed
        else:
            if len(marks) == 1:
                marks.append((time.monotonic(), budget.step))
            paces = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(marks) if b[1] > a[1]]
            if not paces:
                return ""
            left = median(paces) * (whole * budget.max_steps - budget.step)
        return "  {:d}:{:02d} left".format(*divmod(max(0, int(left)), 60))
