"""`volseg data epfl`."""

from pathlib import Path
from typing import Annotated

import typer


def epfl(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    source: Annotated[
        str | None, typer.Option(help="URL of a folder with copies of the original files.")
    ] = None,
):
    """Download the EPFL hippocampus volumes, with original and Lucchi++ labels (0.7 GB).

    If the connection breaks, repeat the command to resume the download.

    Example: volseg data epfl -o data
    """
    from ..datasets.epfl import fetch_epfl

    fetch_epfl(output, source=source, say=print)
