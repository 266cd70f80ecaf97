"""Options that several commands share, and how their text is read."""

from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from ..errors import invalid, require

VolumeFile = Annotated[
    Path, typer.Argument(help="Volume, axes z, y, x; FILE::NAME for HDF5 and Zarr.")
]
Probability = Annotated[
    Path | None, typer.Option(help="Probability volume, shown as an optional overlay.")
]
SkipEmpty = Annotated[
    bool,
    typer.Option(
        "--skip-empty",
        help="Leave out sections without any true label, treating them as unannotated.",
    ),
]
Axes = Annotated[
    str | None, typer.Option(help="File axes, e.g. tczyx, if the stored ones are wrong or missing.")
]
Time = Annotated[int | None, typer.Option(help="Index on a time axis.")]
Channel = Annotated[int | None, typer.Option(help="Index on a channel axis, or of a colour.")]
Level = Annotated[int, typer.Option(help="Level of a pyramid, 0 the finest.")]
Series = Annotated[
    int | None, typer.Option(help="Index (from 0) of the image in a file that holds several.")
]
VoxelSize = Annotated[
    str | None,
    typer.Option(help="Voxel size z,y,x in nm, e.g. 5,5,5, if wrong or missing in the file."),
]


@dataclass(frozen=True)
class VolumeOptions:
    """How to read the volumes of a command, the arguments of `open_volume`.

    `voxel_size` is given as text, "z,y,x", and becomes three numbers.

    Raises:
        ValueError: `voxel_size` has another form.
    """

    axes: Axes = None
    time: Time = None
    channel: Channel = None
    level: Level = 0
    series: Series = None
    voxel_size: VoxelSize = None

    def __post_init__(self):
        """Read the text."""
        object.__setattr__(self, "voxel_size", parse_voxel_size(self.voxel_size))

    def as_arguments(self):
        """Return what was given as arguments of a command line."""
        arguments = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                is_size = field.name == "voxel_size"
                text = ",".join(f"{side:g}" for side in value) if is_size else str(value)
                arguments += [f"--{field.name.replace('_', '-')}", text]
        return arguments

    def open(self, path):
        """Open a volume."""
        from ..volumes.volume import open_volume

        return open_volume(path, **asdict(self))

    def open_all(self, **paths):
        """Open volumes that belong together, see `open_together`; None is left out."""
        from ..volumes.opening import open_together

        return open_together(paths, **asdict(self))

    def open_labelled(self, name, files):
        """Open images that are each followed by their labels, see `open_labelled`."""
        from ..volumes.opening import open_labelled

        return open_labelled(name, files, **asdict(self))


def takes_volume_options(command):
    """Give a command the options of `VolumeOptions`, which it takes as one argument."""
    shared = signature(VolumeOptions).parameters

    @wraps(command)
    def run(**arguments):
        options = VolumeOptions(**{name: arguments.pop(name) for name in shared})
        return command(**arguments, volume_options=options)

    own = [p for p in signature(command).parameters.values() if p.name != "volume_options"]
    added = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in shared.values()]
    run.__signature__ = Signature([*own, *added])
    return run


def parse_normalization(text):
    """Return `normalization` of `fit` and `predict_volume` for --normalize, or raise ValueError.

    Args:
        text: the option, None for the default of `predict_volume`.
    """
    if text is None:
        return None
    from ..volumes.intensity import checked_normalization

    with suppress(ValueError):
        is_name = text in ("model", "volume")
        return checked_normalization(text if is_name else [float(n) for n in text.split(",")])
    raise invalid("normalize", "volume, model or MEAN,STD such as 128,30", f"normalize={text}")


def parse_voxel_size(text):
    """Return three positive numbers of "z,y,x", None for None, or raise ValueError."""
    if text is None:
        return None
    from ..volumes.dimensions import plausible_size

    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    good = len(numbers) == 3 and all(0 < n < inf for n in numbers)
    require(good, "voxel_size", "three positive numbers z,y,x, such as 40,6,6", text)
    expected = "z,y,x in nm, such as 40,6,6; multiply um by 1000"
    require(plausible_size(numbers), "voxel_size", expected, text)
    return numbers


def parse_numbers(name, text):
    """Return the numbers of "2,1", None for None, or raise ValueError."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise invalid(name, "numbers such as 2,1", text) from None
