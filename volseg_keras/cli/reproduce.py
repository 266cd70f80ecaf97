"""`volseg reproduce`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from ..networks.variants import VARIANTS
from .terminal import start_keras

# Options that the row of a published model determines.
OF_TABLE_1 = ("rows", "recipe", "minutes", "seeds")


def reproduce(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            help="Published model to train, such as mito-2d, or a network of Table 1 (for G not "
            "the published weights, which are from an earlier version); by default all networks "
            "of Table 1."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to write; by default runs/NAME, or table1."),
    ] = None,
    rows: Annotated[str, typer.Option(help="Networks of Table 1, in this order.")] = ",".join(
        VARIANTS
    ),
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="VOLSEG_DATA",
            help="Folder with lucchi_pp/training.tif and so on, as `volseg data epfl` writes it; "
            "without it, Table 1 is computed on phantoms.",
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Recipe of every run of Table 1.")] = "fast",
    minutes: Annotated[
        float | None, typer.Option(help="Budget of a run of Table 1 in minutes, instead of steps.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Budget of a run in steps; by default that of the model."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per network of Table 1.")] = 1,
):
    """Train a published model again, or the networks of Table 1 for comparison.

    Repeat the command to resume an interrupted run.

    Example: volseg reproduce mito-2d --data data
    """
    if name:
        for option in OF_TABLE_1:
            absent = context.get_parameter_source(option).name == "DEFAULT"
            expected = f"none with the published model {name}, which only takes --steps"
            require(absent, option, expected, context.params[option])
        train_model(name, data, output, steps)
    else:
        train_table(rows, data, output or Path("table1"), recipe, seeds, steps, minutes)


def train_model(name, data, output, steps):
    """Train a row of the zoo."""
    from ..publishing.zoo import ZOO, row_name

    name = row_name(name)
    require(data, "data", "a folder of volumes, as in --data FOLDER", "none")
    start_keras()
    from ..publishing.zoo_training import train_row

    output = output or Path("runs", name)
    summary = train_row(ZOO[name], data, output, steps=steps)
    print(f"Trained {name}: {summary['steps']} steps. Score and publish it with")
    folder = f"saved_models/{name}"
    print(shlex.join(["volseg", "publish", str(output), "--data", str(data), "-o", folder]))


def train_table(rows, data, output, recipe, seeds, steps, minutes):
    """Train and tabulate rows of Table 1."""
    from ..networks.variants import get_variant
    from ..training.recipes import get_recipe

    get_recipe(recipe)
    names = [get_variant(row.strip()).name for row in rows.split(",")]
    start_keras()
    from ..publishing import table1

    options = {"recipe": recipe, "seeds": seeds, "steps": steps, "minutes": minutes}
    table1.reproduce(output, names, table1.load_data(data), **options)
    print((output / "table.md").read_text(encoding="utf-8"))
