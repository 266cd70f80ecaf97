"""Draw notebooks/napari.jpg: the widget on synthetic tissue, segmented and while it trains.

    python tests/screenshots.py [FOLDER for a picture of each step]

It needs `pip install ".[napari]"` and a screen, for which Xvfb does (Debian: xvfb, libgl1-mesa-dri,
libxkbcommon-x11-0, libxcb-icccm4, libxcb-keysyms1, libxcb-cursor0); some minutes on two cores.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

FILE = Path(__file__).parents[1] / "notebooks" / "napari.jpg"
SHAPE, SIZE = (40, 320, 320), (1280, 800)


@contextmanager
def screen():
    """Start a screen unless there is one."""
    if os.environ.get("DISPLAY") or sys.platform != "linux":
        yield
        return
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1000x24"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.environ["DISPLAY"] = f":{os.read(read, 9).decode().strip()}"
    try:
        yield
    finally:
        server.terminate()
        server.wait()


class Window:
    """A napari window with the widget, and what a user does there."""

    def __init__(self, folder):
        import napari
        from qtpy.QtWidgets import QApplication

        from volseg_keras.datasets.phantom import annotated_phantom
        from volseg_keras.napari_plugin.layers import spatial_options
        from volseg_keras.napari_plugin.widget import SegmentAndTrain

        self.app, self.folder = QApplication.instance() or QApplication([]), folder
        self.viewer = napari.Viewer(title="volseg", show=True)
        image, labels = annotated_phantom(SHAPE)
        self.viewer.add_image(image, name="tissue", **spatial_options((5, 5, 5)))
        self.viewer.add_labels(labels, name="annotation", **spatial_options((5, 5, 5)))
        self.widget = SegmentAndTrain(self.viewer)
        self.viewer.window.add_dock_widget(self.widget, name="Segment and train")
        self.viewer.window._qt_window.resize(*SIZE)
        self.until(lambda: False, 2)
        self.viewer.reset_view(margin=0)

    def until(self, done, seconds=3600):
        """Let the window work until something is done."""
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.02)

    def press(self, text):
        """Press a button."""
        next(button for button in self.widget.buttons if button.text() == text).click()

    def work(self, text):
        """Press a button and wait until its work is done."""
        self.press(text)
        self.until(lambda: self.widget.work.worker is None)

    def draw(self, name):
        """Draw the window in a file."""
        self.until(lambda: False, 1)
        self.viewer.window._qt_window.grab().save(str(self.folder / name))


def main(folder):
    """Go through the steps, draw each, and close the window while it trains."""
    os.chdir(folder)
    window = Window(folder)
    window.draw("1_image.png")
    window.widget.model.setCurrentText("D")
    window.work("Go to the next section")
    window.draw("4_next.png")
    window.widget.model.setCurrentText("auto")
    window.work("Segment")
    window.draw("2_segment.png")
    window.work("Split touching objects")
    window.widget.start.setCurrentText("D")
    window.press("Train")
    widget = window.widget
    window.until(lambda: widget.state.text().startswith("step") and widget.bar.value() > 50)
    window.draw("3_train.png")
    window.viewer.close()
    window.widget.work.end(60_000)
    files = sorted(path.name for path in Path("tissue_runs/run_1").rglob("*"))
    print(f"Closed while it trained; the run keeps {', '.join(files)}")


if __name__ == "__main__":
    from PIL import Image

    with screen(), tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary).absolute()
        folder.mkdir(exist_ok=True)
        main(folder)
        Image.open(folder / "3_train.png").convert("RGB").save(FILE, quality=80, optimize=True)
