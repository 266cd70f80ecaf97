"""`volseg reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from .common import start_keras


def reproduce(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of runs and tables.")] = (
        Path("table1")
    ),
    rows: Annotated[str, typer.Option(help="Networks, in this order.")] = "U-Net,A,B,C,D,E,F,G,H",
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="VOLSEG_DATA",
            help="Folder of training.tif, training_groundtruth.tif, testing*.tif and "
            "testing_groundtruth*.tif; phantoms without it.",
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Recipe of every run.")] = "fast",
    minutes: Annotated[float | None, typer.Option(help="Budget of a run in minutes.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget of a run in steps.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of a row.")] = 1,
):
    """Train rows of the paper's Table 1 and write this one beside it.

    The same command again goes on where it was stopped.

    Example: volseg reproduce --rows C,D,G,H --minutes 60 --data epfl -o table1
    """
    from ..training.recipes import get_recipe

    get_recipe(recipe)
    keras = start_keras()
    from ..inference.engines import on_gpu
    from ..publishing.table1 import load_data
    from ..publishing.table1 import reproduce as run

    if on_gpu():
        keras.config.set_dtype_policy("mixed_bfloat16")
    names = [row.strip() for row in rows.split(",")]
    found = load_data(data)
    run(output, names, found, recipes=(recipe,), seeds=seeds, steps=steps, minutes=minutes)
    print((output / "table.md").read_text(encoding="utf-8"))
