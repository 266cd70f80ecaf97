"""The checkpoint that an interrupted run continues from."""

import json
import time
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import h5py
import keras

from ...errors import require
from ...files import atomic_path

CHECKPOINT = "checkpoint.h5"
# Seconds between checkpoints: a run that is killed loses no more than these and an epoch.
CHECKPOINT_EVERY = 60.0
# Attributes of a budget that a checkpoint keeps.
STATE = ("step", "spent", "best", "validated")


class Checkpoint(keras.callbacks.Callback):
    """Write the whole state of a run to one file, atomically, and restore it.

    Weights, optimizer, seed generators and budget: Keras's own weight files do not hold the seeds,
    so a resumed run would draw other dropout masks than an uninterrupted one.

    The file is written after validation, after `CHECKPOINT_EVERY` seconds, and when `kept` ends.
    In between the state of the last epoch is kept on the device of the variables.

    Args:
        budget: the `Budget`.
        path: the file.
        run_settings: of JSON types; a resumed run must have the same.
    """

    def __init__(self, budget, path, run_settings):
        super().__init__()
        self.budget = budget
        self.path = Path(path)
        self.run_settings = json.dumps(run_settings)
        self.state = None  # of the last epoch, until it is written
        self.written = time.monotonic()

    def restore(self, model):
        """Load the checkpoint into a compiled model and the budget.

        Raises:
            ValueError: the checkpoint is of another network or other settings.
        """
        state = variables(model)
        with h5py.File(self.path) as file:
            saved = [file[str(i)][()] for i in range(len(file))]
            found = json.loads(file.attrs["about"])
            for name in STATE:
                setattr(self.budget, name, file.attrs[name].item())
        given = json.loads(self.run_settings)
        other = [name for name in {**given, **found} if given.get(name) != found.get(name)]
        if [v.shape for v in saved] != [tuple(v.shape) for v in state]:
            other.append("network")
        expected = f"a run with the same {', '.join(other)}; or a new folder"
        require(not other, "resume", expected, self.path)
        for variable, value in zip(state, saved, strict=True):
            variable.assign(value)

    @contextmanager
    def kept(self):
        """Write the state of the last epoch when the context ends, also by an interruption."""
        self.written = time.monotonic()
        try:
            yield
        finally:
            self.write()

    def on_epoch_end(self, epoch, logs=None):
        """Keep the state, and write it if it is time."""
        self.budget.count_time()
        attributes = {name: getattr(self.budget, name) for name in STATE}
        attributes["about"] = self.run_settings
        arrays = [keras.ops.copy(variable) for variable in variables(self.model)]
        self.state = attributes, arrays
        due = time.monotonic() - self.written >= CHECKPOINT_EVERY
        if due or "val_jaccard" in (logs or {}):
            self.write()

    def write(self):
        """Write the state of the last epoch unless that is done."""
        if self.state is None:
            return
        attributes, arrays = self.state
        # In memory first, since HDF5 crashes on a full disk.
        content = BytesIO()
        with h5py.File(content, "w") as file:
            for i, array in enumerate(arrays):
                file[str(i)] = keras.ops.convert_to_numpy(array)
            file.attrs.update(attributes)
        with atomic_path(self.path) as part:
            part.write_bytes(content.getbuffer())
        self.state, self.written = None, time.monotonic()


def begun_folders(folder):
    """Return the folders of a run and of its stages that hold a checkpoint, a set."""
    places = (folder, *folder.glob("parts/*"))
    return {place for place in places if (place / CHECKPOINT).exists()}


def variables(model):
    """Return every variable of a model of `compile_model` that training changes, in a fixed order.

    Those of the metrics are left out.
    """
    metrics = {id(v) for v in model.metrics_variables}
    own = [v for v in model.variables if id(v) not in metrics]
    return own + model.optimizer.variables
