"""`volseg export`."""

from pathlib import Path
from typing import Annotated

import typer

from .common import quiet, start_keras


def export(
    model: Annotated[str, typer.Argument(help="Folder of a run, .keras or published name.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
):
    """Write a model as a TensorFlow SavedModel.

    Example: volseg export runs/h -o h_savedmodel
    """
    start_keras()
    from ..zoo.export import export_savedmodel, new_folder
    from ..zoo.presets import load_pretrained

    new_folder(output)
    loaded = load_pretrained(model)
    with quiet():
        export_savedmodel(loaded, output)
    print(f"Wrote {output}")
