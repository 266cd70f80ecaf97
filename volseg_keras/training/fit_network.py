"""Train a network: compile, `model.fit` within a budget, validate, checkpoint, resume."""

import math
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from ..errors import require
from ..files import writable_folder
from ..inference.engines.runtimes import keras_engine
from ..inference.tiled_prediction import MULTIPLE
from ..networks import losses
from ..networks.metadata import Normalization
from ..networks.metrics import Jaccard
from ..networks.models import check_sizes, spatial_dims_of, split_normalization
from ..patches.augment import NONE
from ..patches.patch_mix import PatchMix
from ..patches.sampler import PatchSampler
from ..pretrained.presets import KERAS, METRICS
from ..volumes.dimensions import plausible_size
from ..volumes.labels import NOT_ANNOTATED
from .arguments import check_recipe, make_budget, training_normalization
from .calibration import calibrate
from .data.training_volumes import read_volumes
from .loop.batch_norm import batches_to_see
from .loop.callbacks import Budget, Schedule, StopIfDiverged, Validate, stop_requested
from .loop.checkpoint import CHECKPOINT, Checkpoint, begun_folders
from .loop.devices import fastest_precision, jit_option, replicas
from .loop.logging_callbacks import History, Progress, ProgressSpan
from .loop.muon import MuonAdamW
from .loop.prediction_mode import prediction_mode
from .recipes import DEFAULT, Recipe, get_recipe
from .request import Request
from .saving import WeightExporter, finished_summary, volume_entry, write_summary
from .validation import WHILE_TRAINING, score


@dataclass(frozen=True)
class TrainingPlan:
    """How a network is trained, checked before any long work.

    Attributes:
        request: the `Request`.
        recipe: its `Recipe`.
        budget: its `Budget`.
        network: what is trained, a network of standardised intensities.
        constants: `Normalization` of the model that the network is from, or None.
        part: which part of a longer training the run is.
    """

    request: Request
    recipe: Recipe
    budget: Budget
    network: keras.Model
    constants: Normalization | None
    part: ProgressSpan = ProgressSpan()

    @property
    def spatial_dims(self):
        """Axes of the network, 2 or 3."""
        return spatial_dims_of(self.network)

    @property
    def contrast(self):
        """Gain of the standardised intensities."""
        return self.constants.contrast if self.constants else 1.0

    @property
    def batch_size(self):
        """Patches per step, on all devices."""
        return (self.request.batch_size or self.recipe.batch[self.spatial_dims]) * replicas()


def checked_plan(request):
    """Return the `TrainingPlan` of a `Request` with a network for a model.

    Raises:
        ValueError: see `fit`.
    """
    expected = 'a Keras model, such as load_pretrained("run"), or "auto"'
    good = isinstance(request.model, keras.Model)
    require(good, "model", expected, f"model={request.model!r}")
    recipe = get_recipe(request.recipe or DEFAULT)
    budget = make_budget(recipe, request.steps, request.minutes)
    check_recipe(recipe, spatial_dims_of(request.model))
    network, constants = split_normalization(request.model)
    check_sizes(network)
    return TrainingPlan(request, recipe, budget, network, constants)


def fit_network(request):
    """Read volumes and train a network on them; see `fit`.

    Args:
        request: a `Request` with a network for a model.

    Returns:
        The dict that is written to metrics.json.

    Raises:
        ValueError, FloatingPointError: see `fit`.
    """
    plan = checked_plan(request)
    good = begun_folders(request.output) <= {request.output}
    expected = 'model="auto", which the run was begun with; or a new folder'
    require(good, "resume", expected, request.output)
    volumes = read_volumes(
        request,
        spatial_dims=plan.spatial_dims,
        channels=plan.network.inputs[0].shape[-1],
        num_classes=plan.network.output_shape[-1],
        normalization=training_normalization(plan.constants, request.normalization),
    )
    return fit_volumes(plan, volumes)


def fit_volumes(plan, volumes):
    """Train a network on `TrainingVolumes`, which are open, or continue what its folder holds.

    `check_folder` comes before it.

    Args:
        plan: a `TrainingPlan`. Images, labels, `validation` and `normalization` of its request are
            not used, and `hold_out` is only noted: `volumes` are what was made of them.
        volumes: the `TrainingVolumes`.

    Returns:
        The dict that is written to metrics.json.

    Raises:
        ValueError, FloatingPointError: see `fit`.
    """
    request, recipe, budget, model = plan.request, plan.recipe, plan.budget, plan.network
    spatial_dims, contrast, batch = plan.spatial_dims, plan.contrast, plan.batch_size
    shares = request.weights
    patches = make_patches(volumes.training, recipe, spatial_dims, request.seed, shares, contrast)
    run_settings = settings(plan, volumes)
    output = writable_folder(request.output)
    resumes = (output / CHECKPOINT).exists()
    checkpoint = Checkpoint(budget, output / CHECKPOINT, run_settings)
    first = volumes.whole[0].intensity
    save = WeightExporter(model, (first.mean, first.deviation, contrast), output / KERAS)
    compile_model(model, recipe, spatial_dims)
    if resumes:
        checkpoint.restore(model)
    if budget.progress >= 1 and (summary := finished_summary(output / METRICS, budget.step)):
        return summary
    rate = partial(recipe.learning_rate, spatial_dims)
    callbacks = [Schedule(budget, rate, request.stop), StopIfDiverged(budget)]
    if volumes.scored:
        parts = volumes.scored, contrast, WHILE_TRAINING[spatial_dims]
        score_now = partial(score, model, keras_engine(model), *parts)
        callbacks.append(Validate(budget, score_now, save))
    names = [part.name for part in volumes.scored]
    history = History(budget, output / "history.csv", batch * math.prod(patches.patch_shape), names)
    callbacks += [history, *tensorboard(output), Progress(budget, names, plan.part), checkpoint]
    patch = patches.patch_shape[-spatial_dims:]
    with checkpoint.kept(), fastest_precision(model, patch) as precision:
        train(plan, patches, callbacks)
    if not (volumes.scored and save.path.exists()):
        save()
    chosen = calibrate_saved(save.path, volumes.scored, patches, batch, budget.step)
    entries = {**run_settings, **chosen.to_json(), "precision": precision}
    if request.normalization != "volume":
        entries["normalize"] = "model"
    return write_summary(model, output, budget, entries, volumes.whole)


def settings(plan, volumes):
    """Return what a network is trained on and how, for metrics.json and checkpoints."""
    request, spatial_dims = plan.request, plan.spatial_dims
    recipe, batch = request.recipe or DEFAULT, plan.batch_size
    named = isinstance(recipe, str)
    # Checkpoints of 2D networks that are older than it have the same arrays, but of AdamW.
    optimizer = plan.recipe.optimizer[spatial_dims]
    unusual = {
        "custom_recipe": None if named else repr(plan.recipe),
        "from": request.start and str(request.start),
        "weights": request.weights,
        "batch": batch if batch != plan.recipe.batch[spatial_dims] else None,
        "optimizer": optimizer if optimizer == "MuonAdamW" else None,
    }
    return {
        "recipe": recipe if named else "custom",
        "hold_out": request.hold_out and request.hold_out.given,
        "seed": request.seed,
        **{name: value for name, value in unusual.items() if value},
        "volumes": [volume_entry(volume) for volume in volumes.whole],
        "validation": [volume_entry(volume) for volume in volumes.validation],
    }


def train(plan, patches, callbacks):
    """Train until the budget is spent, the last share of it in prediction mode."""
    request, budget, model = plan.request, plan.budget, plan.network
    settle = plan.recipe.settle
    for until in sorted({1 - settle, 1.0}):
        budget.until = until
        if budget.progress >= until or budget.step and stop_requested(request.stop):
            continue
        with prediction_mode(model, until == 1 and settle > 0):
            model.train_function = None  # trace a step again
            try:
                model.fit(
                    batches(patches, plan.batch_size, budget.step),
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


def calibrate_saved(path, held_out, patches, batch, steps):
    """Return the `Calibration` of a saved network, whose file is written anew.

    Statistics are taken from unaugmented patches; this switches augmentation off for good.
    """
    for sampler in patches.samplers:
        sampler.augment = NONE
    steps = min(steps, batches_to_see(patches.spatial_dims, batch))
    return calibrate(path, held_out, (patches.batch(i, batch)[0] for i in range(steps)))


def tensorboard(output):
    """Return a list of the callback that writes files for TensorBoard; with TensorFlow only."""
    if keras.backend.backend() != "tensorflow":
        return []
    return [keras.callbacks.TensorBoard(output / "tensorboard", write_graph=False)]


def make_patches(volumes, recipe, spatial_dims, seed, weights, contrast=1.0):
    """Return the patches of a recipe, not larger than the largest volume.

    A volume thinner than a patch is mirrored on both sides, so that an annotated slice can lie
    anywhere in a patch: if it were always at the same place, a network with zero padding would
    learn that place.
    """
    sizes = np.max([volume.label.shape[-spatial_dims:] for volume in volumes], axis=0)
    patch = [
        min(p, max(int(n) // MULTIPLE, 1) * MULTIPLE)
        for p, n in zip(recipe.patch[spatial_dims], sizes, strict=True)
    ]
    samplers = (
        PatchSampler(
            volume.image,
            volume.label,
            patch,
            seed,
            foreground_fraction=recipe.foreground_fraction,
            augment=recipe.augment,
            normalization=volume.intensity.at_contrast(contrast),
            ignore_class=NOT_ANNOTATED,
            mirror=True,
            voxel_size=plausible_size(volume.voxel_size),
        )
        for volume in volumes
    )
    return PatchMix(samplers, weights)


def compile_model(model, recipe, spatial_dims):
    """Compile with the recipe's optimizer and loss."""
    name = recipe.optimizer[spatial_dims]
    kind = MuonAdamW if name == "MuonAdamW" else getattr(keras.optimizers, name)
    optimizer = kind(recipe.rate[spatial_dims], **recipe.optimizer_options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "alpha"])
    classes = model.output_shape[-1]
    loss_class, metric_classes = (1, 1) if classes == 2 else (None, list(range(1, classes)))
    model.compile(
        optimizer,
        loss=getattr(losses, recipe.loss)(class_id=loss_class, ignore_class=NOT_ANNOTATED),
        metrics=[Jaccard(metric_classes, ignore_class=NOT_ANNOTATED)],
        jit_compile=jit_option(),
    )
    # TensorFlow traces a step twice if variables are made in it.
    optimizer.build(model.trainable_variables)


def batches(patches, batch_size, start):
    """Return the batches from step `start` on, in a form that suits the backend."""
    if keras.backend.backend() == "tensorflow":
        return patches.tf_dataset(batch_size, start=start)
    return patches.py_dataset(batch_size, start=start, workers=4)
