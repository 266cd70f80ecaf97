"""One training script for every backend of Keras: `python tests/benchmarks/backends.py` runs all.

`KERAS_BACKEND=jax python tests/benchmarks/backends.py` runs one, with no TensorFlow installed.
"""

import os
import subprocess
import sys
import time

import numpy as np
from common import report

BACKENDS = ("tensorflow", "jax", "torch")
STEPS, BATCH, PATCH = 500, 4, (128, 128)
LEAST = 0.6


def train():
    """Train C on a phantom by `model.fit`; print its foreground Jaccard index on another."""
    import keras

    import volseg_keras

    start = time.monotonic()
    keras.utils.set_random_seed(0)
    sampler = volseg_keras.PatchSampler(*volseg_keras.phantom((96, 192, 192)), PATCH)
    model = volseg_keras.build_model("C")
    rate = keras.optimizers.schedules.CosineDecay(3e-3, STEPS)
    # On a CPU TensorFlow's XLA takes minutes to compile 3D convolutions.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(keras.optimizers.AdamW(rate), volseg_keras.JaccardLoss(), jit_compile=jit)
    batches = sampler.py_dataset(BATCH, steps=STEPS, workers=2)
    model.fit(batches, verbose=0)
    seconds = time.monotonic() - start
    image, truth = volseg_keras.phantom((48, 128, 128), seed=1)
    probability = volseg_keras.predict_volume(model, image, normalization=sampler.normalization)
    scores = volseg_keras.segmentation_scores(truth, probability.argmax(-1).astype(np.uint8))
    jaccard = scores["classes"][1]["jaccard"]
    report(keras.backend.backend(), jaccard=jaccard, steps=STEPS, train_seconds=seconds)
    return jaccard


def main():
    """Run the backend that is set, else every one; fail where one learned too little."""
    if "KERAS_BACKEND" in os.environ:
        sys.exit(train() < LEAST)
    runs = [
        subprocess.run([sys.executable, __file__], env={**os.environ, "KERAS_BACKEND": name})
        for name in BACKENDS
    ]
    sys.exit(any(run.returncode for run in runs))


if __name__ == "__main__":
    main()
