"""Checks of the arguments of `fit`, before any long work."""

import math
from numbers import Integral

import keras

from ..errors import invalid, require
from ..networks import losses
from ..pretrained.presets import KERAS, METRICS
from ..volumes.formats.slice_folder import holds_slices
from ..volumes.intensity import IntensityStatistics, checked_normalization
from .loop.callbacks import Budget
from .loop.checkpoint import CHECKPOINT, begun_folders
from .recipes import BY_AXES

LARGEST_RATIO = 1000  # of the shares of two volumes
SEEDS = 2**31  # what NumPy and TensorFlow take
MOST_ROUNDS = 9  # of self-training
PATCH_MULTIPLE = 8  # of the sizes of a patch, which all networks but U-Net halve three times


def checked_seed(seed):
    """Return a seed as an int, or raise ValueError."""
    good = isinstance(seed, Integral) and 0 <= seed < SEEDS
    require(good, "seed", f"an integer from 0 to {SEEDS - 1}", f"{seed=}")
    return int(seed)


def checked_rounds(rounds):
    """Return a number of rounds of self-training as an int, or raise ValueError."""
    good = isinstance(rounds, Integral) and 0 <= rounds <= MOST_ROUNDS
    require(good, "self_train", f"0 to {MOST_ROUNDS} rounds", rounds)
    return int(rounds)


def make_budget(recipe, steps, minutes):
    """Return the budget, or raise ValueError."""
    good = steps is None or minutes is None
    require(good, "minutes", "either `steps` or `minutes`", f"{steps=}, {minutes=}")
    for name, value in (("steps", steps), ("minutes", minutes)):
        require(value is None or value > 0, name, "a positive number", f"{name}={value}")
    if steps is None and (minutes := minutes or recipe.minutes):
        return Budget(None, 60.0 * minutes)
    return Budget(steps or recipe.steps, None)


def check_recipe(recipe, spatial_dims):
    """Raise ValueError for a `Recipe` without values for networks of `spatial_dims` axes."""
    for name in BY_AXES:
        value = getattr(recipe, name)
        expected = f"a value for {spatial_dims} spatial axes"
        require(spatial_dims in value, name, expected, f"{name}={value}")
    patch = recipe.patch[spatial_dims]
    good = len(patch) == spatial_dims and all(
        size > 0 and size % PATCH_MULTIPLE == 0 for size in patch
    )
    expected = (
        f"{spatial_dims} sizes, multiples of {PATCH_MULTIPLE}, for {spatial_dims} spatial axes"
    )
    require(good, "patch", expected, patch)
    name = recipe.optimizer[spatial_dims]
    good = name == "MuonAdamW" or hasattr(keras.optimizers, name)
    require(good, "optimizer", "MuonAdamW or the name of a Keras optimizer", name)
    good = hasattr(losses, recipe.loss)
    require(good, "loss", "the name of a loss in `networks.losses`", recipe.loss)


def training_normalization(constants, normalization):
    """Return "volume" or the `IntensityStatistics` to standardise with.

    Args:
        constants: `Normalization` of the model it is from, or None.
        normalization: "volume", "model" or `(mean, standard deviation)`.

    Raises:
        ValueError: it is none of these, or the network has no constants.
    """
    normalization = checked_normalization(normalization)
    if normalization != "model":
        return normalization
    expected = "'volume' or (mean, standard deviation) for a network without constants"
    require(constants, "normalization", expected, "'model'")
    return IntensityStatistics(constants.mean, constants.standard_deviation, padding=None)


def check_weights(weights, volumes):
    """Raise ValueError unless there is one positive weight for each volume, or None."""
    if weights is None:
        return
    positive = len(weights) == len(volumes) and all(0 < w < math.inf for w in weights)
    expected = f"one positive number for each of {len(volumes)} volumes"
    require(
        positive and max(weights) <= LARGEST_RATIO * min(weights),
        "weights",
        f"{expected}, none more than {LARGEST_RATIO} times another",
        f"{weights=}",
    )


def check_folder(folder, resume):
    """Raise FileExistsError unless a run can be begun in a folder, or resumed.

    A run that is there would be replaced, or is finished; a folder of something else, such as the
    sections of a stack, would be mixed with the files of the run.
    """
    own, begun = (folder / CHECKPOINT).exists(), begun_folders(folder)
    # A copy of a run, such as a published model, has no checkpoint.
    finished = (folder / METRICS).exists() and not own
    if finished or (begun or (folder / KERAS).exists()) and not resume:
        expected = "a new folder" + (", or `resume`" if begun and not finished else "")
        raise invalid("output", expected, f"{folder} holds a run", FileExistsError)
    good, received = begun or not holds_slices(folder), f"{folder}, a stack of images"
    require(good, "output", "a new folder", received, FileExistsError)
