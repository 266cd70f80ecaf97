"""Draw notebooks/report.jpg: the page that `volseg report` writes of a phantom.

    python tests/report_picture.py

It needs Chromium on the PATH.
"""

import os
import tempfile
from pathlib import Path

from chromium import Chromium
from command import volseg
from PIL import Image

from volseg_keras import phantom, save_volume

FILE = Path(__file__).parents[1] / "notebooks" / "report.jpg"
WIDTH = 900


def main():
    """Write the page, look at it in a window as high as it is, and keep the picture."""
    for name, array in zip(("phantom", "truth"), phantom((64, 256, 256)), strict=True):
        save_volume(f"{name}.tif", array, voxel_size=(5, 5, 5))
    assert volseg("report", "phantom.tif", "--labels", "truth.tif", "-o", "page.html") == 0
    with Chromium() as browser:
        browser("Emulation.setScrollbarsHidden", hidden=True)
        browser.open(Path("page.html"), WIDTH)
        height = browser.run("Math.ceil(document.body.getBoundingClientRect().bottom)")
        browser.open(Path("page.html"), WIDTH, height)
        browser.screenshot(Path("page.png"))
    Image.open("page.png").convert("RGB").save(FILE, quality=80, optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
