"""`volseg evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .common import (
    VolumeOptions,
    output_file,
    score_labels,
    takes_volume_options,
)


@takes_volume_options
def evaluate(
    volume_options: VolumeOptions,
    prediction: Annotated[Path, typer.Argument(help="Predicted labels.")],
    truth: Annotated[Path, typer.Argument(help="True labels.")],
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Also write the scores as JSON."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Grey levels, to draw prediction and truth on."),
    ] = None,
    instances: Annotated[
        bool,
        typer.Option(
            "--instances",
            help="Also score instances: connected components of masks and of 8-bit labels, else "
            "ids as they are.",
        ),
    ] = False,
):
    """Score predicted labels: precision, recall, Jaccard per class, and VOC.

    Example: volseg evaluate labels.tif truth.tif --json scores.json --image volume.tif
    """
    from ..files import write_json
    from ..report.plots import check_shapes
    from ..volumes.labels import NOT_ANNOTATED
    from ..volumes.source import place_of
    from ..volumes.writing import writable_folder

    if json_file:
        output_file(json_file)
    opened = volume_options.open_all(truth=truth, prediction=prediction, image=image)
    grey = opened.get("image")
    maps, ids = [opened["truth"], opened["prediction"]], None
    check_shapes(maps[0], prediction=maps[1], of="truth")
    found, shape = (grey or maps[0]).shape, maps[0].shape
    require(found == shape, "image", f"shape {shape} as of the labels", f"shape {found}")
    if instances:
        maps, ids = instance_maps(maps)
    file = place_of(prediction)
    picture = writable_folder(file.parent) / f"{file.stem}_scores.png" if image else None
    from ..report.plots import overlay

    scores, *maps = score_labels(*maps, name="prediction")
    print_classes(scores)
    if instances:
        from ..scores import instance_scores

        scores["instances"] = instance_scores(*ids)
        print_instances(scores["instances"])
    if json_file:
        write_json(json_file, scores, indent=2)
    if grey is not None:
        truth = maps[0] * (maps[0] != NOT_ANNOTATED)
        print(f"Wrote {overlay(grey, maps[1], picture, truth=truth)}")


def print_classes(scores):
    """Print the scores of classes."""
    from ..report.console import print_table

    names = ("precision", "recall", "jaccard")
    rows = [
        (str(c), *(f"{100 * row[name]:.1f}" for name in names))
        for c, row in enumerate(scores["classes"])
    ]
    print_table(("class", "precision", "recall", "Jaccard"), rows)
    print(f"VOC {100 * scores['voc']:.1f}")


def instance_maps(volumes):
    """Return class ids and instance ids of truth and prediction; say how they were found."""
    import numpy as np

    from ..postprocessing.clean_labels import as_instances
    from ..postprocessing.measures import relabel
    from ..volumes.labels import NOT_ANNOTATED

    found = map(as_instances, volumes, ("truth", "prediction"))
    ids, maps, joined = map(list, zip(*found, strict=True))
    kinds = ["connected components" if j else "ids as they are" for j in joined]
    print(f"Instances of the truth: {kinds[0]}; of the prediction: {kinds[1]}")
    ignored = (maps[0] == NOT_ANNOTATED) if joined[0] else None
    if not all(joined):
        # Instance ids have no classes.
        maps = [np.where(classes == NOT_ANNOTATED, classes, classes > 0) for classes in maps]
    if ignored is not None and ignored.shape == ids[1].shape:
        ids[1] = np.where(ignored, 0, ids[1])
    return maps, [relabel(each)[0] for each in ids]


def print_instances(scores):
    """Print the scores of instances."""
    from ..report.console import print_table

    names = ("matched", "precision", "recall", "f1", "average_precision")
    rows = [
        (f"{row['iou']}", str(row["matched"]), *(f"{100 * row[name]:.1f}" for name in names[1:]))
        for row in scores["matches"]
    ]
    header = ("IoU threshold", "matched", "precision", "recall", "F1", "average precision")
    print_table(header, rows)
    print(
        f"{scores['true']} true and {scores['predicted']} predicted instances, "
        f"adapted Rand error {scores['adapted_rand_error']:.3f}"
    )
