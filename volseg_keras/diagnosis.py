"""What is installed and what works on this machine, as rows that `volseg doctor` prints.

Any package may be missing or broken here, so what needs one is imported where it is tried.
"""

import os
import platform
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .extras import install_command

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


@dataclass(frozen=True)
class Check:
    """A row of the diagnosis.

    Attributes:
        section: a name of `SECTIONS`.
        name: of what was looked at; "" if the row is all that its section has to say.
        text: what was found, words or a number, or a list of words; an error as a line.
        ok: whether it works; None for plain facts and for optional packages that are missing.
    """

    section: str
    name: str
    text: str | int | list
    ok: bool | None = None


def diagnose():
    """Look at everything, which takes a minute as each engine segments a small volume.

    Returns:
        A list of `Check`, section by section. It never raises: an error is the text of its row, or
        of the only row of a section that cannot begin.

    Example:
        >>> default_engine_works(diagnose())
        True
    """
    return [check for name, look in SECTIONS.items() for check in section_checks(name, look)]


def default_engine_works(checks):
    """Return whether the engine by which this machine segments works, given all checks."""
    return any(
        (check.section, check.name, check.ok) == ("engines", "default", True) for check in checks
    )


def as_dict(checks):
    """Return checks for JSON.

    Returns:
        For each section a dict from names to texts, or a text if it has a single row without a
        name; and last, as `ok`, the same of whether it works, for those rows where that is known.
    """
    known = [check for check in checks if check.ok is not None]
    return {**_by_section(checks, "text"), "ok": _by_section(known, "ok")}


def _by_section(checks, attribute):
    """Return an attribute of each check by its section and name."""
    found = {}
    for check in checks:
        value = getattr(check, attribute)
        if check.name:
            found.setdefault(check.section, {})[check.name] = value
        else:
            found[check.section] = value
    return found


def lines(checks):
    """Yield a line for each check, for people: a section a paragraph."""
    previous = None
    for check in checks:
        section = "" if check.section == previous else check.section
        text = ", ".join(map(str, check.text)) if isinstance(check.text, list) else check.text
        yield f"{section:<10}{check.name:<20} {text}".rstrip()
        previous = check.section


def attempt(section, name, look, *arguments, ok=None):
    """Return the `Check` of what a function returns, or of its error.

    Args:
        section: of the check.
        name: of the check.
        look: a function that returns the text.
        *arguments: of the function.
        ok: that of the check if the function raises nothing.
    """
    try:
        return Check(section, name, look(*arguments), ok)
    except Exception as error:  # a broken installation raises anything
        return failed(section, name, error)


def failed(section, name, error):
    """Return the `Check` of an error; an optional package that is missing is no failure."""
    if isinstance(error, ModuleNotFoundError):
        optional = any(error.name in packages for packages, _ in OPTIONAL.values())
        return Check(section, name, f"not installed: {error.name}", None if optional else False)
    text = f"fails: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return Check(section, name, text, False)


def section_checks(name, look):
    """Return the checks of a section, or a single one of the error that kept it from beginning."""
    try:
        return look()
    except Exception as error:
        return [failed(name, "", error)]


def versions():
    """Return the versions of Python, this package and those that it uses."""
    from . import __version__

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


def system():
    """Return the operating system, the CPU and its features, cores and memory."""
    row = partial(attempt, "system")
    return [
        row("system", platform.platform),
        row("CPU", cpu_name),
        row("CPU features", cpu_features),
        row("bfloat16", bfloat16_support),
        row("cores usable", cores),
        row("memory", memory),
    ]


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
    from .networks.devices import cpu_has_bfloat16

    return "yes" if cpu_has_bfloat16() else "no: float32"


def cores():
    """Return the number of cores that this process may use."""
    from .resources import usable_cores

    return usable_cores()


def memory():
    """Return the memory of this machine and what this process may still take of it."""
    import psutil

    from .resources import free_memory

    total = psutil.virtual_memory().total
    return f"{total / 2**30:.1f} GiB, {free_memory() / 2**30:.1f} GiB available"


def devices():
    """Return the Keras backend and the devices that it and OpenVINO see."""
    row = partial(attempt, "devices", ok=True)
    return [row("Keras", keras_devices), row("OpenVINO", openvino_devices)]


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
    """Return whether each engine segments a small volume, and how long it takes.

    The first row names the default one, and works if that does.
    """
    from .inference.engines import ENGINES

    row = partial(attempt, "engines")
    default = row("default", default_engine)
    tried = [row(name, run_engine, name, ok=True) for name in ENGINES if name != "auto"]
    works = any(engine.name == default.text and engine.ok for engine in tried)
    return [replace(default, ok=works), *tried]


def default_engine():
    """Return the name of the engine that segments by default."""
    from .inference.open_model import fastest

    return fastest()


def run_engine(name):
    """Segment a phantom with the published model."""
    import_module(name)  # an engine has the name of its library, which may be missing
    from .datasets.phantom import phantom
    from .inference.segmenter import predict_volume

    start = time.monotonic()
    predict_volume("H", phantom((32, 64, 64))[0], engine=name)
    return f"works ({time.monotonic() - start:.1f} s)"


def folders():
    """Return the folders of the cache and of the tests' real data."""
    row = partial(attempt, "folders")
    return [row("cache", cache_folder), row("data", data_folder)]


def cache_folder():
    """Return the folder of the cache and its size."""
    from platformdirs import user_cache_path

    cache = user_cache_path("volseg_keras")
    return f"{cache} ({size_of_files(cache) / 2**20:.0f} MiB)"


def size_of_files(folder):
    """Return the bytes of all files below a folder; other processes may remove some meanwhile."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.path.getsize(os.path.join(path, name))
    return size


def data_folder():
    """Return the folder of the tests' real data, and whether it lacks them."""
    data = os.environ.get("VOLSEG_DATA")
    if not data:
        return "VOLSEG_DATA is not set"
    return data if Path(data, "lucchi_pp").is_dir() else f"{data} (has no lucchi_pp)"


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
        from .networks.devices import on_gpu

        if on_gpu():
            return ""
    return install_command("gpu")


SECTIONS = {
    "versions": versions,
    "system": system,
    "devices": devices,
    "engines": engines,
    "folders": folders,
    "missing": missing,
}
