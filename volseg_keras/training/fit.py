"""`fit`: compile, train by `model.fit` within a budget, validate, checkpoint, resume."""

import json
import math
from functools import partial
from pathlib import Path

import keras
import numpy as np

from ..atomic import whole, write_json
from ..data.augment import NONE
from ..data.patches import PatchSampler
from ..data.volumes import NOT_ANNOTATED
from ..data.writing import writable_folder
from ..inference.engines import keras_engine, on_gpu, usable_cores
from ..inference.predict import MULTIPLE
from ..nets import losses
from ..nets.metrics import Jaccard
from ..nets.models import copy_at, split_normalization, with_normalization
from .arguments import (
    check_run,
    check_start,
    checked_image,
    checked_labels,
    hold_out_part,
    make_budget,
)
from .averaging import Average
from .calibration import at_contrast, calibrate, held_out_jaccard, held_out_slabs
from .callbacks import Checkpoint, Finite, History, Progress, Schedule, Validate
from .devices import replicas, use_jit
from .freezing import frozen_norms
from .recipes import get_recipe
from .statistics import BATCHES

CHECKPOINT = "checkpoint.h5"


def fit(
    model,
    image,
    label,
    *,
    output,
    recipe="fast",
    steps=None,
    minutes=None,
    hold_out=None,
    resume=False,
    seed=0,
    start=None,
    normalization=None,
    steps_per_epoch=25,
):
    """Train a network on one labelled volume and keep the best weights.

    A convenience on top of `model.compile` and `model.fit`. The schedule follows the budget. Under
    `tf.distribute` or `keras.distribution` every device takes the recipe's batch.
    `output` receives model.keras (it takes raw grey levels; best weights of the last fifth of the
    budget, at the contrast that suits best, where a part is held out, else the last weights),
    history.csv, curve.png, metrics.json, TensorBoard logs, and the checkpoint that `resume`
    continues from.

    Args:
        model: a Keras model from `build_model`, or one that an earlier `fit` saved, whose
            normalisation and contrast are then kept, unless `normalization` is set.
        image: `(z, y, x)` array-like of grey levels, for a model of several channels
            `(z, y, x, channels)`.
        label: `(z, y, x)` array-like of class ids; a mask of 0 and 255 is one of 0 and 1, and 255
            beside other labels means "not annotated".
        output: folder of the run.
        recipe: name of a row of `training.recipes.RECIPES`.
        steps: budget in steps; the recipe's own where neither is given.
        minutes: budget in minutes of wall time, instead of `steps`.
        hold_out: part kept for validation, such as "x:0:256".
        resume: continue from the checkpoint in `output`, or start where there is none yet.
        seed: seed of patches and augmentation.
        start: what the weights of `model` came from, noted in metrics.json.
        normalization: "volume" to standardise by the grey levels of `image` where `model` has
            constants of its own: for another microscope's.
        steps_per_epoch: steps between rows of history.csv.

    Returns:
        The dict that is written to metrics.json.

    Raises:
        ValueError: an argument does not fit; raised before any long work.
        FileExistsError: `output` holds a run and `resume` is not set.
        FloatingPointError: the loss or a weight is not finite; what was saved before is kept.
    """
    row = get_recipe(recipe)
    dims = len(model.inputs[0].shape) - 2
    budget = make_budget(row, steps, minutes)
    model, own = split_normalization(model)
    check_start(model, row, normalization)
    constants = None if normalization == "volume" or not own else at_contrast(*own)
    voxel_size = getattr(image, "voxel_size", None)
    image = checked_image(image, model.inputs[0].shape[-1])
    label = checked_labels(label, image, model.output_shape[-1])
    inner, held_out = hold_out_part(image, label, hold_out)
    sampler = make_sampler(*inner, row, dims, seed, constants)
    batch = row.batch[dims] * replicas()
    told = {"from": start and str(start), "voxel_size": voxel_size}
    told["batch"] = batch if replicas() > 1 else None
    about = {"recipe": recipe, "hold_out": hold_out, "seed": int(seed)}
    about |= {name: value for name, value in told.items() if value}
    resume = check_run(Path(output) / CHECKPOINT, resume)
    output = writable_folder(output)
    average = Average(budget, row.average)
    shared = {**about, "normalization": sampler.normalization}
    checkpoint = Checkpoint(budget, output / CHECKPOINT, shared, average)

    save = Saver(model, sampler.normalization, output / "model.keras")
    with frozen_norms(model, row.frozen):
        compile_model(model, row, dims)
        if resume:
            checkpoint.restore(model)
        callbacks = [Schedule(budget, partial(row.learning_rate, dims)), Finite(budget), average]
        if held_out:
            score = partial(validate, model, keras_engine(model), sampler.normalization, *held_out)
            callbacks.append(Validate(budget, score, save, average))
        callbacks += [*reports(budget, output, batch, sampler.patch_shape), checkpoint]
        if budget.progress < 1:
            model.fit(
                batches(sampler, batch, budget.step),
                steps_per_epoch=steps_per_epoch,
                epochs=2**31,
                initial_epoch=budget.step // steps_per_epoch,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
        elif summary := told_before(output / "metrics.json", budget.step):
            return summary
    if not (held_out and save.path.exists()):
        with average.applied(model):
            save()
    chosen = choose(save.path, held_out, sampler, batch, min(BATCHES, budget.step))
    return summarise(model, output, budget, {**about, **chosen}, sampler)


def choose(path, held_out, sampler, batch, steps):
    """Return what a held-out part chooses for a saved network, where there is one."""
    if not held_out:
        return {"contrast": 1.0, "threshold": 0.5, "held_out_jaccard": None}
    sampler.augment = NONE
    settling = (sampler.batch(i, batch)[0] for i in range(steps))
    return calibrate(path, *held_out, settling, ignore_class=NOT_ANNOTATED)


def reports(budget, output, batch, patch_shape):
    """Return the callbacks that tell, in files and on the console, how a training goes."""
    history = History(budget, output / "history.csv", batch * math.prod(patch_shape))
    if keras.backend.backend() != "tensorflow":
        return history, Progress(budget)
    board = keras.callbacks.TensorBoard(output / "tensorboard", write_graph=False)
    return history, board, Progress(budget)


def make_sampler(image, label, row, dims, seed, normalization):
    """Return the sampler of a recipe; its patches are as small as a thin volume asks for.

    A volume thinner than a patch is mirrored on both sides, so that an annotated slice may lie
    anywhere in a patch: at one place only, a network that pads by zeros would know it by that.
    """
    sizes = list(zip(row.patch[dims], label.shape[-dims:], strict=True))
    patch = [min(p, max(n // MULTIPLE, 1) * MULTIPLE) for p, n in sizes]
    lacks = [max(p - n, 0) for p, (_, n) in zip(patch, sizes, strict=True)]
    if any(lacks):  # else a volume need not be copied
        short = [(p // 2, p // 2 + n) if n else (0, 0) for p, n in zip(patch, lacks, strict=True)]
        short = [(0, 0)] * (3 - dims) + short
        image = np.pad(image, short + [(0, 0)] * (image.ndim - 3), mode="symmetric")
        label = np.pad(label, short, mode="symmetric")
    return PatchSampler(
        image,
        label,
        patch,
        seed,
        foreground_fraction=row.foreground_fraction,
        augment=row.augment,
        normalization=normalization,
        ignore_class=NOT_ANNOTATED,
    )


def compile_model(model, row, dims):
    """Compile with the recipe's optimizer and loss."""
    optimizer = getattr(keras.optimizers, row.optimizer)(row.rate[dims], **row.optimizer_options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "alpha"])
    classes = model.output_shape[-1]
    one, all_of_them = (1, 1) if classes == 2 else (None, list(range(1, classes)))
    model.compile(
        optimizer,
        loss=getattr(losses, row.loss)(class_id=one, ignore_class=NOT_ANNOTATED),
        metrics=[Jaccard(all_of_them, ignore_class=NOT_ANNOTATED)],
        jit_compile=use_jit(),
    )
    # TensorFlow traces a step twice where variables are made in it.
    optimizer.build(model.trainable_variables)


def batches(sampler, batch_size, start):
    """Return the batches from step `start` on, as the backend likes them."""
    if keras.backend.backend() == "tensorflow":
        return sampler.tf_dataset(batch_size, start=start)
    return sampler.py_dataset(batch_size, start=start, workers=4)


def validate(model, engine, normalization, image, label):
    """Return the mean Jaccard index of the foreground classes of the held-out part."""
    slabs = held_out_slabs(model, engine, image, normalization)
    return held_out_jaccard(slabs, model.output_shape[-1], label, ignore_class=NOT_ANNOTATED)


class Saver:
    """Save a network with its normalisation, in float32 and without optimizer, atomically."""

    def __init__(self, model, normalization, path):
        self.trained = model
        copy = copy_at(model, "float32")  # whoever loads it
        self.copy = keras.Model(copy.inputs[0], copy.outputs[0], name=model.name)
        self.model = with_normalization(self.copy, *normalization)
        self.path = Path(path)

    def __call__(self):
        """Write the file; what metrics.json tells is of earlier weights, so it goes."""
        self.copy.set_weights(self.trained.get_weights())
        self.path.with_name("metrics.json").unlink(missing_ok=True)
        with whole(self.path) as part:
            self.model.save(part)


def told_before(path, step):
    """Return the metrics.json of a run that had ended at a step, or None."""
    summary = json.loads(path.read_text()) if path.is_file() else {}
    return summary if summary.get("steps") == step else None


def summarise(model, output, budget, about, sampler):
    """Write metrics.json and curve.png."""
    from ..report.curve import training_curve

    mean, deviation = sampler.normalization
    summary = {
        "variant": model.name,
        "parameters": model.count_params(),
        **about,
        "steps": budget.step,
        "minutes": round(budget.spent / 60, 2),
        "device": f"{replicas()} GPU" if on_gpu() else f"{usable_cores()} CPU cores",
        "normalization": {"mean": mean, "standard_deviation": deviation},
    }
    write_json(output / "metrics.json", summary, indent=2)
    training_curve(output / "history.csv", output / "curve.png")
    return summary
