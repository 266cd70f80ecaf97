"""The stages of a training run by `fit` with `model="auto"`, one after the other."""

from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copy2

import keras
import numpy as np

from ...files import atomic_path, read_json, writable_folder, write_json
from ...inference.open_model import open_model
from ...inference.options import PredictionOptions
from ...networks.models import spatial_dims_of
from ...pretrained.presets import KERAS, METRICS
from ...pretrained.stored_facts import StoredFacts
from ...volumes.class_ids import ArrayClassIds
from ...volumes.dimensions import channels_of
from ...volumes.labels import NOT_ANNOTATED
from ..arguments import SEEDS
from ..calibration import Calibration
from ..data.hold_out import HoldOut, hold_out_parts
from ..data.labelled_volumes import with_unique_names
from ..data.training_volumes import TrainingVolumes
from ..fit_network import checked_plan, fit_volumes
from ..loop.callbacks import Budget, stop_requested
from ..loop.checkpoint import CHECKPOINT
from ..loop.logging_callbacks import ProgressSpan
from ..new_network import network_from
from ..request import Request
from ..validation import predictor_score
from .annotated_stacks import AnnotatedStacks
from .self_training import confident_labels, confident_text
from .starting_model import Start, rescale_to_match, rescale_volumes

# Share of the budget that is trained with a section held out, to choose threshold and averaging.
HOLD_OUT_SHARE = 0.4
# Files of the last finished stage that are copied to the run's folder when training is stopped.
KEPT_FILES = ("history.csv", "curve.png", KERAS)
# Thresholds of a network that was trained on since they were chosen. H, from weights of another
# microscope and on four sections, had the best Jaccard index at 0.98 after the first stage, but at
# 0.6 after the last: 0.71, where it was 0.55 at 0.98, on the other sections of the stack.
THRESHOLD_RANGE = 0.3, 0.7
# Held-out Jaccard index from which labels must be those that the model itself predicted.
SUSPICIOUS_JACCARD = 0.99


@dataclass(frozen=True)
class Stage:
    """A stage of a training run.

    Attributes:
        folder: of its run.
        share: of the budget.
        hold_out: a `HoldOut`, or None.
        self_trained: whether it also learns confident predictions of the stage before.
    """

    folder: Path
    share: float
    hold_out: HoldOut | None
    self_trained: bool

    def request_of(self, request, budget):
        """Return a `Request` with the folder of the stage and its share of a budget.

        It holds out nothing: that is cut from the stacks before.
        """
        return replace(
            request,
            output=self.folder,
            hold_out=None,
            self_train=0,
            steps=budget.max_steps and max(1, round(self.share * budget.max_steps)),
            minutes=budget.max_seconds and self.share * budget.max_seconds / 60,
        )


def planned_stages(folder, first, then, rounds):
    """Return the `Stage`s of a training run, the last of them in the folder itself.

    Args:
        folder: of the whole.
        first: `HoldOut` of a first stage of its own, None for no such stage.
        then: `HoldOut` of all other stages, or None.
        rounds: of self-training.
    """
    rest = (1 - HOLD_OUT_SHARE if first else 1) / (1 + rounds)
    rows = [(HOLD_OUT_SHARE, first, False)] if first else []
    rows += [(rest, then, number > 0) for number in range(1 + rounds)]
    folders = [folder / "parts" / str(number + 1) for number in range(len(rows) - 1)]
    return [Stage(at, *row) for at, row in zip([*folders, folder], rows, strict=True)]


@dataclass(frozen=True)
class StagedRun:
    """A training run of several stages, each from the weights of the one before.

    What is held out is cut from the stacks before they are rescaled: one section may become two.

    Attributes:
        stages: `Stage`s.
        stacks: the `AnnotatedStacks`, as they were given.
        start: the `Start`.
        budget: of all stages.
        request: the `Request` of the whole.
    """

    stages: list
    stacks: AnnotatedStacks
    start: Start
    budget: Budget
    request: Request

    def train(self):
        """Train stage after stage; return the summary of the last one, a dict."""
        source, summary, chosen, steps, minutes = self.start.name, {}, None, 0, 0
        for number, stage in enumerate(self.stages):
            if self._is_past(number):
                done = read_json(stage.folder / METRICS)
            else:
                done = self._train_stage(number, source, summary)
            found = Calibration.from_json(done)
            steps, minutes = steps + done["steps"], round(minutes + done["minutes"], 2)
            done |= {"total_steps": steps, "total_minutes": minutes}
            if chosen and chosen.held_out and not found.held_out:
                # What was held out before was trained on since.
                chosen = after_more_training(chosen, found.statistics)
                kept = {"hold_out": summary["hold_out"], "retrained": True}
                summary = done | chosen.to_json() | kept
            else:
                chosen, summary = found, done
            source = stage.folder
            if stop_requested(self.request.stop) and not self._is_past(number):
                end_early(source, self.stages[-1].folder)
                break
        return summary

    def _is_past(self, number):
        """Return whether a later stage was begun: more of a budget would be lost on this one."""
        return any((later.folder / CHECKPOINT).exists() for later in self.stages[number + 1 :])

    def _train_stage(self, number, source, before):
        """Train or resume a stage from the weights of `source`; return its summary.

        Args:
            number: of the stage.
            source: name, run or file of a model, or None.
            before: summary of the stage before.
        """
        stage, start, request = self.stages[number], self.start, self.request
        classes, channels = self.stacks.num_classes, channels_of(self.stacks.volumes[0].image)
        seed = (request.seed + number) % SEEDS
        keras.utils.set_random_seed(seed)
        network = network_from(source, classes, spatial_dims=start.spatial_dims, channels=channels)
        mixed, held_out, validated = parts_of(
            self.stacks, stage.hold_out, start, spatial_dims_of(network)
        )
        weights = request.weights
        if stage.self_trained:
            stored = StoredFacts.from_json(before)
            mixed, weights = with_own_labels(stage.folder, source, mixed, weights, stored)
        was_finished = (stage.folder / METRICS).exists()
        if len(self.stages) > 1:
            print(f"Part {number + 1} of {len(self.stages)}", flush=True)
        own_request = replace(
            stage.request_of(request, self.budget),
            model=network,
            weights=weights,
            seed=seed,
            start=start.name,
        )
        validation = [*held_out, *validated]
        volumes = TrainingVolumes(mixed, mixed, validation, with_unique_names(validation))
        part = ProgressSpan(sum(other.share for other in self.stages[:number]), stage.share)
        done = fit_volumes(replace(checked_plan(own_request), part=part), volumes)
        if number == 0 and start.name and held_out and not was_finished:
            report_gain(start, classes, held_out, Calibration.from_json(done))
        if stage.hold_out:
            done["hold_out"] = stage.hold_out.given
            write_json(stage.folder / METRICS, done, indent=2)
        return done


def parts_of(stacks, hold_out, start, spatial_dims):
    """Return what a stage trains on, what it holds out, and what else it validates on.

    Args:
        stacks: the `AnnotatedStacks`, as they were given.
        hold_out: the `HoldOut` of the stage, or None.
        start: the `Start`, for whose network the parts are rescaled.
        spatial_dims: axes of the network.
    """
    training, held_out = hold_out_parts(stacks.volumes, hold_out, spatial_dims)
    training = rescale_volumes(training, start)
    held_out = with_unique_names(rescale_volumes(held_out, start))
    return training, held_out, rescale_to_match(stacks.validation, training, start, spatial_dims)


def after_more_training(chosen, statistics):
    """Return the `Calibration` of a network that was trained on, by then with other statistics."""
    lowest, highest = THRESHOLD_RANGE
    threshold = min(max(chosen.threshold, lowest), highest)
    return replace(chosen, statistics=statistics, threshold=threshold)


def report_gain(start, classes, held_out, found):
    """Print the scores of the start and of the trained network on the held-out parts.

    Args:
        start: the `Start`.
        classes: their number.
        held_out: `LabelledVolume`s.
        found: the `Calibration` of the trained network.
    """
    predictor = open_model(start.name)
    if predictor.metadata.num_classes != classes:
        return
    before = predictor_score(predictor, held_out, options=PredictionOptions()).mean
    after = sum(found.held_out[part.name] for part in held_out) / len(held_out)
    print(f"Held-out Jaccard: {start.name} {before:.3f}, after training {after:.3f}")
    if before > SUSPICIOUS_JACCARD:
        print(
            f"The held-out labels are {start.name}'s own predictions (an uncorrected draft?), so "
            "this score is meaningless. Correct the draft first"
        )
    elif after <= before:
        print(
            f"That is no better than {start.name} itself: annotate a section where it is wrong "
            "(`volseg suggest`), or train for more minutes"
        )


def end_early(part, folder):
    """Copy the files of the last finished stage to the run's folder, unless it was the last one."""
    for name in KEPT_FILES if part != folder else ():
        with atomic_path(folder / name) as file:
            copy2(part / name, file)


def with_own_labels(folder, model, volumes, weights, stored):
    """Return volumes, and again with confident predictions as labels; and their weights.

    The predictions are kept in the folder, for a run that is resumed.
    """
    weights, file = list(weights or [1.0] * len(volumes)), folder / "own_labels.npz"
    if not file.is_file():
        chosen = stored.threshold, stored.defaults
        found = [confident_labels(model, volume, *chosen) for volume in volumes]
        with atomic_path(writable_folder(folder) / file.name) as part, open(part, "wb") as opened:
            np.savez_compressed(opened, *found)
    with np.load(file) as arrays:
        own = [arrays[f"arr_{number}"] for number in range(len(volumes))]
    added, shares = [], []
    for volume, label, weight in zip(volumes, own, weights, strict=True):
        print(confident_text(label), flush=True)
        if ((label > 0) & (label != NOT_ANNOTATED)).any():
            name = f"{volume.name}, own labels"
            added.append(replace(volume, label=ArrayClassIds(label), name=name))
            shares.append(weight)
    return [*volumes, *added], [*weights, *shares]
