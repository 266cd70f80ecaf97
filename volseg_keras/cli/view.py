"""`volseg view`."""

import json
import os
import subprocess
import sys
import tempfile
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .common import VolumeFile, VolumeOptions, takes_volume_options
from .report import Probability, checked_layers, open_layers, page

SHOW = """
import json, sys
from volseg_keras.cli.view import show_files
show_files(**json.loads(sys.argv[1]))
"""


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
    show(open_layers(volume, labels, probability, volume_options=volume_options), volume.name)


def show(layers, title):
    """Show open volumes in napari where its window opens here, else as a page in the browser."""
    if not has_napari():
        return show_page(layers)
    from ..napari_plugin.widget import show

    show(layers, title)


def show_found(volume, written, volume_options):
    """Show what `predict` has written.

    In a process of its own: where Mesa draws the window, it crashes if TensorFlow was imported
    before it.

    Args:
        volume: path of the volume.
        written: paths of the labels and of the probability, or None, by these names.
        volume_options: the `VolumeOptions` of the volume; what is written needs none.
    """
    files = {name: str(path) for name, path in written.items() if path}
    told = {"volume": str(volume), "written": files, "options": asdict(volume_options)}
    if has_napari():
        subprocess.run([sys.executable, "-c", SHOW, json.dumps(told)], check=False)
    else:
        show_files(**told)


def show_files(volume, written, options):
    """Open and show files; see `show_found`, whose arguments these are as JSON."""
    from ..volumes.volume import open_volume

    layers = {"image": open_volume(volume, **options)}
    layers |= {name: open_volume(path) for name, path in written.items()}
    show(checked_layers(layers), Path(volume).name)


def has_napari():
    """Return whether napari is installed, with Qt, and there is a screen for its window."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform == "linux" and not any(map(os.environ.get, screens)):
        return False
    try:
        import napari  # noqa: F401
        from qtpy import QtWidgets  # noqa: F401
    except ImportError:
        return False
    return True


def show_page(layers):
    """Write a page to a new temporary folder and open it in the browser."""
    path = page(Path(tempfile.mkdtemp(prefix="volseg_")) / "view.html", layers)
    opened = webbrowser.open(path.as_uri())
    print(f"{'Opened' if opened else 'Open this page in a browser:'} {path}")
