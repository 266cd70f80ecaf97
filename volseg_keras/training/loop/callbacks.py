"""What happens between steps: budget, schedule, validation, a check of loss and weights."""

import math
import time
from dataclasses import dataclass

import keras

from .checkpoint import variables

# How many times to validate, and the share of the budget after which scores no longer swing.
PARTS, SETTLED = 10, 0.8


@dataclass
class Budget:
    """How far a run may go and how far it is.

    Attributes:
        max_steps: the limit in steps, or None.
        max_seconds: the limit in seconds of wall time, or None.
        step: steps done.
        spent: seconds spent by earlier parts of a resumed run.
        started: when this part began (monotonic clock).
        best: best score of the held-out parts so far.
        validated: tenths of the budget after which it was scored.
        until: share of the budget after which to stop.
    """

    max_steps: int | None
    max_seconds: float | None
    step: int = 0
    spent: float = 0.0
    started: float = 0.0
    best: float = -1.0
    validated: int = 0
    until: float = 1.0

    @property
    def elapsed(self):
        """Seconds of wall time spent."""
        return self.spent + (time.monotonic() - self.started if self.started else 0.0)

    def count_time(self):
        """Add the time since `started` to `spent`."""
        self.spent, self.started = self.elapsed, self.started and time.monotonic()

    @property
    def progress(self):
        """Share of the budget spent, from 0 to 1."""
        if self.max_steps is not None:
            return min(1.0, self.step / self.max_steps)
        return min(1.0, self.elapsed / self.max_seconds)


def stop_requested(stop):
    """Return whether a `threading.Event`, which may be None, is set."""
    return stop is not None and stop.is_set()


class Schedule(keras.callbacks.Callback):
    """Set the learning rate before each step; stop when the budget is spent or on request.

    Args:
        budget: what is spent.
        learning_rate: function of the share of the budget and of the step.
        stop: a `threading.Event` after which the run ends, or None.
    """

    def __init__(self, budget, learning_rate, stop=None):
        super().__init__()
        self.budget = budget
        self.learning_rate = learning_rate
        self.stop = stop

    def on_train_begin(self, logs=None):
        """Start the clock."""
        self.budget.started = time.monotonic()

    def on_train_batch_begin(self, batch, logs=None):
        """Set the rate of this step."""
        rate = self.learning_rate(self.budget.progress, self.budget.step)
        if keras.backend.backend() == "jax":
            # Between steps JAX holds the optimizer's state outside of its variables.
            self.model.jax_state_sync()
        self.model.optimizer.learning_rate = rate

    def on_train_batch_end(self, batch, logs=None):
        """Count the step."""
        self.budget.step += 1
        if self.budget.progress >= self.budget.until or stop_requested(self.stop):
            self.model.stop_training = True


class Validate(keras.callbacks.Callback):
    """Score the held-out parts at every tenth of the budget; keep the best weights.

    Weights of the last fifth, where the learning rate is low, are preferred to all earlier ones:
    before, scores swing, and the best by chance was worse on another volume (0.774 Jaccard on the
    Lucchi++ test half, 0.890 at the end of the same run).
    """

    def __init__(self, budget, score, save):
        super().__init__()
        self.budget = budget
        self.score = score
        self.save = save

    def on_train_begin(self, logs=None):
        """Count tenths of this budget: an earlier part of the run may have had a smaller one."""
        self.budget.validated = min(self.budget.validated, int(self.budget.progress * PARTS))

    def on_epoch_end(self, epoch, logs=None):
        """Add `val_jaccard`, and that of each of several parts, to the logs when it is time."""
        before, done = self.budget.validated, int(self.budget.progress * PARTS)
        if done <= before:
            return
        self.budget.validated = done
        if before < SETTLED * PARTS <= done:
            self.budget.best = -1.0
        scores = self.score()
        logs["val_jaccard"] = scores.mean
        logs |= {f"val_jaccard {name}": value for name, value in scores.jaccard.items()}
        if scores.mean > self.budget.best:
            self.budget.best = scores.mean
            self.save()


class StopIfDiverged(keras.callbacks.Callback):
    """Stop a run that diverges before a checkpoint or a model of it is saved."""

    def __init__(self, budget):
        super().__init__()
        self.budget = budget

    def on_train_batch_end(self, batch, logs=None):
        """Check the loss, the mean since the epoch began."""
        self.check("loss", logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        """Check all that a checkpoint would keep: the last step may have ruined it."""
        for variable in variables(self.model):
            if keras.backend.is_float_dtype(variable.dtype):
                total = keras.ops.sum(variable)  # where it lies: only a number is copied
                self.check(variable.path, float(keras.ops.convert_to_numpy(total)))

    def check(self, name, value):
        """Raise FloatingPointError for a value that is not finite."""
        if not math.isfinite(value):
            raise FloatingPointError(
                f"Training diverged: {name} is {value} at step {self.budget.step}. The last "
                "checkpoint and model are kept. A recipe with a lower learning rate or another "
                "seed may help"
            )
