"""What several commands need."""

import os
import sys
import warnings
from contextlib import contextmanager, suppress
from math import inf, isfinite
from pathlib import Path
from typing import Annotated

import typer

VolumeFile = Annotated[Path, typer.Argument(help="Volume, axes z, y, x; FILE::NAME for HDF5.")]


def file_of(path):
    """Return the file of FILE::NAME."""
    return Path(str(path).partition("::")[0])


def place_of(path):
    """Return the file of FILE::NAME, or the folder of a pattern of slices, absolute."""
    file = file_of(path).absolute()
    return file.parent if "*" in file.name else file


@contextmanager
def quiet():
    """Keep what TensorFlow writes to standard error while it starts from the user's eyes.

    Warnings of this package are shown in the end.
    """
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    caught = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
        for warning in caught:
            if "volseg_keras" in warning.filename:
                place = warning.filename, warning.lineno
                warnings.warn_explicit(warning.message, warning.category, *place)


def start_keras():
    """Import Keras and its backend without their greetings."""
    with quiet():
        import keras

        keras.ops.zeros(1)
    return keras


def count_classes(*labels):
    """Return the number of classes of label maps in which 255 means "not annotated"."""
    present = [int(values[values != 255].max(initial=0)) for values in labels]
    return max(2, 1 + max(present))


def class_scores(truth, labels):
    """Score labels, 255 in the truth being "not annotated" unless it is a mask of 0 and 255.

    Args:
        truth: True labels, an open volume.
        labels: Predicted labels.

    Returns:
        The scores of `segmentation_scores`, and the class ids of truth and of labels.
    """
    from ..data.volumes import class_ids

    maps = class_ids(truth), class_ids(labels)
    start_keras()
    from ..nets.metrics import segmentation_scores

    ignored = 255 if (maps[0] == 255).any() else None
    scores = segmentation_scores(*maps, num_classes=count_classes(*maps), ignore_class=ignored)
    return scores, *maps


def normalization(text):
    """Return `normalization` of `fit` and `predict_volume` for --normalize, or raise ValueError."""
    if text in ("model", "volume"):
        return text
    with suppress(ValueError):
        mean, deviation = (float(part) for part in text.split(","))
        if isfinite(mean) and 0 < deviation < inf:
            return mean, deviation
    raise ValueError(
        "Invalid value for `normalize`. Expected volume, model or MEAN,STD such as 128,30. "
        f"Received: normalize={text}"
    )


def triple(name, text):
    """Return three positive numbers of "z,y,x", None for None, or raise ValueError."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(0 < n < float("inf") for n in numbers):
        raise ValueError(
            f"Invalid value for `{name}`. Expected three positive numbers, z,y,x. Received: {text}"
        )
    return numbers


def numbers(name, text):
    """Return the numbers of "2,1", None for None, or raise ValueError."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"Invalid value for `{name}`. Expected numbers such as 2,1. Received: {text}"
        ) from None
