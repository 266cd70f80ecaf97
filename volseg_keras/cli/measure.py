"""`volseg measure`."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .common import (
    VolumeFile,
    VolumeOptions,
    output_file,
    takes_volume_options,
)

FEW = 32  # different labels, fewer of which may be classes


@takes_volume_options
def measure(
    volume_options: VolumeOptions,
    labels: VolumeFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="CSV file to write.")],
    components: Annotated[
        bool,
        typer.Option(
            "--components", help="Measure the connected components of a mask or of class labels."
        ),
    ] = False,
):
    """Measure instances: volume, surface, position and shape, a row each.

    Example: volseg measure instances.tif -o measures.csv --voxel-size 5,5,5
    """
    from ..volumes.labels import classes_or_mask, distinct_values, whole_numbers

    volume = volume_options.open(labels)
    expected = f"--voxel-size z,y,x in nm, which is missing in {labels}"
    require(volume.voxel_size, "voxel_size", expected, "none")
    require(output.suffix.lower() == ".csv", "output", "NAME.csv", output)
    output_file(output)
    from ..files import write_csv
    from ..postprocessing.clean_labels import as_instances, objects_of
    from ..postprocessing.measures import COLUMNS
    from ..postprocessing.measures import measure as measured
    from ..report.console import progress_bar

    thickness, height, _ = volume.voxel_size
    if len(volume) == 1 and thickness == height and not volume_options.voxel_size:
        warnings.warn(
            f"the section is taken to be {thickness:g} nm thick, as high as a pixel; volumes and "
            "surfaces are wrong otherwise: --voxel-size",
            stacklevel=2,
        )
    ids, classes = volume[...], None
    if components:
        ids, classes, _ = as_instances(classes_or_mask(ids, name="labels"))
    else:
        count = (distinct_values(ids) > 0).sum()
        several = count < FEW and objects_of(ids).max(initial=0) > count
        received = f"{labels} with one label on several objects"
        require(not several or count > 1, "labels", "instance ids, or --components", received)
        if several:
            warnings.warn(
                "some labels lie on several objects: give --components if they are classes",
                stacklevel=2,
            )
    with progress_bar("measuring") as on_progress:
        ids = whole_numbers(ids, "labels")
        rows = measured(ids, volume.voxel_size, classes=classes, on_progress=on_progress)
    write_csv(output, COLUMNS, rows)
    print(f"Wrote {output} ({len(rows)} objects)")
