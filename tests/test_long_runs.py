"""A thousand predictions need no more memory, files and threads than the first."""

import gc

import numpy as np
import psutil
import pytest
from networks import settled, shallow_networks
from tiles import predict_slabs

from volseg_keras import Segmenter, phantom
from volseg_keras.inference.engines.output import label_map
from volseg_keras.inference.engines.runtimes import keras_engine
from volseg_keras.inference.open_model import open_model
from volseg_keras.networks.models import with_normalization

pytestmark = pytest.mark.slow

VOLUME = phantom((16, 32, 48), seed=3)[0]


def footprint():
    """Return bytes held, open files and threads of this process."""
    gc.collect()
    process = psutil.Process()
    return np.array([process.memory_info().rss, process.num_fds(), process.num_threads()])


ROUNDS = 4


def growth(repeat, warm, times):
    """Return what the footprint gains in that of four rounds of calls in which it gains least.

    A leak gains in all of them, what else goes on in the process does not.
    """
    for _ in range(warm):
        repeat()
    marks = [footprint()]
    for _ in range(ROUNDS):
        for _ in range(times // ROUNDS):
            repeat()
        marks.append(footprint())
    return np.diff(marks, axis=0).min(0)


@shallow_networks()
def shallow_keras():
    """Start Keras on a network of four blocks: it keeps as much of a prediction as of twenty."""
    return keras_engine(with_normalization(settled("H"), 130.0, 40.0))


ENGINES = {
    "the default": (lambda: open_model("H").prepare(VOLUME).engine, 1000),
    "Keras": (shallow_keras, 100),
}


@pytest.mark.parametrize("name", ENGINES)
def test_predictions_leave_nothing(name):
    start, times = ENGINES[name]
    engine = start()
    memory, files, threads = growth(lambda: label_map(predict_slabs(engine, VOLUME, 3)), 50, times)
    # Less than half of the labels of every prediction would take, were they kept.
    assert memory < times / ROUNDS * VOLUME.size / 2 and files == 0 and threads <= 0


def test_models_opened_anew_leave_nothing():
    memory, files, threads = growth(lambda: Segmenter("H")(VOLUME), 3, 8)
    # Less than half of the weights of every model that was opened.
    assert memory < 8 / ROUNDS * 1.25e6 and files == 0 and threads <= 0
