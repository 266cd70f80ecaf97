"""`volseg publish`."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .common import VolumeOptions, takes_volume_options
from .terminal import start_keras


@takes_volume_options
def publish(
    volume_options: VolumeOptions,
    run: Annotated[Path, typer.Argument(help="Folder of a run with a held-out part.")],
    image: Annotated[
        Path | None, typer.Argument(help="Test volume, unless --data is given.")
    ] = None,
    label: Annotated[
        Path | None,
        typer.Argument(
            help="Labels of the test volume, which must not have been used for training."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write; its name is the model's.")
    ] = ...,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the volumes of a run of `volseg reproduce NAME`."),
    ] = None,
    about: Annotated[
        Path | None, typer.Option(help="Text file describing the data, for the model card.")
    ] = None,
):
    """Score a trained model on test volumes; write .keras, SavedModel, scores and a card.

    Example: volseg publish runs/mito-2d --data data -o saved_models/mito-2d
    """
    from ..pretrained.presets import KERAS, METRICS
    from ..pretrained.summaries import AS_IT_IS
    from ..publishing.zoo import get_row

    given, reading = (image, label, about), volume_options.as_arguments()
    require(
        data and not any(given) and not reading or not data and all(given),
        "data",
        "--data alone for a model of `volseg reproduce`, or else IMAGE LABEL --about",
        " ".join([f"data={data}, image={image}, label={label}, about={about}", *reading]),
    )
    missing = [n for n in (KERAS, METRICS) if not (run / n).is_file()]
    received = f"{run} without {' and '.join(missing)}"
    require(not missing, "run", "the folder of a run", received)
    text = about.read_text(encoding="utf-8") if about else ""
    row = get_row(output.resolve().name) if data else None
    opened = volume_options.open_all(image=image, label=label) if image else None
    start_keras()
    from ..progress import progress_bar
    from ..publishing.publish import check_output, check_run, given_test, publish, zoo_tests

    check_run(run, row)
    check_output(output)
    tests = zoo_tests(row, data) if row else [given_test(**opened)]
    with progress_bar("publishing") as on_progress:
        metrics = publish(run, output, tests, about=text, row=row, on_progress=on_progress)
    score = metrics["test"]["shifts"][AS_IT_IS]
    print(f"Wrote {output}: foreground Jaccard {score:.3f}")
