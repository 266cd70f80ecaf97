"""A training that is killed, interrupted, out of disk or diverges: what is kept, what is told."""

import csv
import itertools
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from multiprocessing import get_context

import h5py
import numpy as np
import pytest
from command import small_file_system, volseg

from volseg_keras import Augment, files, load_pretrained, phantom, save_volume
from volseg_keras.training.loop import checkpoint
from volseg_keras.training.recipes import RECIPES

pytestmark = pytest.mark.slow

# Processes that start with TensorFlow imported and nothing of it running yet.
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["tensorflow", "volseg_keras.training.fit", "volseg_keras.cli"])
QUICK = replace(RECIPES["fast"], patch={3: (16, 32, 32)}, warmup=2, augment=Augment(), settle=0.0)
KILLS, STEPS = 10, 400


def save_network(path):
    """Save layers with every kind of state: weights, moving statistics, slopes, seeds."""
    import keras

    from volseg_keras import RankOneConv, StochasticDownsample
    from volseg_keras.networks.norm_prelu import NormPReLU

    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, None, 1))
    x = keras.layers.Dropout(0.1)(NormPReLU()(RankOneConv(6)(inputs)))
    x = keras.layers.Conv3DTranspose(2, 2, strides=2)(StochasticDownsample()(x))
    keras.Model(inputs, keras.layers.Softmax()(x), name="small").save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A labelled volume and a network, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("a lab")
    image, label = phantom((32, 64, 96), seed=0)
    save_volume(folder / "image.npy", image)
    save_volume(folder / "label.npy", label)
    save_network(folder / "small.keras")
    return folder


def arguments(folder, run, *options):
    """Return the command line of a training."""
    files = (folder / name for name in ("image.npy", "label.npy"))
    options = ("--recipe", "quick", "--hold-out", "x:0:32", "-o", run, *options)
    return ("train", *files, "--from", folder / "small.keras", *options)


def train_apart(folder, *line):
    """Run the command as a program does, bit for bit the same each time."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    # Ctrl-C is ignored by what a shell starts in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    RECIPES["quick"] = QUICK
    checkpoint.CHECKPOINT_EVERY = 0  # for progress to be seen
    with open(folder / "log", "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    code = volseg(*line)
    sys.stderr.flush()
    os._exit(code)


def start(folder, run):
    """Start a training, or go on with it."""
    line = arguments(folder, folder / run, "--steps", STEPS, "--resume")
    process = FORKS.Process(target=train_apart, args=(folder, *line))
    process.start()
    return process


def wait_for_progress(process, checkpoint):
    """Wait for the next checkpoint."""
    before, end = stamp(checkpoint), time.monotonic() + 600
    while stamp(checkpoint) == before:
        assert process.is_alive() and time.monotonic() < end, "no progress"
        time.sleep(0.002)


def stamp(path):
    """Return what tells one file of a name from the next."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


def end_by(number, process):
    """End a process by a signal; returns its exit code."""
    assert process.is_alive()
    os.kill(process.pid, number)
    process.join(60)
    return process.exitcode


def finish(process, folder):
    """Let a training end."""
    process.join(1800)
    assert process.exitcode == 0, (folder / "log").read_text()


@pytest.fixture(scope="module")
def whole(folder):
    """A training that nothing happens to."""
    process = start(folder, "whole")
    finish(process, folder)
    return folder / "whole"


def state(run):
    """Return all numbers of a run that do not tell of time."""
    with h5py.File(run / "checkpoint.h5") as file:
        arrays = [file[str(i)][()] for i in range(len(file))]
        arrays += [file.attrs["step"], file.attrs["best"]]
    with open(run / "history.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file)]
    columns = ("step", "loss", "jaccard", "learning_rate", "val_jaccard")
    metrics = json.loads((run / "metrics.json").read_text())
    return {
        "checkpoint": arrays,
        "history": [tuple(row[name] for name in columns) for row in rows],
        "model": load_pretrained(run).get_weights(),
        "metrics": {key: value for key, value in metrics.items() if "minutes" not in key},
    }


def assert_same(one, other):
    """Assert that two runs agree in every bit."""
    one, other = state(one), state(other)
    for name in ("history", "metrics"):
        assert one[name] == other[name]
    for name in ("checkpoint", "model"):
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_run_killed_ten_times_ends_as_an_unbroken_one(folder, whole):
    rng, checkpoint = np.random.default_rng(), folder / "broken" / "checkpoint.h5"
    for _ in range(KILLS):
        process = start(folder, "broken")
        wait_for_progress(process, checkpoint)
        time.sleep(rng.uniform(0, 0.1))
        assert end_by(signal.SIGKILL, process) == -signal.SIGKILL
    process = start(folder, "broken")
    wait_for_progress(process, checkpoint)
    assert end_by(signal.SIGINT, process) == 130
    last = (folder / "log").read_text().splitlines()[-1]
    assert last.startswith("volseg: interrupted") and "--resume" in last
    process = start(folder, "broken")
    finish(process, folder)
    assert_same(whole, folder / "broken")
    assert not list((folder / "broken").glob(".part*"))


@pytest.fixture
def small_disk(tmp_path):
    with small_file_system(tmp_path / "small disk", "1m") as folder:
        yield folder


@pytest.fixture
def again(folder, monkeypatch, capsys):
    """A function that goes on with a finished run here; gives exit code and what is told."""

    def train(run, steps, recipe=QUICK):
        monkeypatch.setitem(RECIPES, "quick", recipe)
        code = volseg(*arguments(folder, run, "--steps", steps, "--resume"))
        return code, [line for line in capsys.readouterr().err.splitlines() if line.strip()]

    return train


def kept(run):
    """Return what a run leaves for others, and what a stopped one must not touch."""
    assert not list(run.glob(".part*"))
    return [(run / name).read_bytes() for name in ("checkpoint.h5", "model.keras")]


@pytest.mark.parametrize("room", [0, 2**14])
def test_a_full_disk(room, whole, small_disk, again):
    run = small_disk / "run"
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("tensorboard"))
    before, ballast = kept(run), small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
    code, told = again(run, STEPS + 25)
    assert code == 2 and len(told) == 1 and told[0].startswith("volseg: ")
    assert "No space left" in told[0] and str(run) in told[0]
    assert kept(run) == before
    ballast.unlink()
    assert again(run, STEPS + 25) == (0, [])
    assert state(run)["checkpoint"][-2] == STEPS + 25


def write_for_ever(path):
    for i in itertools.count():
        with files.atomic_path(path) as part:
            part.write_bytes(bytes([i % 256]) * 2**22)


def test_a_file_is_whole_whenever_its_writer_is_killed(tmp_path):
    rng, path = np.random.default_rng(), tmp_path / "file"
    for _ in range(20):
        process = FORKS.Process(target=write_for_ever, args=(path,))
        process.start()
        wait_for_progress(process, path)
        time.sleep(rng.uniform(0, 0.02))
        end_by(signal.SIGKILL, process)
        content = path.read_bytes()
        assert len(content) == 2**22 and len(set(content)) == 1


def test_a_run_that_diverges(whole, tmp_path, again):
    run = shutil.copytree(whole, tmp_path / "run")
    before = kept(run)
    wild = replace(QUICK, rate={3: 1e38}, schedule="drops")
    code, told = again(run, 10 * STEPS, wild)
    assert code == 1 and len(told) == 1 and told[0].startswith("volseg: Training diverged: ")
    assert kept(run) == before
