"""What several commands need."""

import os
import re
import sys
import warnings
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Annotated

import typer

PACKAGE = Path(__file__).parents[1]
MANY = 20  # classes that few people have
VolumeFile = Annotated[
    Path, typer.Argument(help="Volume, axes z, y, x; FILE::NAME for HDF5 and Zarr.")
]


Axes = Annotated[
    str | None, typer.Option(help="Axes of the file, e.g. tczyx, where it is wrong or silent.")
]
Time = Annotated[int | None, typer.Option(help="Index on a time axis.")]
Channel = Annotated[int | None, typer.Option(help="Index on a channel axis, or of colours.")]
Level = Annotated[int, typer.Option(help="Level of a pyramid, 0 the finest.")]
Series = Annotated[
    int | None, typer.Option(help="Number of an image in a file that has several, from 0.")
]
VoxelSize = Annotated[
    str | None,
    typer.Option(help="Sides z,y,x in nm, e.g. 5,5,5, where the file is wrong or silent."),
]


@dataclass(frozen=True)
class VolumeOptions:
    """What a user says of the volumes of a command, in the words of its options.

    Attributes:
        axes: as of `open_volume`, like the others.
        time: see `axes`.
        channel: see `axes`.
        level: see `axes`.
        series: see `axes`.
        voxel_size: text "z,y,x" in nm; read back as three numbers.

    Raises:
        ValueError: `voxel_size` is no such text.
    """

    axes: str | None = None
    time: int | None = None
    channel: int | None = None
    level: int = 0
    series: int | None = None
    voxel_size: str | None = None

    def __post_init__(self):
        """Check the text."""
        object.__setattr__(self, "voxel_size", triple("voxel_size", self.voxel_size))

    def open(self, path):
        """Open a volume of which every option is true."""
        from ..volumes.volume import open_volume

        return open_volume(path, **asdict(self))

    def open_all(self, **paths):
        """Open volumes that belong together; an option counts for those that it can be true of.

        So `--channel` of an image says nothing of its labels, which have no channels.

        Args:
            **paths: files by what they are; None is left out.

        Returns:
            The open volumes by the same names.

        Raises:
            ValueError: a volume cannot be opened, or an option is true of none.
        """
        from ..volumes.geometry import differ
        from ..volumes.volume import open_volume

        opened, refused = {}, {}
        given = {name: value for name, value in asdict(self).items() if value is not None}
        left = dict.fromkeys(given)
        for what, path in paths.items():
            kept = dict(given)
            while path is not None and what not in opened:
                try:
                    opened[what] = open_volume(path, **kept)
                except ValueError as error:
                    told = re.match(r"Invalid value for `(\w+)`", str(error))
                    if not told or kept.pop(told[1], None) is None:
                        raise
                    refused.setdefault(told[1], error)
            for name in kept if path is not None else ():
                left.pop(name, None)
        for name in left:
            if name in refused:
                raise refused[name]
        first, *others = opened
        for what in others:
            if apart := differ(opened[first], opened[what]):
                warnings.warn(f"{what} does not lie on {first}: {apart}", stacklevel=2)
        return opened


def file_of(path):
    """Return the file of FILE::NAME."""
    from ..volumes.source import split_name

    return split_name(path)[0]


def place_of(path):
    """Return the file of FILE::NAME, or the folder of a pattern of slices, absolute."""
    file = file_of(path).absolute()
    return file.parent if "*" in file.name else file


def output_file(path):
    """Return a path whose file can be written, or raise ValueError or OSError."""
    from ..volumes.writing import writable_folder

    if path.is_dir():
        raise ValueError(f"Invalid value for `output`. Expected a file. Received: folder {path}")
    return writable_folder(path.parent) / path.name


@contextmanager
def quiet():
    """Keep what TensorFlow writes to standard error while it starts from the user's eyes.

    Warnings of this package are shown in the end.
    """
    caught = []
    try:
        with silent_stderr(), warnings.catch_warnings(record=True) as caught:
            yield
    finally:
        for warning in caught:
            if Path(warning.filename).absolute().is_relative_to(PACKAGE):
                place = warning.filename, warning.lineno
                warnings.warn_explicit(warning.message, warning.category, *place)


@contextmanager
def silent_stderr():
    """Turn the file of standard error, if there is one, to nowhere."""
    flush()
    try:
        saved = os.dup(2)
    except OSError:  # a program without a console
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def flush():
    """Write what waits for standard error."""
    if sys.stderr:
        sys.stderr.flush()


def display():
    """Return the `Display` of a job on this terminal."""
    from functools import partial

    from ..inference.runner import Display
    from ..report.console import progress_bar

    return Display(partial(print, flush=True), waiting, progress_bar)


@contextmanager
def waiting(what):
    """Show on a terminal what takes a while, and none of what TensorFlow writes meanwhile."""
    from rich.console import Console

    with Console().status(what), quiet():
        yield


def start_keras():
    """Import Keras and its backend without their greetings."""
    from ..networks.backend import check_backend

    check_backend()
    with quiet():
        import keras

        keras.ops.zeros(1)
    return keras


def count_classes(*labels):
    """Return the number of classes of label maps in which 255 means "not annotated".

    A warning tells where classes have no voxel, or are as many as grey levels or instances.
    """
    from ..volumes.labels import present_ids

    present = sorted({i for values in labels for i in present_ids(values)})
    top = max(present, default=0)
    missing = sorted(set(range(1, top)) - set(present))
    if top > 1 and not any((values == 0).any() for values in labels):
        missing = [0, *missing]
    if missing:
        names = ", ".join(map(str, missing[:9])) + ", ..." * (len(missing) > 9)
        warnings.warn(
            f"labels of {top + 1} classes, 0 to {top}, have no voxel of {names}", stacklevel=2
        )
    elif top >= MANY:
        warnings.warn(
            f"labels are taken for {top + 1} classes: are they grey levels, or ids of instances?",
            stacklevel=2,
        )
    return max(2, 1 + top)


def class_scores(truth, labels):
    """Score labels, 255 in the truth being "not annotated" unless it is a mask of 0 and 255.

    Args:
        truth: True labels, an open volume.
        labels: Predicted labels.

    Returns:
        The scores of `segmentation_scores`, and the class ids of truth and of labels.
    """
    from ..scores import segmentation_scores
    from ..volumes.volume import class_ids

    maps = class_ids(truth), class_ids(labels)
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
