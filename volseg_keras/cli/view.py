"""`volseg view`."""

import os
import subprocess
import sys
import tempfile
import webbrowser
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from .common import VolumeFile, VolumeOptions, takes_volume_options
from .report import Probability, open_layers, page


@takes_volume_options
def view(
    volume_options: VolumeOptions,
    volume: VolumeFile,
    labels: Annotated[Path | None, typer.Option(help="Labels of the volume.")] = None,
    probability: Probability = None,
):
    """Look at a volume and its labels: in napari where it is installed, else in the browser.

    Beside them napari has the widget that segments, trains and suggests what to annotate next.

    Example: volseg view volume.tif --labels labels.tif
    """
    show(open_layers(volume, labels, probability, volume_options=volume_options), volume.name)


def show(layers, title):
    """Show open volumes in napari where its window opens here, else as a page in the browser."""
    if not has_napari():
        return show_page(layers)
    from ..napari_plugin.widget import show

    show(layers, title)


def show_found(volume, labels, probability, volume_options):
    """Show what `predict` has written, as `volseg view` does.

    In a process of its own: where Mesa draws the window, it crashes if TensorFlow was imported
    before it.

    Args:
        volume: path of the volume.
        labels: path of the labels.
        probability: path of the probability, or None.
        volume_options: the `VolumeOptions` of the volume.
    """
    if has_napari():
        arguments = view_arguments(volume, labels, probability, volume_options)
        subprocess.run([sys.executable, "-m", "volseg_keras", "view", *arguments], check=False)
    else:
        show(open_layers(volume, labels, probability, volume_options=volume_options), volume.name)


def view_arguments(volume, labels, probability, volume_options):
    """Return the arguments of `volseg view`; see `show_found`."""
    options = {"labels": labels, "probability": probability, **asdict(volume_options)}
    texts = {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in options.items()
        if value is not None
    }
    pairs = ((f"--{name.replace('_', '-')}", text) for name, text in texts.items())
    return [str(volume), *chain.from_iterable(pairs)]


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
