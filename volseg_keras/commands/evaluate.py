"""`volseg evaluate`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .common import class_scores


def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Predicted labels.")],
    truth: Annotated[Path, typer.Argument(help="True labels.")],
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Also write the scores as JSON."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Grey levels; draws prediction and truth on them."),
    ] = None,
):
    """Score predicted labels: precision, recall, Jaccard per class, and VOC.

    Example: volseg evaluate labels.tif truth.tif --json scores.json --image volume.tif
    """
    from ..data.volumes import open_volume
    from ..data.writing import writable_folder

    if json_file:
        writable_folder(json_file.parent)
    maps = [open_volume(path) for path in (truth, prediction)]
    grey = open_volume(image) if image else None
    if grey and grey.shape != maps[0].shape:
        raise ValueError(
            f"Invalid value for `image`. Expected shape {maps[0].shape} as of the labels. "
            f"Received: shape {grey.shape}"
        )
    picture = writable_folder(prediction.parent) / f"{prediction.stem}_scores.png"
    from ..report.console import print_table
    from ..report.plots import overlay

    scores, *maps = class_scores(*maps)
    rows = [
        (str(c), *(f"{100 * row[name]:.1f}" for name in ("precision", "recall", "jaccard")))
        for c, row in enumerate(scores["classes"])
    ]
    print_table(("class", "precision", "recall", "Jaccard"), rows)
    print(f"VOC {100 * scores['voc']:.1f}")
    if json_file:
        json_file.write_text(json.dumps(scores, indent=2) + "\n")
    if grey is not None:
        print(f"Wrote {overlay(grey, maps[1], picture, truth=maps[0])}")
