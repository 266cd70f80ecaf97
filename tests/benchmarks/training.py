"""Speed of a training step of H and D: `python tests/benchmarks/training.py`, peers from `bench`.

With `--older CHECKOUT`, such as a `git worktree` of the release before, also against the package
there: in a process of its own, as TensorFlow reads its settings once, and in turn with this one.
"""

import argparse
import os
import subprocess
import sys
from contextlib import ExitStack, nullcontext
from importlib.util import find_spec

import numpy as np
from common import interleaved, report, torch_peers

ENVIRONMENT = dict(os.environ)  # before the package is imported
SHAPES = {"H": ((64, 128, 128), 2), "D": ((256, 256), 8)}
STEPS = 4
REPEATS = 10
PRECISION = ExitStack()  # open until the end of the process


def stock_network(name):
    """Return a network of layers that Keras has, but for rank-1 convolutions and downsampling."""
    from keras import layers

    from volseg_keras.networks import blocks, models

    def activation(x, name):
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.PReLU(shared_axes=list(range(1, len(x.shape) - 1)), name=f"{name}_prelu")(x)

    def softmax(x):
        return layers.Softmax(name="probability")(x)

    ours = blocks.activation, models.activation, models.softmax
    blocks.activation = models.activation = activation
    models.softmax = softmax
    try:
        return models.build_model(name)
    finally:
        blocks.activation, models.activation, models.softmax = ours


def stock_loss(y_true, y_pred):
    """Jaccard loss of class 1 and cross-entropy, as one writes them down."""
    import keras
    from keras import ops

    y = ops.cast(y_true, "float32")
    p = y_pred[..., 1]
    overlap = ops.sum(p * y)
    jaccard = (overlap + 1) / (ops.sum(p) + ops.sum(y) - overlap + 1)
    entropy = keras.losses.sparse_categorical_crossentropy(y_true, y_pred)
    return 1 - jaccard + ops.mean(entropy)


def sampler_of(name):
    """Return a sampler of a network's patches."""
    import volseg_keras

    image, label = volseg_keras.phantom((80, 256, 256))
    return volseg_keras.PatchSampler(image, label, SHAPES[name][0])


def ours(name):
    """Return a function that trains a network of the package for `STEPS` steps."""
    import volseg_keras
    from volseg_keras.training.recipes import get_recipe

    try:
        from volseg_keras.training.fit_network import compile_model
    except ImportError:  # where it was before
        from volseg_keras.training.fit import compile_model

    patch, batch = SHAPES[name]
    model = volseg_keras.build_model(name)
    PRECISION.enter_context(precision(model, patch))
    compile_model(model, get_recipe("fast"), len(patch))
    import tensorflow as tf  # after the package, which has it use oneDNN

    settings = tf.data.Options()
    settings.autotune.enabled = False  # in older versions `fit` waits for its thread at the end
    batches = sampler_of(name).tf_dataset(batch).with_options(settings)
    return lambda: model.fit(batches, steps_per_epoch=STEPS, verbose=0)


def precision(model, patch):
    """Return the context in which `fit` trains; versions before that function have none."""
    try:
        from volseg_keras.training.loop import devices
    except ImportError:  # where it was before
        from volseg_keras.training import devices

    return getattr(devices, "fastest_precision", lambda *_: nullcontext())(model, patch)


def stock(name):
    """Return a function that trains a network of stock layers."""
    import keras

    model = stock_network(name)
    model.compile(keras.optimizers.AdamW(3e-3), stock_loss, jit_compile=False)
    images, labels = sampler_of(name).batch(0, SHAPES[name][1])

    def train():
        for _ in range(STEPS):
            model.train_on_batch(images, labels)

    return train


def monai():
    """Return a function that trains MONAI's UNet."""
    import torch

    images, labels = sampler_of("H").batch(0, SHAPES["H"][1])
    net = torch_peers()["MONAI UNet"]
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    tensor = torch.from_numpy(images).permute(0, 4, 1, 2, 3)
    target = torch.from_numpy(labels).long()

    def train():
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(tensor), target).backward()
            optimizer.step()

    return train


def older(name, checkout):
    """Return a function that has a process train by the package of another checkout.

    The process does not inherit what the package here sets for TensorFlow (`ENVIRONMENT`).
    """
    process = subprocess.Popen(
        [sys.executable, __file__, "--networks", name, "--serve"],
        env={**ENVIRONMENT, "PYTHONPATH": str(checkout)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    where = process.stdout.readline().strip()
    assert where.startswith(os.path.abspath(checkout)), where

    def train():
        process.stdin.write("train\n")
        process.stdin.flush()
        process.stdout.readline()

    return train


def serve(name):
    """Train for `STEPS` steps a line of standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    train = ours(name)
    print(sys.modules["volseg_keras"].__file__, file=answers, flush=True)
    for _ in sys.stdin:
        train()
        print("done", file=answers, flush=True)


def main():
    """Print a line a system."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--older", metavar="CHECKOUT")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.networks[0])
    for name in options.networks:
        systems = {f"volseg {name}, model.fit": ours(name)}
        systems[f"{name} of stock layers, train_on_batch"] = stock(name)
        if options.older:
            systems[f"{name}, {options.older}"] = older(name, options.older)
        if name == "H" and find_spec("monai"):
            systems["MONAI UNet, float32"] = monai()
        seconds = interleaved(systems, REPEATS)
        first = next(iter(seconds.values()))
        patch, batch = SHAPES[name]
        for system, value in seconds.items():
            speed = STEPS * batch * np.prod(patch) / value / 1e6
            times = value / first
            report(system, step_s=value / STEPS, mvoxel_per_s=speed, volseg_is_faster_by=times)


if __name__ == "__main__":
    main()
