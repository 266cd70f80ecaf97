"""`volseg measure`."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .common import VolumeFile, VolumeOptions, takes_volume_options


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
    """Measure instances: volume, surface, position and shape, one row per instance.

    Example: volseg measure instances.tif -o measures.csv --voxel-size 5,5,5
    """
    from ..volumes.writing import check_output_file

    volume = volume_options.open(labels)
    expected = f"--voxel-size z,y,x in nm, which is missing in {labels}"
    require(volume.voxel_size, "voxel_size", expected, "none")
    require(output.suffix.lower() == ".csv", "output", "NAME.csv", output)
    check_output_file(output)
    from ..files import write_csv
    from ..postprocessing import measures
    from ..postprocessing.instance_ids import instances_to_measure
    from ..progress import progress_bar

    if not volume_options.voxel_size:
        measures.warn_of_assumed_thickness(volume)
    ids, classes = instances_to_measure(volume[...], components, labels)
    with progress_bar("measuring") as on_progress:
        rows = measures.measure(ids, volume.voxel_size, classes=classes, on_progress=on_progress)
    write_csv(output, measures.COLUMNS, rows)
    print(f"Wrote {output} ({len(rows)} objects)")
