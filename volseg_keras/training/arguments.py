"""What `fit` is given: checked before any long work."""

import numpy as np

from ..data.patches import channels_of, check_shape, foreground_voxels
from ..data.volumes import NOT_ANNOTATED, checked_finite, class_ids
from ..nets.models import check_sizes
from .callbacks import Budget
from .regions import split


def make_budget(row, steps, minutes):
    """Return the budget, or raise ValueError."""
    if steps is not None and minutes is not None:
        raise ValueError(
            "Invalid value for `minutes`. Expected either `steps` or `minutes`. "
            f"Received: steps={steps}, minutes={minutes}"
        )
    for name, value in (("steps", steps), ("minutes", minutes)):
        if value is not None and not value > 0:
            raise ValueError(
                f"Invalid value for `{name}`. Expected a positive number. Received: {name}={value}"
            )
    if minutes is not None:
        return Budget(None, 60.0 * minutes)
    return Budget(steps or row.steps, None)


def check_start(model, row, normalization):
    """Raise ValueError for a network that a recipe cannot begin with, or unknown constants."""
    if normalization not in (None, "volume"):
        raise ValueError(
            "Invalid value for `normalization`. Expected None or 'volume'. "
            f"Received: normalization={normalization!r}"
        )
    check_sizes(model)
    moving = [w for w in model.non_trainable_weights if w.name == "moving_variance"]
    if row.frozen and moving and all(np.all(np.asarray(w) == 1) for w in moving):
        raise ValueError(
            "Invalid value for `recipe`. Expected a trained network to start from, whose batch "
            "normalisations it keeps. Received: a new one"
        )


def checked_image(image, channels):
    """Return an image in memory that fits the network, or raise ValueError."""
    image = np.asarray(image)
    if channels_of(image) != channels:
        raise ValueError(
            f"Invalid value for `image`. Expected the channels of `model`, {channels}. "
            f"Received: {channels_of(image)}, shape {image.shape}"
        )
    return checked_finite(image)


def checked_labels(label, image, num_classes):
    """Return class ids that fit the image and the network, or raise ValueError."""
    check_shape(image, label)
    label = class_ids(label)
    largest = int(label[label != NOT_ANNOTATED].max(initial=0))
    if largest >= num_classes:
        raise ValueError(
            f"Invalid value for `label`. Expected class ids below {num_classes}, the classes of "
            f"`model`. Received: {largest}"
        )
    return label


def hold_out_part(image, label, hold_out):
    """Return `(image, label)` of the training part and of the held-out part, None without one."""
    if hold_out is None:
        return (image, label), None
    inner, outer = split(hold_out, image.shape)
    try:
        for part in (inner, outer):
            foreground_voxels(label[part], NOT_ANNOTATED)
    except ValueError as error:
        raise ValueError(
            "Invalid value for `hold_out`. Expected annotated foreground in it and beside it. "
            f"Received: hold_out={hold_out!r}"
        ) from error
    return (image[inner], label[inner]), (image[outer], label[outer])


def check_run(checkpoint, resume):
    """Return whether there is a run to resume; raise where one or a model would be replaced."""
    # A copy of a run, such as a published model, comes without its checkpoint.
    finished = checkpoint.with_name("metrics.json").exists() and not checkpoint.exists()
    begun = checkpoint.exists() or checkpoint.with_name("model.keras").exists()
    if finished or begun and not resume:
        raise FileExistsError(
            "Invalid value for `output`. Expected a new folder, or `resume` and a checkpoint. "
            f"Received: {checkpoint.parent} holds a run"
        )
    if resume and not checkpoint.exists():
        print(f"No checkpoint in {checkpoint.parent} yet: the run starts", flush=True)
    return checkpoint.exists()
