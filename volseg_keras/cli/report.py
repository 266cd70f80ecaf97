"""`volseg report`."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .common import (
    Probability,
    SkipEmpty,
    VolumeFile,
    VolumeOptions,
    takes_volume_options,
)


@takes_volume_options
def report(
    volume_options: VolumeOptions,
    volume: VolumeFile,
    labels: Annotated[Path, typer.Option(help="Labels of the volume, outlined.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML page to write.")],
    probability: Probability = None,
    truth: Annotated[
        Path | None, typer.Option(help="True labels: outlined too, and scores are printed.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of a run, for its curve.")] = None,
    instances: Annotated[
        Path | None, typer.Option(help="Instance ids, for a histogram of their sizes.")
    ] = None,
    skip_empty: SkipEmpty = False,
):
    """Write one HTML page that shows a segmentation, to send or to archive.

    Example: volseg report volume.tif --labels labels.tif --truth truth.tif -o report.html
    """
    from ..files import writable_folder
    from ..segmentation_page import Layers, write_segmentation_page

    history = run and run / "history.csv"
    good = not history or history.is_file()
    require(good, "run", "a folder with history.csv", run)
    good = output.suffix.lower() in (".html", ".htm") and not output.is_dir()
    require(good, "output", "a file name that ends in .html", output)
    paths = {"image": volume, "labels": labels, "probability": probability}
    paths |= {"truth": truth, "instances": instances}
    layers = Layers(**volume_options.open_all(**paths))
    writable_folder(output.parent)
    path, notes = write_segmentation_page(output, layers, history, skip_empty)
    print(*notes, f"Wrote {path}", sep="\n")
