"""What the benchmarks share: interleaved timing, peak memory, peers, a large volume."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

REPEATS = 5


def interleaved(systems, repeats=REPEATS):
    """Time functions in turn, each after an untimed call, so that no other's threads still spin.

    Args:
        systems: `{name: function}`.
        repeats: timed calls of each.

    Returns:
        `{name: median seconds}`.
    """
    times = {name: [] for name in systems}
    for _ in range(repeats):
        for name, run in systems.items():
            run()
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def report(system, **figures):
    """Print one JSON line."""
    figures = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in figures.items()}
    print(json.dumps({"system": system, **figures}), flush=True)


def mosaic(shape):
    """Return a uint8 volume of a phantom and its mirror images, side by side."""
    from volseg_keras import phantom

    tile = phantom((48, 192, 192), seed=5)[0]
    for axis, size in enumerate(shape):
        pair = np.concatenate([tile, np.flip(tile, axis)], axis)
        tile = pair.take(np.arange(size) % pair.shape[axis], axis)
    return tile


COMMAND = """
import sys, time
from pathlib import Path
from volseg_keras import cli
import numpy, openvino, tifffile, matplotlib.figure
import volseg_keras.inference.open_model
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
before = peak()
sys.argv = ["volseg", *sys.argv[1:]]
start = time.perf_counter()
try:
    cli.main()
except SystemExit as end:
    assert not end.code
print(time.perf_counter() - start, peak() - before)
"""


def predict_file(volume, labels, *options):
    """Run `volseg predict` in a process of its own.

    Returns:
        Seconds of the command, seconds with the start of Python, and GiB of peak memory above
        what the imports take.
    """
    start = time.perf_counter()
    out = subprocess.run(
        [sys.executable, "-c", COMMAND, "predict", volume, "-o", labels, *options],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, memory = map(float, out.stdout.split()[-2:])
    return seconds, time.perf_counter() - start, memory


def saved_model(folder):
    """Return the published model H, or save an untrained one where there is none."""
    from volseg_keras.pretrained.presets import published

    if "h" in published():
        return published()["h"]
    from volseg_keras import build_model
    from volseg_keras.networks.models import with_normalization

    path = Path(folder) / "h.keras"
    with_normalization(build_model("H"), 130.0, 40.0).save(path)
    return path


def torch_peers():
    """Return MONAI's UNet and a DynUNet as nnU-Net builds it, in channels-last order."""
    import torch
    from monai.networks.nets import DynUNet, UNet

    torch.manual_seed(0)
    unet = UNet(3, 1, 2, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2)
    dynunet = DynUNet(3, 1, 2, [3] * 5, [1, 2, 2, 2, 2], [2] * 4, filters=(32, 64, 128, 256, 320))
    nets = {"MONAI UNet": unet, "DynUNet like nnU-Net": dynunet}
    return {name: net.to(memory_format=torch.channels_last_3d) for name, net in nets.items()}


def scratch():
    """Return a temporary folder, as a context manager."""
    return tempfile.TemporaryDirectory(prefix="volseg benchmark ")
