"""The arguments of `fit`, checked once, as one value that its parts pass on."""

import json
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import keras

from ..errors import require, require_positive
from .arguments import checked_rounds, checked_seed, make_budget
from .data.hold_out import HoldOut
from .loop.checkpoint import begun_folders
from .network_choice import SCRATCH
from .recipes import DEFAULT, Recipe, get_recipe


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of `fit`, where they are explained.

    Raises:
        ValueError: one of them is wrong, whatever the volumes are.
    """

    model: keras.Model | str
    images: object
    labels: object
    output: Path
    recipe: str | Recipe | None = None
    steps: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    hold_out: HoldOut | None = None
    validation: list = ()
    weights: list | None = None
    resume: bool = False
    seed: int = 0
    start: str | Path | None = None
    normalization: str | tuple = "volume"
    steps_per_epoch: int = 25
    self_train: int = 0
    stop: Event | None = None

    def __post_init__(self):
        """Check what does not depend on the volumes, and give each argument one type."""
        make_budget(get_recipe(self.recipe or DEFAULT), self.steps, self.minutes)
        require_positive(steps_per_epoch=self.steps_per_epoch)
        self._set("output", Path(self.output))
        self._set("seed", checked_seed(self.seed))
        self._set("self_train", checked_rounds(self.self_train))
        self._set("validation", list(self.validation))
        for pair in self.validation:
            expected = "a list of pairs, such as [(image, labels)]"
            good = isinstance(pair, tuple | list) and len(pair) == 2
            require(good, "validation", expected, f"an item of type {type(pair).__name__}")
        if self.batch_size is not None:
            require_positive(batch_size=self.batch_size)
            self._set("batch_size", int(self.batch_size))
        if self.weights is not None:
            self._set("weights", [float(weight) for weight in self.weights])
        if not isinstance(self.hold_out, HoldOut | None):
            self._set("hold_out", HoldOut.parse(self.hold_out))
        given = isinstance(self.model, keras.Model)
        require(
            not (given and self.self_train),
            "self_train",
            '0, or "auto" for a model',
            self.self_train,
        )
        of_model = isinstance(self.normalization, str) and self.normalization == "model"
        good = given or self.start_model or not of_model
        expected = "volume or (mean, standard deviation) without a model to start from"
        require(good, "normalization", expected, self.normalization)

    def _set(self, name, value):
        object.__setattr__(self, name, value)

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
