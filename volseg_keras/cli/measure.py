"""`volseg measure`."""

from pathlib import Path
from typing import Annotated

import typer

from .common import (
    Axes,
    Channel,
    Level,
    Series,
    Time,
    VolumeFile,
    VolumeOptions,
    VoxelSize,
    output_file,
)


def measure(
    labels: VolumeFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="CSV file to write.")],
    components: Annotated[
        bool,
        typer.Option(
            "--components", help="Labels are a mask or classes: measure connected components."
        ),
    ] = False,
    axes: Axes = None,
    time: Time = None,
    channel: Channel = None,
    level: Level = 0,
    series: Series = None,
    voxel_size: VoxelSize = None,
):
    """Measure instances: volume, surface, place and form, one row each.

    Example: volseg measure instances.tif -o measures.csv --voxel-size 5,5,5
    """
    from ..volumes.labels import classes_or_mask, whole_numbers

    volume = VolumeOptions(axes, time, channel, level, series, voxel_size).open(labels)
    if volume.voxel_size is None:
        raise ValueError(
            f"Invalid value for `voxel_size`. Expected --voxel-size z,y,x in nm, since {labels} "
            "does not tell. Received: None"
        )
    if output.suffix.lower() != ".csv":
        raise ValueError(f"Invalid value for `output`. Expected NAME.csv. Received: {output}")
    output_file(output)
    from ..files import write_csv
    from ..postprocessing.labels import as_instances, is_mask
    from ..postprocessing.measures import COLUMNS
    from ..postprocessing.measures import measure as measured
    from ..report.console import progress_bar

    ids, classes = whole_numbers(volume[...], "labels"), None
    if components:
        ids, classes, _ = as_instances(classes_or_mask(ids))
    elif is_mask(ids) and as_instances(ids)[0].max() > 1:
        raise ValueError(
            "Invalid value for `labels`. Expected instance ids, or --components for a mask. "
            f"Received: {labels} with one label on several objects"
        )
    with progress_bar("measuring") as on_progress:
        rows = measured(ids, volume.voxel_size, classes=classes, on_progress=on_progress)
    write_csv(output, COLUMNS, rows)
    print(f"Wrote {output} ({len(rows)} objects)")
