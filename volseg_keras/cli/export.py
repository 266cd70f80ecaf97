"""`volseg export`."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..export.formats import EXPORT_FORMATS, new_path
from .terminal import quiet, start_keras

FormatName = StrEnum("FormatName", list(EXPORT_FORMATS))


def export(
    model: Annotated[str, typer.Argument(help="Folder of a run, .keras or published name.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder or file to write.")],
    format: Annotated[
        FormatName, typer.Option(help="Format of the model.")
    ] = FormatName.savedmodel,
):
    """Write a model for other programs, and compare its predictions with those of Keras.

    Example: volseg export runs/h --format onnx -o h.onnx
    """
    from ..pretrained.presets import model_file

    new_path(output, format.value)
    file = model_file(model)
    start_keras()
    from ..export.export_model import export_model

    with quiet():
        difference = export_model(file, output, format.value, say=partial(print, flush=True))
    print(f"Wrote {output}; probabilities differ from those of Keras by at most {difference:.1e}")
