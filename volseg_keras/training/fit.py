"""`fit`: compile, train by `model.fit` within a budget, validate, checkpoint, resume."""

import math
from functools import partial
from pathlib import Path

import keras
import numpy as np

from ..errors import require_positive
from ..inference.engines import keras_engine, warn_if_slow
from ..inference.tiled_prediction import MULTIPLE
from ..networks import losses
from ..networks.metrics import Jaccard
from ..networks.models import spatial_dims_of, split_normalization
from ..patches.augment import NONE
from ..patches.sampler import PatchMix, PatchSampler
from ..pretrained.presets import KERAS, METRICS
from ..report.console import progress_bar
from ..volumes.labels import NOT_ANNOTATED
from ..volumes.writing import writable_folder
from .annotated_sections import tell_empty_sections
from .arguments import check_recipe, check_run, check_weights, make_budget, training_normalization
from .auto import Request, fit_auto
from .batch_norm import batches_to_see
from .calibration import calibrate
from .callbacks import Finite, Schedule, Validate, stop_requested
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


def fit(
    model,
    images,
    labels,
    *,
    output,
    recipe=None,
    steps=None,
    minutes=None,
    batch_size=None,
    hold_out=None,
    validation=(),
    weights=None,
    resume=False,
    seed=0,
    start=None,
    normalization="volume",
    steps_per_epoch=25,
    self_train=0,
    stop=None,
):
    """Train a network on labelled volumes and keep the best weights.

    A convenience on top of `model.compile` and `model.fit`. The schedule follows the budget. Under
    `tf.distribute` or `keras.distribution` every device takes a batch. Volumes larger
    than a quarter of the free memory are read patch by patch from their files.
    `output` receives model.keras (it takes raw grey levels; best weights of the last fifth of the
    budget if a part is held out, else the last weights), history.csv, curve.png, metrics.json,
    TensorBoard logs, and the checkpoint that `resume` continues from.

    With "auto" for a model, every published one that suits the volumes (2D or 3D, by their voxel
    size or number of sections) is first scored on the annotated sections, for a minute or two, and
    the best is trained further; from scratch only if none finds anything. Sections without any
    label beside labelled ones count as not annotated. If three or more are annotated, one is held
    out for the first two fifths of the budget, to choose threshold and averaging. start.json holds
    the scores of the published models, `parts` the runs of all parts but the last, and
    own_labels.npz what self-training took for labels.

    Args:
        model: a Keras model from `build_model`, or one that an earlier `fit` saved; or "auto".
        images: `(z, y, x)` array-like of grey levels, for a model of several channels
            `(z, y, x, channels)`; or a list of volumes, of any sizes.
        labels: `(z, y, x)` array-like of class ids, or a list of one for each volume; a mask of 0
            and 255 is one of 0 and 1, and 255 beside other labels means "not annotated".
        output: folder of the run.
        recipe: name of a row of `training.recipes.RECIPES`, or a `Recipe`; "fast" by default, with
            "auto" for a model "finetune", unless it starts from scratch.
        steps: budget in steps; the recipe's own where neither is given.
        minutes: budget in minutes of wall time, instead of `steps`; with "auto" ten, unless `steps`
            or a recipe is given.
        batch_size: patches a step, by default the recipe's.
        hold_out: part of every volume that is kept for validation, such as "x:0:256", or "z=7" for
            a section; or a list of one, or None, for each. "none" holds nothing out with "auto".
        validation: further pairs of an image and its labels to validate on.
        weights: shares of the patches, one a volume; equal by default.
        resume: continue from the checkpoint in `output`, with the same arguments, or start where
            there is none yet.
        seed: seed of patches and augmentation; with "auto" also of Keras, NumPy and Python.
        start: where the weights of `model` came from, noted in metrics.json; with "auto" a name,
            run or file to start from, or "scratch".
        normalization: "volume" to standardise each volume with its own mean and standard deviation,
            "model" with the constants in `model`, or `(mean, standard deviation)`.
        steps_per_epoch: steps between rows of history.csv.
        self_train: with "auto", rounds in which the network also learns its own confident
            predictions where nothing is annotated.
        stop: a `threading.Event`: once it is set, the run ends and keeps the best weights so far.

    Returns:
        The dict that is written to metrics.json.

    Raises:
        ValueError: an argument does not fit; raised before any long work.
        FileExistsError: `output` holds a run and `resume` is not set.
        FloatingPointError: the loss or a weight is not finite; what was saved before is kept.

    Example:
        >>> volseg_keras.fit("auto", stack, labels, output="run")  # ten minutes
        >>> model = volseg_keras.build_model("D")
        >>> volseg_keras.fit(model, [epfl, sbem], [epfl_labels, sbem_labels], output="runs/d",
        ...                  hold_out=["x:0:256", None], steps=4_000)
    """
    warn_if_slow()
    if batch_size is not None:
        require_positive(batch_size=batch_size)
    if isinstance(model, str):
        request = Request(
            model=model,
            output=Path(output),
            start=start,
            recipe=recipe,
            steps=steps,
            minutes=minutes,
            hold_out=hold_out,
            validation=list(validation),
            weights=None if weights is None else [float(weight) for weight in weights],
            resume=resume,
            seed=seed,
            normalization=normalization,
            self_train=self_train,
            stop=stop,
        )
        run = partial(fit, batch_size=batch_size, steps_per_epoch=steps_per_epoch, stop=stop)
        return fit_auto(run, images, labels, request)
    recipe = recipe or "fast"
    row = get_recipe(recipe)
    dims, budget = spatial_dims_of(model), make_budget(row, steps, minutes)
    check_recipe(row, dims)
    model, own = split_normalization(model)
    normalization = training_normalization(model, own, normalization)
    resume = check_run(Path(output) / CHECKPOINT, resume)
    weights = None if weights is None else [float(weight) for weight in weights]
    volumes, inner, validation, held_out = read_volumes(
        model, images, labels, hold_out, list(validation), weights, normalization
    )
    contrast = own[2] if own else 1.0
    patches = make_patches(inner, row, dims, seed, weights, contrast)
    batch = (batch_size or row.batch[dims]) * replicas()
    about = {
        "recipe": recipe if isinstance(recipe, str) else "custom",
        "hold_out": hold_out,
        "seed": int(seed),
        **run_options(recipe, row, dims, start, weights, batch),
        "volumes": [described(volume) for volume in volumes],
        "validation": [described(volume) for volume in validation],
    }
    output = writable_folder(output)
    average = WeightAverage(budget, row.average)
    checkpoint = Checkpoint(budget, output / CHECKPOINT, about, average)
    first = volumes[0].intensity
    save = WeightExporter(model, (first.mean, first.deviation, contrast), output / KERAS)
    compile_model(model, row, dims)
    if resume:
        checkpoint.restore(model)
    schedule = Schedule(budget, partial(row.learning_rate, dims), stop)
    callbacks = [schedule, Finite(budget), average]
    if held_out:
        score_now = partial(
            score, model, keras_engine(model), held_out, contrast, WHILE_TRAINING[dims]
        )
        callbacks.append(Validate(budget, score_now, save, average))
    logged = logging_callbacks(budget, output, batch, patches.patch_shape, held_out)
    callbacks += [*logged, checkpoint]
    if budget.progress >= 1 and (summary := finished_summary(output / METRICS, budget.step)):
        return summary
    with checkpoint.kept(), fastest_precision(model, patches.patch_shape[-dims:]) as precision:
        train(model, patches, batch, budget, row.settle, callbacks, steps_per_epoch, stop)
    if not (held_out and save.path.exists()):
        with average.applied(model):
            save()
    chosen = choose(save.path, held_out, patches, batch, budget.step)
    about = {**about, **chosen, "precision": precision}
    return write_summary(model, output, budget, about, volumes)


def run_options(recipe, row, dims, start, weights, batch):
    """Return what differs from a plain run of a recipe of `RECIPES`, for metrics.json."""
    # Checkpoints of 2D networks that are older than it have the same arrays, but of AdamW.
    optimizer = row.optimizer[dims]
    options = {
        "custom_recipe": None if isinstance(recipe, str) else repr(row),
        "from": start and str(start),
        "weights": weights,
        "batch": batch if batch != row.batch[dims] else None,
        "optimizer": optimizer if optimizer == "MuonAdamW" else None,
    }
    return {name: value for name, value in options.items() if value}


def read_volumes(model, images, labels, hold_out, validation, weights, normalization):
    """Return the volumes, their parts to train on, those to validate on, and all held-out parts.

    Arguments are those of `fit`, with the checked `normalization`.
    """
    with progress_bar("reading volumes") as on_progress:
        volumes = labelled_volumes(images, labels, model, normalization, on_progress)
        for volume, given in zip(volumes, as_list(images), strict=True):
            if volume is not given:
                tell_empty_sections(volume.name, volume.label)
        check_weights(weights, volumes)
        inner, held_out = hold_out_parts(volumes, hold_out, spatial_dims_of(model))
        if validation:
            pairs = [[pair[i] for pair in validation] for i in (0, 1)]
            validation = labelled_volumes(*pairs, model, normalization, on_progress)
            for volume, given in zip(validation, pairs[0], strict=True):
                if volume is not given:
                    tell_empty_sections(volume.name, volume.label)
    return volumes, inner, validation, uniquely_named([*held_out, *validation])


def train(model, patches, batch, budget, settle, callbacks, steps_per_epoch, stop=None):
    """Train until the budget is spent, the last share of it in prediction mode."""
    for until in sorted({1 - settle, 1.0}):
        budget.until = until
        if budget.progress >= until or budget.step and stop_requested(stop):
            continue
        with prediction_mode(model, until == 1 and settle > 0):
            model.train_function = None  # trace a step again
            try:
                model.fit(
                    batches(patches, batch, budget.step),
                    steps_per_epoch=steps_per_epoch,
                    epochs=2**31,
                    initial_epoch=budget.step // steps_per_epoch,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
            except Exception as error:
                if patches.failure:
                    raise patches.failure from error
                raise


def choose(path, held_out, patches, batch, steps):
    """Return statistics, threshold and scores of a saved network; see `calibrate`."""
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
            voxel_size=volume.voxel_size,
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
