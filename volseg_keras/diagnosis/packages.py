"""Which packages are installed, and how to install those that are missing."""

import platform
import shutil
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from ..extras import OPTIONAL, install_command
from .check import Check, attempt

PACKAGES = (
    *("keras", "tensorflow", "jax", "torch", "numpy", "scipy", "openvino", "onnxruntime"),
    *("tf2onnx", "onnx", "tifffile", "imagecodecs", "zarr", "h5py", "dask", "distributed"),
    *("tensorflow-datasets", "nibabel", "mrcfile", "pynrrd", "bioimageio.core", "napari"),
)


def versions():
    """Return the versions of Python, this package and those that it uses."""
    from .. import __version__

    row = partial(attempt, "versions")
    own = [row("python", platform.python_version), row("volseg_keras", lambda: __version__)]
    return own + [row(name, version_text, name) for name in PACKAGES]


def version_text(name):
    """Return the version of a package, or that there is none."""
    return installed_version(name) or "not installed"


def installed_version(name):
    """Return the version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def missing():
    """Return how to install what is missing, by what it is for."""
    row = partial(attempt, "missing")
    wanted = [
        row(purpose, command_for, extra, packages)
        for extra, (packages, purpose) in OPTIONAL.items()
    ]
    wanted.append(row("the GPU", command_for_gpu))
    return [check for check in wanted if check.text] or [Check("missing", "", "nothing")]


def command_for(extra, packages):
    """Return the command that installs an extra, "" if its packages are there."""
    return "" if all(map(installed_version, packages)) else install_command(extra)


def command_for_gpu():
    """Return the command by which Keras can use the GPU, "" if there is none or Keras uses it."""
    if not shutil.which("nvidia-smi"):
        return ""
    with suppress(Exception):  # a broken Keras uses none
        from ..networks.devices import on_gpu

        if on_gpu():
            return ""
    return install_command("gpu")
