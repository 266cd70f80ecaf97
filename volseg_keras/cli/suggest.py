"""`volseg suggest`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .common import VolumeFile, VolumeOptions, takes_volume_options
from .terminal import start_keras


@takes_volume_options
def suggest(
    volume_options: VolumeOptions,
    volume: VolumeFile,
    model: Annotated[str, typer.Option(help="Folder of a run, .keras or published name.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of sections.")] = 3,
    labels: Annotated[
        Path | None, typer.Option(help="Current annotation; annotated sections are not suggested.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for pictures of the suggested sections.")
    ] = Path("suggestions"),
    write_labels: Annotated[
        Path | None,
        typer.Option(
            help="Also write --labels with predictions in these sections, to correct in napari or "
            "Fiji; a mask remains a mask; with class ids, 255 marks unannotated voxels."
        ),
    ] = None,
):
    """List sections to annotate next: the most uncertain, and most unlike those annotated.

    Example: volseg suggest stack.tif --model run --labels labels.tif -n 3
    """
    from ..files import writable_folder
    from ..volumes.writing import check_not_input, checked_output

    opened = volume_options.open_all(volume=volume, labels=labels)
    image, known = opened["volume"], opened.get("labels")
    if write_labels:
        checked_output(write_labels)
        check_not_input([write_labels], *filter(None, (volume, labels)))
        expected = "a new file, as a draft that was corrected would be lost"
        require(not write_labels.exists(), "write_labels", expected, write_labels, FileExistsError)
    check_not_input([output / "section.png"], *filter(None, (volume, labels)))
    writable_folder(output if output.exists() else output.parent)
    start_keras()
    from ..pretrained.choice import is_auto
    from ..progress import progress_bar
    from ..report.console import print_table
    from ..training import suggest as suggest_module
    from ..training.suggestion_files import draw_suggestions, write_draft

    with progress_bar("looking at sections") as on_progress:
        found = suggest_module.suggest(model, image, count, known, on_progress)
    expected = "some sections that are not annotated yet"
    require(found, "labels", expected, f"all {len(image)} are annotated")
    writable_folder(output)
    rows = [
        (str(s.z), str(s.z + 1), f"{s.mean_uncertainty:.2%}", f"{s.distance:.1f}", picture.name)
        for s, picture in zip(found, draw_suggestions(found, output), strict=True)
    ]
    print_table(("section", "in Fiji", "uncertainty", "distance", "picture"), rows)
    print(
        "uncertainty: mean over the section without the borders of objects; distance: how much it"
    )
    print("differs in position and appearance from annotated sections and those listed above")
    print(f"Wrote a picture of each to {output}")
    if write_labels:
        is_mask = write_draft(write_labels, known, found, image)
        rest = "sections without any label are" if is_mask else "255 is"
        print(f"Wrote {write_labels}, a draft to correct: {rest} not annotated")
        again = ["volseg", "train", str(volume), str(write_labels)]
        again += [] if is_auto(model) else ["--from", model]
        again += [*volume_options.as_arguments(), "-o", "RUN"]
        print(f"After correcting it, run: {shlex.join(again)}")
