"""What is told of a training while it goes on: history.csv and the console."""

import csv
import sys
import time
from pathlib import Path

import keras

from ..files import write_csv

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
    """Keep history.csv, a row an epoch; rows past a resumed step are dropped.

    Args:
        budget: what is spent.
        path: of the file.
        voxels: voxels a step.
        held_out: names of the held-out parts; of several each has a column.
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
        """Write the row; `logs` gains the rate and the speed for callbacks that follow."""
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


class Progress(keras.callbacks.Callback):
    """Show loss, Jaccard, speed and time left: a bar on a terminal, a line an epoch elsewhere.

    Args:
        budget: what is spent.
        held_out: names of the held-out parts.
    """

    def __init__(self, budget, held_out=()):
        super().__init__()
        self.budget = budget
        self.held_out = held_out

    def on_epoch_end(self, epoch, logs=None):
        """Print the line of an epoch."""
        score = logs.get("val_jaccard")
        held_out = f"  held-out {score:.3f}" if score is not None else ""
        if score is not None and len(self.held_out) > 1:
            each = (f"{name} {logs[f'val_jaccard {name}']:.3f}" for name in self.held_out)
            held_out += f" ({', '.join(each)})"
        print(
            f"\rstep {self.budget.step:6d}  loss {logs['loss']:.3f}  jaccard {logs['jaccard']:.3f}"
            f"{held_out}  {logs['mvoxel_per_s']:.2f} Mvoxel/s  {self.time_left()} left",
            flush=True,
        )

    def on_train_batch_end(self, batch, logs=None):
        """Overwrite one line on a terminal."""
        if sys.stdout.isatty():
            print(f"\rstep {self.budget.step:6d}  {self.time_left()} left ", end="", flush=True)

    def time_left(self):
        """Return the time left as minutes and seconds."""
        progress = max(self.budget.progress, 1e-9)
        left = int(self.budget.elapsed * (1 - progress) / progress)
        return f"{left // 60:d}:{left % 60:02d}"
