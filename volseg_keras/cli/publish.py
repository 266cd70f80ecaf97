"""`volseg publish`."""

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
    start_keras,
)


def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a run that held a part out.")],
    image: VolumeFile,
    label: Annotated[Path, typer.Argument(help="Labels of that volume: it was not trained on.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder, named as the model.")],
    about: Annotated[Path, typer.Option(help="Text file on the data, for the card.")],
    axes: Axes = None,
    time: Time = None,
    channel: Channel = None,
    level: Level = 0,
    series: Series = None,
    voxel_size: VoxelSize = None,
):
    """Score a trained model on a test volume; write all its forms, scores and a card.

    Example: volseg publish runs/h test.tif test_labels.tif -o saved_models/H --about data.md
    """
    from ..volumes.labels import class_ids

    missing = [n for n in ("model.keras", "metrics.json") if not (run / n).is_file()]
    if missing:
        raise ValueError(
            f"Invalid value for `run`. Expected the folder of a run. Received: {run} "
            f"without {' and '.join(missing)}"
        )
    text = about.read_text(encoding="utf-8")
    told = VolumeOptions(axes, time, channel, level, series, voxel_size)
    opened = told.open_all(image=image, label=label)
    pixels, labels = opened["image"][...], class_ids(opened["label"])
    start_keras()
    from ..publishing.publish import publish as write
    from ..report.console import progress_bar

    with progress_bar("publishing") as on_step:
        metrics = write(
            run,
            output,
            pixels,
            labels,
            about=text,
            on_step=lambda _, done, total: on_step(done, total),
        )
    score = metrics["test"]["shifts"]["as it is"]
    print(f"Wrote {output}: foreground Jaccard {score:.3f}")
