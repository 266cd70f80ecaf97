"""`volseg demo`."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .terminal import start_keras


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = Path("demo"),
    train: Annotated[bool, typer.Option("--train", help="Train on another phantom first.")] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Training time, for --train; 3 by default.")
    ] = None,
):
    """Segment a phantom with published models, score, export, reload and draw it.

    Example: volseg demo -o demo
    """
    good = minutes is None or train and minutes > 0
    require(good, "minutes", "a positive number, and --train", f"{minutes=}, {train=}")
    start_keras()
    from ..demo import run

    run(output, (minutes or 3.0) if train else None)
