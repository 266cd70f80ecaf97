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
    VolumeOptions,
    VoxelSize,
    start_keras,
)


def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a run that held a part out.")],
    image: Annotated[
        Path | None, typer.Argument(help="Test volume of another model than those of --data.")
    ] = None,
    label: Annotated[
        Path | None, typer.Argument(help="Labels of that volume: it was not trained on.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder, named as the model.")
    ] = ...,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the volumes of a run of `volseg reproduce NAME`."),
    ] = None,
    about: Annotated[Path | None, typer.Option(help="Text file on the data, for the card.")] = None,
    axes: Axes = None,
    time: Time = None,
    channel: Channel = None,
    level: Level = 0,
    series: Series = None,
    voxel_size: VoxelSize = None,
):
    """Score a trained model on test volumes; write all its forms, scores and a card.

    Example: volseg publish runs/mito-2d --data data -o saved_models/mito-2d
    """
    from ..pretrained.zoo import get_row

    missing = [n for n in ("model.keras", "metrics.json") if not (run / n).is_file()]
    if missing:
        raise ValueError(
            f"Invalid value for `run`. Expected the folder of a run. Received: {run} "
            f"without {' and '.join(missing)}"
        )
    given = image and label and about
    if bool(given) == bool(data):
        raise ValueError(
            "Invalid value for `data`. Expected --data of a model of `volseg reproduce`, or else "
            f"IMAGE LABEL --about. Received: data={data}, image={image}, label={label}, "
            f"about={about}"
        )
    told = VolumeOptions(axes, time, channel, level, series, voxel_size)
    text = about.read_text(encoding="utf-8") if about else ""
    row = get_row(output.name) if data else None
    opened = told.open_all(image=image, label=label) if given else None
    start_keras()
    from ..publishing.publish import given_test, publish, zoo_tests
    from ..report.console import progress_bar

    tests = zoo_tests(row, data) if row else [given_test(**opened)]
    with progress_bar("publishing") as on_step:
        metrics = publish(
            run,
            output,
            tests,
            about=text,
            row=row,
            on_step=lambda _, done, total: on_step(done, total),
        )
    score = metrics["test"]["shifts"]["as it is"]
    print(f"Wrote {output}: foreground Jaccard {score:.3f}")
