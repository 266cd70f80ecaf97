"""`fit` on open volumes, with a network by its name and labels as files hold them."""

from contextlib import nullcontext

import keras

from ..networks.models import build_model
from ..pretrained.choice import AUTO
from ..volumes.labels import count_classes
from .arguments import checked_seed, make_budget, resumes_run
from .checkpoint import CHECKPOINT
from .devices import data_parallel
from .fit import fit
from .hold_out import HoldOut
from .labelled_volumes import with_class_ids
from .recipes import DEFAULT, get_recipe


def fit_by_name(
    network,
    volumes,
    *,
    output,
    validation=(),
    hold_out=None,
    recipe=None,
    steps=None,
    minutes=None,
    resume=False,
    seed=0,
    all_gpus=False,
    batch_size=None,
    weights=None,
    start=None,
    normalization="volume",
    self_train=0,
):
    """Train on open volumes, as `fit` does.

    Budget, hold-out and output are checked before the labels are read, which may take minutes.

    Args:
        network: a name of `networks.variants.VARIANTS`, for new weights and as many classes as
            the labels have; or "auto".
        volumes: pairs of an open image and its labels.
        output: folder of the run.
        validation: further pairs to validate on.
        hold_out: as of `fit`.
        recipe: as of `fit`.
        steps: as of `fit`.
        minutes: as of `fit`.
        resume: as of `fit`.
        seed: as of `fit`, and of the new weights.
        all_gpus: use all GPUs for each step.
        batch_size: as of `fit`.
        weights: as of `fit`.
        start: as of `fit`.
        normalization: as of `fit`.
        self_train: as of `fit`.

    Returns:
        What `fit` returns.

    Raises:
        ValueError, FileExistsError, FloatingPointError: as `fit`.
    """
    checked_seed(seed)
    make_budget(get_recipe(recipe or DEFAULT), steps, minutes)
    if hold_out is not None:
        HoldOut.parse(hold_out)
    if not resume:
        resumes_run(output / CHECKPOINT, resume)
    (images, labels), validation = with_class_ids(volumes), with_class_ids(validation)
    keras.utils.set_random_seed(seed)
    with data_parallel() if all_gpus else nullcontext():
        model = AUTO
        if network != AUTO:
            model = build_model(
                network, num_classes=count_classes(*(label.present for label in labels))
            )
        return fit(
            model,
            images,
            labels,
            output=output,
            recipe=recipe,
            steps=steps,
            minutes=minutes,
            validation=zip(*validation, strict=True),
            hold_out=hold_out,
            resume=resume,
            seed=seed,
            batch_size=batch_size,
            weights=weights,
            start=start,
            normalization=normalization,
            self_train=self_train,
        )
