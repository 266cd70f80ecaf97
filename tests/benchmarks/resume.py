"""Large volumes, killed three times and resumed: `python tests/benchmarks/resume.py [folder]`.

Needs about 6 GB of disk for a volume of 4 Gvoxel, and a quarter of an hour.
"""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from random import uniform

import numpy as np
from common import mosaic, report, saved_model, scratch

from volseg_keras.inference.jobs.store import JobStore

# Mvoxel: 268 and 4295.
SHAPES = ((256, 1024, 1024), (1024, 2048, 2048))
SLAB = 64
KILLS = 3
COMMAND = """
import sys
from volseg_keras import cli
import numpy, openvino, tifffile, matplotlib.figure, zarr
import volseg_keras.inference.open_model
print("ready", flush=True)
sys.argv = ["volseg", *sys.argv[1:]]
cli.main()
"""


def write_source(path, shape):
    """Write a Zarr volume of a phantom and its mirror images."""
    from volseg_keras.volumes.writing import create_volume

    slab = mosaic((SLAB, *shape[1:]))
    with create_volume(path, shape, np.uint8) as append:
        for _ in range(0, shape[0], SLAB):
            append(slab)


def peak(pid):
    """Return the peak memory of a process in GiB, 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return max([int(line.split()[1]) for line in lines if line.startswith("VmHWM")] + [0]) / 2**20


def predict(arguments, kill=lambda seconds: False):
    """Run `volseg predict`, or until `kill(seconds since its imports)` says to end it by SIGKILL.

    Returns:
        Whether it came to its end, and GiB of peak memory above what the imports take.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "predict", *map(str, arguments)], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    imported, start = peak(process.pid), time.monotonic()
    highest = imported
    while process.poll() is None:
        highest = max(highest, peak(process.pid))
        if kill(time.monotonic() - start):
            process.kill()
        time.sleep(0.02)
    process.stdout.close()
    assert process.returncode in (0, -9), process.returncode
    return process.returncode == 0, highest - imported


def killed_and_resumed(source, output, model):
    """Predict, killed at random moments, the first time after 5 % of the blocks.

    Returns:
        The blocks that were left at the end of every run, and the highest peak of memory.
    """
    store, left, peaks = JobStore.beside(output), [], []
    command = [source, "-o", output, "--model", model, "--resume"]

    def kill(first, moment, seconds):
        if first:
            return store.is_begun and share_done(store) >= 0.05
        return seconds > moment

    for run in range(KILLS):
        ended, memory = predict(command, partial(kill, not run, uniform(1, 6)))
        assert not ended
        left.append(len(store.pending()))
        peaks.append(memory)
    ended, memory = predict(command)
    assert ended
    return left, max(*peaks, memory)


def share_done(store):
    """Return the share of a job's blocks that are done."""
    return 1 - len(store.pending()) / store.count_blocks()


def same(a, b):
    """Return whether two Zarr volumes hold the same voxels."""
    from volseg_keras import open_volume

    a, b = open_volume(a), open_volume(b)
    slabs = [slice(z, z + SLAB) for z in range(0, a.shape[0], SLAB)]
    return all(np.array_equal(a[z], b[z]) for z in slabs)


def main():
    """Print a line a size."""
    with scratch() as temporary:
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        model = saved_model(folder)
        for shape in SHAPES:
            mvoxel = int(np.prod(shape) / 1e6)
            source, output = folder / f"{mvoxel}.zarr", folder / f"{mvoxel}_killed.zarr"
            write_source(source, shape)
            start = time.monotonic()
            left, memory = killed_and_resumed(source, output, model)
            figures = {"seconds": time.monotonic() - start, "peak_gib_above_import": memory}
            if shape == SHAPES[0]:
                unbroken = folder / f"{mvoxel}_unbroken.zarr"
                figures["unbroken_peak_gib"] = predict([source, "-o", unbroken, "--model", model])[
                    1
                ]
                figures["identical"] = same(output, unbroken)
            report("volseg predict --resume", mvoxel=mvoxel, blocks_left=left, **figures)


if __name__ == "__main__":
    main()
