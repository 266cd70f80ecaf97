"""`volseg demo`."""

from pathlib import Path
from typing import Annotated

import typer

from .common import start_keras


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = Path("demo"),
    train: Annotated[bool, typer.Option("--train", help="Train on another phantom first.")] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Training time, of --train. [default: 3]")
    ] = None,
):
    """Segment a phantom by the published model H, score, export, reload, draw.

    Example: volseg demo -o demo
    """
    if minutes is not None and not (train and minutes > 0):
        raise ValueError(
            "Invalid value for `minutes`. Expected a positive number, and --train. "
            f"Received: minutes={minutes}, train={train}"
        )
    start_keras()
    from ..demo import run

    run(output, (minutes or 3.0) if train else None)
