"""Speed of H on a GPU: `KERAS_BACKEND=jax python tests/benchmarks/gpu.py` (or torch).

Needs no TensorFlow. Everything is given beside the card's measured copy bandwidth, as the network
is bound by memory.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from common import interleaved, report

PATCH, BATCH = (96, 128, 128), 3
TILE = (96, 256, 256)
STEPS = 5
COPIED = 2**28  # floats


def wait(value):
    """Return a result's first number, which ends once it is computed."""
    return float(np.asarray(keras.ops.convert_to_numpy(keras.ops.ravel(value)[:1]))[0])


def train_runner():
    """Return a function that trains for `STEPS` steps on a batch that is there already."""
    from volseg_keras import build_model
    from volseg_keras.training.fit_network import compile_model
    from volseg_keras.training.recipes import get_recipe

    rng = np.random.default_rng(0)
    images = rng.normal(size=(BATCH, *PATCH, 1)).astype(np.float32)
    labels = (rng.random((BATCH, *PATCH)) < 0.07).astype(np.uint8)
    model = build_model("H")
    compile_model(model, get_recipe("paper"), 3)

    def run():
        for _ in range(STEPS):
            model.train_on_batch(images, labels)

    return run


def predict_runner():
    """Return a function that predicts one tile, from and to the host's memory."""
    from volseg_keras import build_model
    from volseg_keras.inference.engines.runtimes import keras_engine

    engine = keras_engine(build_model("H"))
    tile = np.random.default_rng(1).normal(size=TILE).astype(np.float32)
    return lambda: engine(tile)


def copy_runner():
    """Return a function that copies an array within the device's memory."""
    numbers = keras.ops.ones((COPIED,), "float32")
    return lambda: wait(numbers * 2.0)


def main():
    """Print a line a job."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    jobs = {"copy": copy_runner(), "train": train_runner(), "predict": predict_runner()}
    seconds = interleaved(jobs)
    bandwidth = 2 * 4 * COPIED / seconds["copy"] / 1e9
    steps, voxels = STEPS / seconds["train"], np.prod(TILE) / seconds["predict"] / 1e6
    report("copy", gb_per_s=bandwidth)
    report("train H", steps_per_s=steps, steps_per_gb_copied=steps / bandwidth)
    report("predict H", mvoxel_per_s=voxels, mvoxel_per_gb_copied=voxels / bandwidth)


if __name__ == "__main__":
    main()
