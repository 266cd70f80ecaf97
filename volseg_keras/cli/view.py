"""`volseg view`."""

import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from .common import (
    Axes,
    Channel,
    Level,
    Series,
    Time,
    VolumeFile,
    VolumeOptions,
    VoxelSize,
)
from .report import Probability, open_layers, page


def view(
    volume: VolumeFile,
    labels: Annotated[Path | None, typer.Option(help="Labels of the volume.")] = None,
    probability: Probability = None,
    axes: Axes = None,
    time: Time = None,
    channel: Channel = None,
    level: Level = 0,
    series: Series = None,
    voxel_size: VoxelSize = None,
):
    """Look at a volume and its labels: in napari where it is installed, else in the browser.

    Example: volseg view volume.tif --labels labels.tif
    """
    told = VolumeOptions(axes, time, channel, level, series, voxel_size)
    layers = open_layers(volume, labels, probability, told=told)
    try:
        import napari
        from qtpy import QtCore  # noqa: F401
    except ImportError:  # no napari, or no Qt for its window
        return show_page(layers)
    viewer = napari.Viewer(title=volume.name)
    add_layers(viewer, layers)
    napari.run()


def show_page(layers):
    """Write a page to a new temporary folder and open it in the browser."""
    path = page(Path(tempfile.mkdtemp(prefix="volseg_")) / "view.html", layers)
    opened = webbrowser.open(path.as_uri())
    print(f"{'Opened' if opened else 'Open this page in a browser:'} {path}")


def add_layers(viewer, layers):
    """Add volumes to a napari viewer, which reads the planes that it shows."""
    scale = layers["image"].voxel_size or (1, 1, 1)
    for name, layer in layers.items():
        if name == "labels":
            viewer.add_labels(layer, name=name, scale=scale)
        elif name == "probability":
            viewer.add_image(
                layer,
                name=name,
                scale=scale,
                colormap="magenta",
                blending="additive",
                visible=False,
            )
        else:
            viewer.add_image(layer, name=name, scale=scale)
