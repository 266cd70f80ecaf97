"""`volseg evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from .common import SkipEmpty, VolumeOptions, takes_volume_options


@takes_volume_options
def evaluate(
    volume_options: VolumeOptions,
    prediction: Annotated[Path, typer.Argument(help="Predicted labels.")],
    truth: Annotated[
        Path,
        typer.Argument(
            help="True labels. In class ids of 8 bits, voxels of 255 are not annotated and ignored."
        ),
    ],
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Also write the scores as JSON."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Image volume; draws prediction and truth on it, NAME_scores.png."),
    ] = None,
    instances: Annotated[
        bool,
        typer.Option(
            "--instances",
            help="Also score instances: connected components of masks and of 8-bit labels, else "
            "ids as they are.",
        ),
    ] = False,
    skip_empty: SkipEmpty = False,
):
    """Score predicted labels: precision, recall, Jaccard per class, and VOC, the mean Jaccard.

    Example: volseg evaluate labels.tif truth.tif --json scores.json --image volume.tif
    """
    from .. import evaluation
    from ..files import writable_folder, write_json
    from ..volumes.dimensions import check_shapes, known_voxel_size
    from ..volumes.formats.registry import split_suffix
    from ..volumes.paths import containing_file
    from ..volumes.writing import check_not_input, check_output_file

    if json_file:
        check_output_file(json_file)
        check_not_input([json_file], *filter(None, (prediction, truth, image)))
    opened = volume_options.open_all(truth=truth, prediction=prediction, image=image)
    maps, grey = (opened["truth"], opened["prediction"]), opened.get("image")
    check_shapes(maps[0], prediction=maps[1], image=grey, of="truth")
    if image:
        file = containing_file(prediction)
        picture = writable_folder(file.parent) / f"{split_suffix(file)[0]}_scores.png"
        check_not_input([picture], prediction, truth, image)
    result = evaluation.evaluate(*maps, instances=instances, skip_empty=skip_empty)
    for note in result.notes:
        print(note)
    print_classes(result.scores)
    if instances:
        print_instances(result.scores["instances"])
    if json_file:
        write_json(json_file, result.scores, indent=2)
    if image:
        from ..report.plots import overlay

        size = known_voxel_size(grey)
        options = {"truth": result.true_foreground, "voxel_size": size}
        drawn = overlay(grey, result.counted_labels, picture, **options)
        print(f"Wrote {drawn}")


def print_classes(scores):
    """Print the scores of classes."""
    from ..report.console import print_table

    names = ("precision", "recall", "jaccard")
    rows = [
        (str(c), *(f"{100 * row[name]:.1f}" for name in names))
        for c, row in enumerate(scores["classes"])
    ]
    print_table(("class", "precision (%)", "recall (%)", "Jaccard (%)"), rows)
    print(f"VOC {100 * scores['voc']:.1f} %")


def print_instances(scores):
    """Print the scores of instances."""
    from ..report.console import print_table

    names = ("matched", "precision", "recall", "f1", "average_precision")
    rows = [
        (f"{row['iou']}", str(row["matched"]), *(f"{100 * row[name]:.1f}" for name in names[1:]))
        for row in scores["matches"]
    ]
    header = ("IoU threshold", "matched", "precision (%)", "recall (%)", "F1 (%)")
    header += ("average precision (%)",)
    print_table(header, rows)
    print(
        f"{scores['true']} true and {scores['predicted']} predicted instances, "
        f"adapted Rand error {scores['adapted_rand_error']:.3f}"
    )
