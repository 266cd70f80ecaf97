"""The arguments of `fit`, as one value that its parts pass on."""

import json
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import keras

from .checkpoint import begun_folders
from .hold_out import HoldOut
from .network_choice import SCRATCH
from .recipes import Recipe


@dataclass(frozen=True)
class Request:
    """The arguments of `fit`, where they are explained."""

    model: keras.Model | str
    images: object
    labels: object
    output: Path
    recipe: str | Recipe | None
    steps: int | None
    minutes: float | None
    batch_size: int | None
    hold_out: HoldOut | None
    validation: list
    weights: list | None
    resume: bool
    seed: int
    start: str | Path | None
    normalization: str | tuple
    steps_per_epoch: int
    self_train: int
    stop: Event | None

    @property
    def resume_conditions(self):
        """What a run that is resumed must have been begun with, a dict."""
        asked = {
            "--from": None if self.start is None else str(self.start),
            "--self-train": self.self_train,
            "--hold-out": self.hold_out and self.hold_out.given,
        }
        return json.loads(json.dumps(asked))  # as it is read from a file

    @property
    def can_resume(self):
        """Whether there is a checkpoint to resume."""
        return self.resume and bool(begun_folders(self.output))

    @property
    def start_model(self):
        """The name, run or file to start from, None if none was given."""
        return None if self.start in (None, SCRATCH) else str(self.start)
