"""The system, the devices and the folders of this machine."""

import os
import platform
import re
from contextlib import suppress
from functools import partial
from pathlib import Path

from .check import attempt

# CPU features that determine the speed, by their names on Linux.
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "i8mm")


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
    from ..networks.devices import cpu_has_bfloat16

    return "yes" if cpu_has_bfloat16() else "no: float32"


def cores():
    """Return the number of cores that this process may use."""
    from ..resources import usable_cores

    return usable_cores()


def memory():
    """Return the memory of this machine and how much of it this process may still use."""
    import psutil

    from ..resources import free_memory

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
