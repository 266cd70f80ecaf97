"""Training on a volume larger than memory: `python tests/benchmarks/large.py [GVOXEL] [STEPS]`.

A Zarr of GVOXEL (20) billion voxels, of phantoms, is trained on for STEPS (50) of H, and a crop of
it in memory for as many. Its chunks are links to a few files, so that it takes no room on the disk.
Prints seconds a step and peak memory above the imports of both, one JSON line each.
"""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
from common import report, scratch

CHUNK = (64, 256, 256)
TRAIN = """
import json, sys, time
from pathlib import Path
import keras, numpy as np, volseg_keras
from volseg_keras.training.fit import fit

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20

folder, steps, whole = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "file"
pair = [volseg_keras.open_volume(folder / name) for name in ("image.zarr", "label.zarr")]
if not whole:
    pair = [volume[:256, :768, :768] for volume in pair]
before = peak()

class Times(keras.callbacks.Callback):
    ends = []
    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())

import volseg_keras.training.fit_network as module
train = module.train
module.train = lambda plan, patches, given: train(plan, patches, [*given, Times()])
start = time.perf_counter()
options = {"steps": steps, "output": folder / sys.argv[3]}
fit(volseg_keras.build_model("H"), *pair, **options)
waited = Times.ends[0] - start
print(json.dumps([float(np.median(np.diff(Times.ends))), peak() - before, waited]))
"""


def write(folder, gvoxel):
    """Write image and labels of so many billion voxels; return their shape."""
    import zarr

    from volseg_keras import phantom

    side = int((gvoxel * 1e9 / 1280) ** 0.5) // CHUNK[1] * CHUNK[1]
    shape = (1280, side, side)
    tiles = [phantom(CHUNK, seed) for seed in range(4)]
    for part, name in enumerate(("image", "label")):
        array = zarr.create_array(
            folder / f"{name}.zarr", shape=shape, chunks=CHUNK, dtype=np.uint8, fill_value=0
        )
        places = product(*(range(n // c) for n, c in zip(shape, CHUNK, strict=True)))
        files = []
        for number, place in enumerate(places):
            path = folder / f"{name}.zarr" / "c" / "/".join(map(str, place))
            if number < len(tiles):
                begin = [i * c for i, c in zip(place, CHUNK, strict=True)]
                array[tuple(slice(b, b + c) for b, c in zip(begin, CHUNK, strict=True))] = tiles[
                    number
                ][part]
                files.append(path)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(files[number % len(files)], path)
    return shape


def main():
    """Write, train, print."""
    gvoxel, steps = float(sys.argv[1]) if len(sys.argv) > 1 else 20, (sys.argv[2:] or ["50"])[0]
    with scratch() as folder:
        shape = write(Path(folder), gvoxel)
        for source in ("memory", "file"):
            done = subprocess.run(
                [sys.executable, "-c", TRAIN, folder, steps, source],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            step, memory, waited = json.loads(done.stdout.splitlines()[-1])
            size = shape if source == "file" else (256, 768, 768)
            report(source, shape=size, step_s=step, peak_gib=memory, first_step_after_s=waited)


if __name__ == "__main__":
    main()
