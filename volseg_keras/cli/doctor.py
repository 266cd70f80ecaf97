"""`volseg doctor`."""

import json
import os
import platform
import re
import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

PACKAGES = (
    *("keras", "tensorflow", "jax", "torch", "numpy", "scipy", "openvino", "onnxruntime"),
    *("tf2onnx", "onnx", "tifffile", "imagecodecs", "zarr", "h5py", "dask", "distributed"),
    *("tensorflow-datasets", "nibabel", "mrcfile", "pynrrd", "bioimageio.core", "napari"),
)
# Optional features: the extra of setup.cfg, its packages, and what they are for.
OPTIONAL = {
    "onnx": (("onnxruntime", "tf2onnx", "onnx"), "the engine onnxruntime, export to ONNX"),
    "bioimageio": (("bioimageio.core", "bioimageio.spec", "pydantic"), "packages for bioimage.io"),
    "cluster": (("dask", "distributed"), "prediction by several processes"),
    "napari": (("napari",), "the window of volseg view"),
    "tfds": (("tensorflow-datasets",), "TensorFlow Datasets"),
}
# CPU features that determine the speed, by their names on Linux.
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "i8mm")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Show what is installed, what works here, and how to install what is missing.

    Example: volseg doctor
    """
    from rich.console import Console

    from .common import quiet

    with Console().status("trying the engines"), quiet():
        found = {name: attempt(look) for name, look in SECTIONS.items()}
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(lines(found)))


def attempt(look, *arguments):
    """Return the result of a function, or its error as a line."""
    try:
        return look(*arguments)
    except ModuleNotFoundError as error:
        return f"not installed: {error.name}"
    except Exception as error:  # a broken installation raises anything
        return f"fails: {type(error).__name__}: {' '.join(str(error).split())[:300]}"


def lines(found):
    """Yield the lines of a report: a section a paragraph."""
    for section, content in found.items():
        content = content if isinstance(content, dict) else {"": content}
        for i, (name, value) in enumerate(content.items()):
            value = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{'' if i else section:<10}{name:<20} {value}".rstrip()


def versions():
    """Return the versions of Python, this package and those that it uses."""
    from .. import __version__

    own = {"python": platform.python_version(), "volseg_keras": __version__}
    installed = {name: installed_version(name) for name in PACKAGES}
    return {**own, **{name: number or "not installed" for name, number in installed.items()}}


def installed_version(name):
    """Return the version of a package, or None."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def system():
    """Return the operating system, the CPU and its features, cores and memory."""
    import psutil

    from ..resources import free_memory, usable_cores

    total = psutil.virtual_memory().total
    return {
        "system": platform.platform(),
        "CPU": attempt(cpu_name),
        "CPU features": attempt(cpu_features),
        "bfloat16": attempt(bfloat16_support),
        "cores usable": attempt(usable_cores),
        "memory": f"{total / 2**30:.1f} GiB, {free_memory() / 2**30:.1f} GiB available",
    }


def cpu_name():
    """Return the name of the CPU."""
    found = re.search(r"model name\s*: (.+)", cpu_info())
    return found[1] if found else platform.processor() or platform.machine()


def cpu_features():
    """Return those of `FEATURES` that the CPU has, on Linux."""
    found = re.search(r"(?:flags|Features)\s*: (.+)", cpu_info())
    return [name for name in FEATURES if name in found[1].split()] if found else "unknown"


def cpu_info():
    """Return Linux's description of the CPU, "" elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def bfloat16_support():
    """Return whether the CPU computes in bfloat16, in words."""
    from ..networks.devices import cpu_has_bfloat16

    return "yes" if cpu_has_bfloat16() else "no: float32"


def devices():
    """Return the Keras backend and the devices that it and OpenVINO see."""
    return {"Keras": attempt(keras_devices), "OpenVINO": attempt(openvino_devices)}


def keras_devices():
    """Return the Keras backend and its devices."""
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return [backend, "cpu", *gpus]
    return [backend, *keras.distribution.list_devices()]


def openvino_devices():
    """Return the devices that OpenVINO sees."""
    import openvino

    return list(openvino.Core().available_devices)


def engines():
    """Return whether each engine segments a small volume, and how long it takes."""
    from ..inference.engines import ENGINES
    from ..inference.open_model import fastest

    names = [name for name in ENGINES if name != "auto"]
    return {"default": attempt(fastest), **{name: attempt(run_engine, name) for name in names}}


def run_engine(name):
    """Segment a phantom with the published model."""
    import_module(name)  # an engine has the name of its library, which may be missing
    from ..datasets.phantom import phantom
    from ..inference.segmenter import predict_volume

    start = time.monotonic()
    predict_volume("H", phantom((32, 64, 64))[0], engine=name)
    return f"works ({time.monotonic() - start:.1f} s)"


def folders():
    """Return the folders of the cache and of the tests' real data."""
    from platformdirs import user_cache_path

    cache = user_cache_path("volseg_keras")
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    data = os.environ.get("VOLSEG_DATA")
    there = "" if data is None or Path(data, "lucchi_pp").is_dir() else " (has no lucchi_pp)"
    return {
        "cache": f"{cache} ({size / 2**20:.0f} MiB)",
        "data": f"{data}{there}" if data else "VOLSEG_DATA is not set",
    }


def missing():
    """Return how to install what is missing, by what it is for."""
    from ..extras import install_command

    wanted = {}
    for extra, (packages, purpose) in OPTIONAL.items():
        if not all(installed_version(name) for name in packages):
            wanted[purpose] = install_command(extra)
    if shutil.which("nvidia-smi") and attempt(sees_gpu) is not True:
        wanted["the GPU"] = install_command("gpu")
    return wanted or "nothing"


def sees_gpu():
    """Return whether Keras computes on a GPU."""
    from ..networks.devices import on_gpu

    return on_gpu()


SECTIONS = {
    "versions": versions,
    "system": system,
    "devices": devices,
    "engines": engines,
    "folders": folders,
    "missing": missing,
}
