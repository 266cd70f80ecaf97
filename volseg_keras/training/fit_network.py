"""Train a network: compile, `model.fit` within a budget, validate, checkpoint, resume."""

import math
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from ..inference.engines import keras_engine
from ..inference.tiled_prediction import MULTIPLE
from ..networks import losses
from ..networks.metrics import Jaccard
from ..networks.models import spatial_dims_of, split_normalization
from ..patches.augment import NONE
from ..patches.sampler import PatchMix, PatchSampler
from ..pretrained.presets import KERAS, METRICS
from ..report.console import progress_bar
from ..volumes.dimensions import plausible_size
from ..volumes.labels import NOT_ANNOTATED
from ..volumes.writing import writable_folder
from .annotated_sections import tell_empty_sections
from .arguments import check_recipe, check_run, check_weights, make_budget, training_normalization
from .batch_norm import batches_to_see
from .calibration import calibrate
from .callbacks import Schedule, StopIfDiverged, Validate, stop_requested
from .checkpoint import CHECKPOINT, Checkpoint
from .devices import fastest_precision, jit_option, replicas
from .labelled_volumes import as_list, hold_out_parts, labelled_volumes, uniquely_named
from .logging_callbacks import History, Progress
from .muon import MuonAdamW
from .prediction_mode import prediction_mode
from .recipes import get_recipe
from .saving import WeightExporter, described, finished_summary, write_summary
from .validation import WHILE_TRAINING, score
from .weight_averaging import WeightAverage

# The recipe where none is given.
DEFAULT = "fast"


@dataclass(frozen=True)
class Volumes:
    """What a network is trained and validated on, lists of `LabelledVolume`s.

    Attributes:
        given: the volumes to train on, whole.
        inner: the same without their held-out parts.
        validation: further volumes to validate on.
        held_out: all that is validated on: the held-out parts, then `validation`.
    """

    given: list
    inner: list
    validation: list
    held_out: list


def fit_network(request):
    """Train a network; see `fit`.

    Args:
        request: a `Request` with a network for a model.

    Returns:
        The dict that is written to metrics.json.

    Raises:
        ValueError, FileExistsError, FloatingPointError: as `fit`.
    """
    row = get_recipe(request.recipe or DEFAULT)
    budget = make_budget(row, request.steps, request.minutes)
    dims = spatial_dims_of(request.model)
    check_recipe(row, dims)
    model, own = split_normalization(request.model)
    normalization = training_normalization(model, own, request.normalization)
    resume = check_run(request.output / CHECKPOINT, request.resume)
    volumes = read_volumes(model, request, normalization)
    contrast = own.contrast if own else 1.0
    patches = make_patches(volumes.inner, row, dims, request.seed, request.weights, contrast)
    batch = (request.batch_size or row.batch[dims]) * replicas()
    about = settings(request, row, batch, volumes)
    output = writable_folder(request.output)
    average = WeightAverage(budget, row.average)
    checkpoint = Checkpoint(budget, output / CHECKPOINT, about, average)
    first = volumes.given[0].intensity
    save = WeightExporter(model, (first.mean, first.deviation, contrast), output / KERAS)
    compile_model(model, row, dims)
    if resume:
        checkpoint.restore(model)
    if budget.progress >= 1 and (summary := finished_summary(output / METRICS, budget.step)):
        return summary
    rate = partial(row.learning_rate, dims)
    callbacks = [Schedule(budget, rate, request.stop), StopIfDiverged(budget), average]
    if volumes.held_out:
        parts = volumes.held_out, contrast, WHILE_TRAINING[dims]
        score_now = partial(score, model, keras_engine(model), *parts)
        callbacks.append(Validate(budget, score_now, save, average))
    logged = logging_callbacks(budget, output, batch, patches.patch_shape, volumes.held_out)
    callbacks += [*logged, checkpoint]
    with checkpoint.kept(), fastest_precision(model, patches.patch_shape[-dims:]) as precision:
        train(model, patches, batch, budget, row.settle, callbacks, request)
    if not (volumes.held_out and save.path.exists()):
        with average.applied(model):
            save()
    chosen = choose(save.path, volumes.held_out, patches, batch, budget.step)
    about |= {**chosen.to_json(), "precision": precision}
    return write_summary(model, output, budget, about, volumes.given)


def settings(request, row, batch, volumes):
    """Return what a network is trained on and how, for metrics.json and checkpoints.

    Args:
        request: a `Request`.
        row: its `Recipe`.
        batch: patches a step.
        volumes: the `Volumes`.
    """
    recipe, dims = request.recipe or DEFAULT, spatial_dims_of(request.model)
    named = isinstance(recipe, str)
    # Checkpoints of 2D networks that are older than it have the same arrays, but of AdamW.
    optimizer = row.optimizer[dims]
    unusual = {
        "custom_recipe": None if named else repr(row),
        "from": request.start and str(request.start),
        "weights": request.weights,
        "batch": batch if batch != row.batch[dims] else None,
        "optimizer": optimizer if optimizer == "MuonAdamW" else None,
    }
    return {
        "recipe": recipe if named else "custom",
        "hold_out": request.hold_out,
        "seed": int(request.seed),
        **{name: value for name, value in unusual.items() if value},
        "volumes": [described(volume) for volume in volumes.given],
        "validation": [described(volume) for volume in volumes.validation],
    }


def read_volumes(model, request, normalization):
    """Return the `Volumes` of a `Request`.

    Args:
        model: the network.
        request: the `Request`.
        normalization: that of the request, checked.
    """
    with progress_bar("reading volumes") as on_progress:
        read = partial(read_pairs, model, normalization, on_progress)
        given, validation = read(request.images, request.labels), []
        check_weights(request.weights, given)
        inner, held_out = hold_out_parts(given, request.hold_out, spatial_dims_of(model))
        if request.validation:
            validation = read(*map(list, zip(*request.validation, strict=True)))
    return Volumes(given, inner, validation, uniquely_named([*held_out, *validation]))


def read_pairs(model, normalization, on_progress, images, labels):
    """Return images and their labels as `LabelledVolume`s; tell those that look half annotated."""
    volumes = labelled_volumes(images, labels, model, normalization, on_progress)
    for volume, given in zip(volumes, as_list(images), strict=True):
        if volume is not given:
            tell_empty_sections(volume.name, volume.label)
    return volumes


def train(model, patches, batch, budget, settle, callbacks, request):
    """Train until the budget is spent, the last share of it in prediction mode."""
    for until in sorted({1 - settle, 1.0}):
        budget.until = until
        if budget.progress >= until or budget.step and stop_requested(request.stop):
            continue
        with prediction_mode(model, until == 1 and settle > 0):
            model.train_function = None  # trace a step again
            try:
                model.fit(
                    batches(patches, batch, budget.step),
                    steps_per_epoch=request.steps_per_epoch,
                    epochs=2**31,
                    initial_epoch=budget.step // request.steps_per_epoch,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
            except Exception as error:
                if patches.failure:
                    raise patches.failure from error
                raise


def choose(path, held_out, patches, batch, steps):
    """Return the `Calibration` of a saved network, for which patches are not augmented."""
    for sampler in patches.samplers:
        sampler.augment = NONE
    steps = min(steps, batches_to_see(patches.spatial_dims, batch))
    return calibrate(path, held_out, (patches.batch(i, batch)[0] for i in range(steps)))


def logging_callbacks(budget, output, batch, patch_shape, held_out):
    """Return the callbacks that report progress, in files and on the console."""
    names = [part.name for part in held_out]
    history = History(budget, output / "history.csv", batch * math.prod(patch_shape), names)
    if keras.backend.backend() != "tensorflow":
        return history, Progress(budget, names)
    board = keras.callbacks.TensorBoard(output / "tensorboard", write_graph=False)
    return history, board, Progress(budget, names)


def make_patches(volumes, row, dims, seed, weights, contrast=1.0):
    """Return the patches of a recipe, not larger than the largest volume.

    A volume thinner than a patch is mirrored on both sides, so that an annotated slice can lie
    anywhere in a patch: if it were always at the same place, a network with zero padding would
    learn that place.
    """
    sizes = np.max([volume.label.shape[-dims:] for volume in volumes], axis=0)
    patch = [
        min(p, max(int(n) // MULTIPLE, 1) * MULTIPLE)
        for p, n in zip(row.patch[dims], sizes, strict=True)
    ]
    samplers = (
        PatchSampler(
            volume.image,
            volume.label,
            patch,
            seed,
            foreground_fraction=row.foreground_fraction,
            augment=row.augment,
            normalization=volume.intensity.at_contrast(contrast),
            ignore_class=NOT_ANNOTATED,
            mirror=True,
            voxel_size=plausible_size(volume.voxel_size),
        )
        for volume in volumes
    )
    return PatchMix(samplers, weights)


def compile_model(model, row, dims):
    """Compile with the recipe's optimizer and loss."""
    name = row.optimizer[dims]
    kind = MuonAdamW if name == "MuonAdamW" else getattr(keras.optimizers, name)
    optimizer = kind(row.rate[dims], **row.optimizer_options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "alpha"])
    classes = model.output_shape[-1]
    one, all_of_them = (1, 1) if classes == 2 else (None, list(range(1, classes)))
    model.compile(
        optimizer,
        loss=getattr(losses, row.loss)(class_id=one, ignore_class=NOT_ANNOTATED),
        metrics=[Jaccard(all_of_them, ignore_class=NOT_ANNOTATED)],
        jit_compile=jit_option(),
    )
    # TensorFlow traces a step twice if variables are made in it.
    optimizer.build(model.trainable_variables)


def batches(patches, batch_size, start):
    """Return the batches from step `start` on, in a form that suits the backend."""
    if keras.backend.backend() == "tensorflow":
        return patches.tf_dataset(batch_size, start=start)
    return patches.py_dataset(batch_size, start=start, workers=4)
