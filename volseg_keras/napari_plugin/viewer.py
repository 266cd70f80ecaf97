"""Show a segmentation in napari if its window can open here, otherwise as a page in the browser.

Importing this module imports neither napari nor Qt.
"""

import json
import os
import subprocess
import sys
import tempfile
import webbrowser
from pathlib import Path

from ..segmentation_page import Layers, display_name, write_segmentation_page
from ..volumes.volume import open_volume

SHOW_FILES = """
import json, sys
from volseg_keras.napari_plugin.viewer import show_files
show_files(**json.loads(sys.argv[1]))
"""


def show(layers):
    """Show `Layers` in napari if its window can open here, otherwise as a page in the browser."""
    if not has_napari():
        return show_page(layers)
    from .widget import show as show_in_napari

    show_in_napari(layers.by_name(), display_name(layers.image))


def show_written(volume, written, options):
    """Show a volume and the files written for it.

    napari runs in its own process: if Mesa draws the window, it crashes if TensorFlow was imported
    before it.

    Args:
        volume: path of the volume.
        written: paths of the labels and of the probability, or None, by these names.
        options: arguments of `open_volume` for the volume, of types that JSON can hold.
    """
    files = {name: str(path) for name, path in written.items() if path}
    arguments = {"volume": str(volume), "written": files, "options": options}
    if has_napari():
        command = [sys.executable, "-c", SHOW_FILES, json.dumps(arguments)]
        subprocess.run(command, check=False)
    else:
        show_files(**arguments)


def show_files(volume, written, options):
    """Open and show files; the arguments are those of `show_written`."""
    image = open_volume(volume, **options)
    show(Layers(image, **{name: open_volume(path) for name, path in written.items()}))


def has_napari():
    """Return whether napari is installed, with Qt, and a screen for its window."""
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
    """Write a page to a new temporary folder, open it in the browser and print its path."""
    folder = Path(tempfile.mkdtemp(prefix="volseg_"))
    path, _ = write_segmentation_page(folder / "view.html", layers)
    opened = webbrowser.open(path.as_uri())
    print(f"{'Opened' if opened else 'Open this page in a browser:'} {path}")
