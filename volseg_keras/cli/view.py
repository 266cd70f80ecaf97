"""`volseg view`."""

from pathlib import Path
from typing import Annotated

import typer

from .common import Probability, VolumeFile, VolumeOptions, takes_volume_options


@takes_volume_options
def view(
    volume_options: VolumeOptions,
    volume: VolumeFile,
    labels: Annotated[Path | None, typer.Option(help="Labels of the volume.")] = None,
    probability: Probability = None,
):
    """Show a volume and its labels in napari if it is installed, otherwise in the browser.

    In napari, a widget also segments, trains and suggests sections to annotate next.

    Example: volseg view volume.tif --labels labels.tif
    """
    from ..napari_plugin.viewer import show
    from ..segmentation_page import Layers

    paths = {"image": volume, "labels": labels, "probability": probability}
    show(Layers(**volume_options.open_all(**paths)))
