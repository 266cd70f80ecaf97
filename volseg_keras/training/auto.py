"""`fit` with `model="auto"`: choose a start, hold out a section, then train on all."""

from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copy2

import keras
import numpy as np

from ..errors import invalid, require
from ..files import atomic_path, write_json
from ..inference.open_model import open_model
from ..inference.options import PredictionOptions
from ..networks.models import spatial_dims_of, split_normalization
from ..patches.class_ids import ClassIds, foreground_voxels
from ..pretrained.prediction_defaults import PredictionDefaults
from ..pretrained.presets import KERAS, METRICS
from ..report.console import progress_bar
from ..volumes.dimensions import channels_of
from ..volumes.labels import NOT_ANNOTATED
from ..volumes.writing import writable_folder
from .annotated_sections import section_to_hold_out, tell_empty_sections, without_unpainted
from .arguments import check_run, check_weights, make_budget, training_normalization
from .callbacks import stop_requested
from .checkpoint import CHECKPOINT
from .fit_network import fit_network
from .labelled_volumes import hold_out_parts, labelled_volumes, largest_class, paired, read_labels
from .logging_callbacks import part_of_training
from .recipes import get_recipe
from .self_training import confident_labels, confident_text
from .starting_model import chosen_start, network_from, rescaled, rescaled_to
from .validation import predictor_score

# Share of the budget that is trained with a section held out, to choose threshold and averaging.
FIRST = 0.4
# Files of a part after which a training is stopped that are kept as those of the whole.
KEPT = ("history.csv", "curve.png", KERAS)
# Entries that a run without a held-out part takes from the one before it.
CHOSEN = (
    "threshold",
    "views",
    "smoothing",
    "zooms",
    "held_out_jaccard",
    "held_out",
    "hold_out",
)


@dataclass(frozen=True)
class Part:
    """A part of a training.

    Attributes:
        folder: of its run.
        share: of the budget.
        hold_out: as of `fit`.
        self_trained: whether it also learns confident predictions of the part before.
    """

    folder: Path
    share: float
    hold_out: object
    self_trained: bool


def fit_auto(request):
    """Train on stacks of which a few sections are annotated; see `fit`.

    Args:
        request: a `Request` with "auto" for a model.

    Returns:
        The dict that is written to metrics.json.

    Raises:
        ValueError, FileExistsError: as `fit`.
    """
    volumes, validation = checked_volumes(request)
    folder = writable_folder(request.output)
    start = chosen_start(volumes, request, folder / "start.json")
    recipe = request.recipe or ("finetune" if start.name else "fast")
    first, then = None, request.hold_out
    if then is None and not validation:
        first = automatic_hold_out(volumes)
    parts = planned_parts(folder, first, then, request.self_train)
    budget = make_budget(get_recipe(recipe), request.steps, minutes_of(request))
    request = replace(request, recipe=recipe)
    summary = train_parts(parts, volumes, validation, start, budget, request)
    write_json(folder / METRICS, summary, indent=2)
    return summary


def minutes_of(request):
    """Return the budget in minutes; where none is given that of `finetune`, also from scratch."""
    given = request.minutes or request.steps or request.recipe
    return request.minutes if given else get_recipe("finetune").minutes


def checked_volumes(request):
    """Return the `LabelledVolume`s to train and to validate on, before any long work.

    Raises:
        ValueError, FileExistsError: as `fit`.
    """
    model = request.model
    require(model == "auto", "model", 'a Keras model or "auto"', f"{model=}")
    make_budget(get_recipe(request.recipe or "finetune"), request.steps, request.minutes)
    output = request.output
    first = output / "parts" / "1" / CHECKPOINT
    begun = first.exists() and not (output / METRICS).exists()
    check_run(first if begun else output / CHECKPOINT, request.resume)
    volumes, validation = stacks(*paired(request.images, request.labels), request)
    check_weights(request.weights, volumes)
    hold_out_parts(volumes, request.hold_out)
    check_self_training(volumes, request.self_train)
    return volumes, validation


def stacks(images, labels, request):
    """Return the volumes to train and to validate on as `LabelledVolume`s."""
    with progress_bar("reading volumes") as on_progress:
        pairs = zip(images, labels, strict=True)
        labels = [read_labels(*pair, on_progress) for pair in pairs]
        channels = channels_of(images[0])
        model = network_from(request.given, classes_of(labels), dims=2, channels=channels)
        network, own = split_normalization(model)
        normalization = training_normalization(network, own, request.normalization)
        volumes = labelled_volumes(images, labels, network, normalization, on_progress)
        validation = ()
        if request.validation:
            pairs = ([pair[i] for pair in request.validation] for i in (0, 1))
            validation = labelled_volumes(*pairs, network, normalization, on_progress)
    for volume in volumes:
        try:
            foreground_voxels(volume.label, NOT_ANNOTATED)
        except ValueError as error:
            raise invalid("labels", "at least one foreground voxel", volume.name) from error
    return [only_annotated(volume) for volume in volumes], [*map(only_annotated, validation)]


def classes_of(labels):
    """Return the number of classes of class ids."""
    return max(2, 1 + max(map(largest_class, labels)))


def only_annotated(volume):
    """Return a volume in which sections without labels count as not annotated; say so."""
    label, unpainted = without_unpainted(volume.label)
    if unpainted:
        print(
            f"{volume.name}: {unpainted} of {len(label)} sections are empty or full, and "
            "count as not annotated"
        )
    else:
        tell_empty_sections(volume.name, label)
    return replace(volume, label=label)


def check_self_training(volumes, rounds):
    """Raise ValueError for a wrong number of rounds, or volumes that are not in memory."""
    require(0 <= rounds <= 9, "self_train", "0 to 9 rounds", rounds)
    good = not rounds or not any(isinstance(volume.label, ClassIds) for volume in volumes)
    expected = "0 for a volume larger than a quarter of the free memory"
    require(good, "self_train", expected, rounds)


def automatic_hold_out(volumes):
    """Return a text such as "z=7" for the first volume with enough sections; say so."""
    texts = []
    for volume in volumes:
        if isinstance(volume.label, ClassIds):
            print(f"{volume.name}: larger than a quarter of the free memory: nothing is held out")
        z = None if any(texts) else section_to_hold_out(volume.label)
        texts.append(None if z is None else f"z={z}")
        if z is not None:
            print(
                f"{volume.name}: section {z} is held out to choose threshold and averaging; then "
                "all are trained on"
            )
    return texts if any(texts) else None


def planned_parts(folder, first, then, rounds):
    """Return the `Part`s of a training, the last of them in the folder itself.

    Args:
        folder: of the whole.
        first: hold-out of a first part of its own, None for no such part.
        then: hold-out of all other parts.
        rounds: of self-training.
    """
    rest = (1 - FIRST if first else 1) / (1 + rounds)
    rows = [(FIRST, first, False)] if first else []
    rows += [(rest, then, number > 0) for number in range(1 + rounds)]
    folders = [folder / "parts" / str(number + 1) for number in range(len(rows) - 1)]
    return [Part(at, *row) for at, row in zip([*folders, folder], rows, strict=True)]


def train_parts(parts, volumes, validation, start, budget, request):
    """Train part after part, each from the weights of the one before; return the last summary.

    What is held out is cut from the volumes before they are rescaled: one section may become two.
    """
    classes = classes_of([volume.label for volume in volumes])
    channels = channels_of(volumes[0].image)
    source, summary = start.name, {}
    for number, part in enumerate(parts):
        keras.utils.set_random_seed(request.seed + number)
        network = network_from(source, classes, dims=start.dims, channels=channels)
        dims = spatial_dims_of(network)
        apart = request.hold_out is None  # held out for the first part alone
        mixed, held_out = hold_out_parts(volumes, part.hold_out, dims, apart)
        mixed, held_out = rescaled(mixed, start), rescaled(held_out, start)
        validated = rescaled_to(validation, mixed, start, dims)
        weights = request.weights
        if part.self_trained:
            mixed, weights = with_own_labels(part.folder, source, mixed, weights, summary)
        is_new = not (part.folder / CHECKPOINT).exists()
        if len(parts) > 1:
            print(f"Part {number + 1} of {len(parts)}", flush=True)
        with part_of_training(sum(other.share for other in parts[:number]), part.share):
            done = fit_network(
                replace(
                    request,
                    model=network,
                    images=mixed,
                    labels=[volume.label for volume in mixed],
                    output=part.folder,
                    validation=[(v, v.label) for v in (*held_out, *validated)],
                    hold_out=None,
                    weights=weights,
                    seed=request.seed + number,
                    start=start.name,
                    steps=budget.steps and max(1, round(part.share * budget.steps)),
                    minutes=budget.seconds and part.share * budget.seconds / 60,
                    normalization="volume",
                )
            )
        if number == 0 and start.name and held_out and is_new:
            tell_gain(start, classes, held_out, done)
        if part.hold_out:
            done["hold_out"] = part.hold_out
            write_json(part.folder / METRICS, done, indent=2)
        kept = done["held_out_jaccard"] is None
        summary = done | {key: summary[key] for key in CHOSEN if kept and key in summary}
        if kept and "held_out" in summary:
            summary["retrained"] = True  # what was held out before was trained on since
        source = part.folder
        if stop_requested(request.stop):
            end_early(source, parts[-1].folder)
            break
    return summary


def tell_gain(start, classes, held_out, summary):
    """Print what the start scores on the held-out parts beside what training made of it."""
    predictor = open_model(start.name)
    if predictor.metadata["num_classes"] != classes:
        return
    before = predictor_score(predictor, held_out, options=PredictionOptions()).mean
    after = sum(summary["held_out"][part.name] for part in held_out) / len(held_out)
    print(f"Held-out Jaccard: {start.name} {before:.3f}, after training {after:.3f}")
    if after <= before:
        print(
            f"That is no better than {start.name} itself: annotate a section where it is wrong "
            "(`volseg suggest`), or train for more minutes"
        )


def end_early(part, folder):
    """Have the files of a part of a training, unless it was the last one, be those of the whole."""
    for name in KEPT if part != folder else ():
        with atomic_path(folder / name) as file:
            copy2(part / name, file)


def with_own_labels(folder, model, volumes, weights, summary):
    """Return volumes, and again with confident predictions as labels; and their weights.

    The predictions are kept in the folder, for a run that is resumed.
    """
    weights, file = list(weights or [1.0] * len(volumes)), folder / "own_labels.npz"
    if not file.is_file():
        chosen = summary["threshold"], PredictionDefaults.of(summary)
        found = [confident_labels(model, volume, *chosen) for volume in volumes]
        with atomic_path(writable_folder(folder) / file.name) as part, open(part, "wb") as opened:
            np.savez_compressed(opened, *found)
    with np.load(file) as arrays:
        own = [arrays[f"arr_{number}"] for number in range(len(volumes))]
    added, shares = [], []
    for volume, label, weight in zip(volumes, own, weights, strict=True):
        print(confident_text(label), flush=True)
        if ((label > 0) & (label != NOT_ANNOTATED)).any():
            added.append(replace(volume, label=label, name=f"{volume.name}, own labels"))
            shares.append(weight)
    return [*volumes, *added], [*weights, *shares]
