"""`fit`: train a network, or choose a published one and train it further."""

from ..networks.devices import warn_if_slow
from .arguments import check_folder
from .auto.fit_auto import fit_auto
from .fit_network import fit_network
from .request import Request


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

    With "auto" for a model, the published ones that suit the volumes (2D or 3D, by their voxel size
    or number of sections) are first scored on the annotated sections, for a minute or two, and the
    best is trained further; from scratch only if none finds anything. Sections without any
    label beside labelled ones count as not annotated. If three or more are annotated, one is held
    out for the first two fifths of the budget, to choose threshold and averaging. start.json holds
    the scores of the published models, `parts` the runs of all parts but the last, and
    own_labels.npz what self-training took for labels.

    Args:
        model: a Keras model from `build_model`, or one that an earlier `fit` saved; or "auto".
        images: `(z, y, x)` array-like of grey levels, for a model of several channels
            `(z, y, x, channels)`; or a list of volumes, of any sizes.
        labels: `(z, y, x)` array-like of class ids, or a list of one for each volume; 255 beside
            class ids, in any of them, means "not annotated"; else a mask of 0 and 255 is one of 0
            and 1.
        output: folder of the run.
        recipe: name of a row of `training.recipes.RECIPES`, or a `Recipe`; "fast" by default, with
            "auto" for a model "finetune", unless it starts from scratch.
        steps: budget in steps; the recipe's own where neither is given.
        minutes: budget in minutes of wall time, instead of `steps`; with "auto" ten, unless `steps`
            or a recipe is given.
        batch_size: patches per step, by default the recipe's.
        hold_out: part of every volume that is kept for validation, such as "x:0:256", or "z=7" for
            a section; or a list of one, or None, for each. "none" holds nothing out with "auto".
        validation: further pairs of an image and its labels to validate on.
        weights: shares of the patches, one per volume; equal by default.
        resume: continue from the checkpoint in `output`, with the same arguments, or start where
            there is none yet.
        seed: seed of patches and augmentation; with "auto" also of Keras, NumPy and Python.
        start: where the weights of `model` came from, noted in metrics.json; with "auto" a name,
            run or file to start from, or "scratch".
        normalization: "volume" to standardise each volume with its own mean and standard deviation,
            "model" with the constants in `model`, or `(mean, standard deviation)`.
        steps_per_epoch: steps between rows of history.csv.
        self_train: with "auto", rounds in which the network also learns its own confident
            predictions where nothing is annotated; not with a section for `hold_out`.
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
    return fit_request(
        Request(
            model=model,
            images=images,
            labels=labels,
            output=output,
            recipe=recipe,
            steps=steps,
            minutes=minutes,
            batch_size=batch_size,
            hold_out=hold_out,
            validation=validation,
            weights=weights,
            resume=resume,
            seed=seed,
            start=start,
            normalization=normalization,
            steps_per_epoch=steps_per_epoch,
            self_train=self_train,
            stop=stop,
        )
    )


def fit_request(request):
    """Train what a `Request` asks for; see `fit`."""
    check_folder(request.output, request.resume)
    warn_if_slow()
    if request.resume and not request.can_resume:
        print(f"No checkpoint in {request.output} yet: a new run starts", flush=True)
    return fit_auto(request) if isinstance(request.model, str) else fit_network(request)
