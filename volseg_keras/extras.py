"""What is optional, and how to install it."""

import re
from importlib.metadata import PackageNotFoundError, requires

# Optional features: the extra of setup.cfg, its packages, and what they are for.
OPTIONAL = {
    "onnx": (("onnxruntime", "tf2onnx", "onnx"), "the engine onnxruntime, export to ONNX"),
    "bioimageio": (("bioimageio.core", "bioimageio.spec", "pydantic"), "packages for bioimage.io"),
    "cluster": (("dask", "distributed"), "prediction by several processes"),
    "napari": (("napari",), "the window of volseg view"),
    "tfds": (("tensorflow-datasets",), "TensorFlow Datasets"),
}


def install_command(extra):
    """Return the command that installs what an extra of this package needs.

    It names the requirements themselves, as the package may not come from an index.

    Example:
        >>> install_command("cluster")
        'pip install dask distributed'
    """
    found = [f'"{name}"' if re.search(r"[^\w.-]", name) else name for name in _requirements(extra)]
    return " ".join(["pip", "install", *(found or [f'".[{extra}]"'])])


def _requirements(extra):
    """Return the requirements of an extra, those of its own extras too; none without metadata."""
    try:
        lines = requires("volseg_keras") or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        return []
    found = []
    for line in lines:
        name, _, condition = line.partition(";")
        if re.fullmatch(rf"""\s*extra == ["']{re.escape(extra)}["']\s*""", condition):
            inner = re.fullmatch(r"volseg[_-]keras\[(.+)\]", name.strip())
            others = re.split(r"\s*,\s*", inner[1]) if inner else ()
            found += [need for other in others for need in _requirements(other)]
            found += [] if inner else [name.strip()]
    return found
