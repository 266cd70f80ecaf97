"""Trainings that take a moment: networks, recipes and a volume for them."""

import csv
from contextlib import contextmanager
from dataclasses import replace

import keras
import pytest

from volseg_keras import Augment, RankOneConv, StochasticDownsample, fit, phantom
from volseg_keras.training.loop.callbacks import Schedule
from volseg_keras.training.recipes import RECIPES

IMAGE, LABEL = phantom((32, 64, 96), seed=0)


def small_network():
    """Layers with every kind of state: weights, moving statistics, seeds."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, None, 1))
    x = keras.layers.PReLU(shared_axes=[1, 2, 3])(RankOneConv(6)(inputs))
    x = keras.layers.Dropout(0.1)(keras.layers.BatchNormalization()(x))
    x = keras.layers.Conv3DTranspose(2, 2, strides=2)(StochasticDownsample()(x))
    return keras.Model(inputs, keras.layers.Softmax()(x), name="small")


def tiny_network(classes=2):
    """One convolution, traced in half of the time: where the network is not the point."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, None, 1))
    x = keras.layers.Conv3D(classes, 3, padding="same")(inputs)
    return keras.Model(inputs, keras.layers.Softmax()(x), name="tiny")


@contextmanager
def quick_recipes():
    """Make recipes of small patches: "quick" by SGD, the others by AdamW."""
    small = {"patch": {3: (16, 32, 32)}, "warmup": 2, "augment": Augment(), "settle": 0}
    adam = replace(RECIPES["fast"], optimizer={3: "AdamW"}, **small)
    with pytest.MonkeyPatch.context() as patch:
        quick = replace(adam, optimizer={3: "SGD"}, optimizer_options={})
        patch.setitem(RECIPES, "quick", quick)
        patch.setitem(RECIPES, "adam", adam)
        patch.setitem(RECIPES, "settling", replace(adam, settle=0.25))
        yield


OPTIONS = {"recipe": "quick", "hold_out": "x:0:32", "steps_per_epoch": 4}


def run(folder, steps, model=None, **options):
    """Train on the phantom; returns the network and what metrics.json tells."""
    model = model or tiny_network()
    options = {**OPTIONS, **options}
    summary = fit(model, IMAGE, LABEL, output=folder, steps=steps, **options)
    return model, summary


@contextmanager
def stopped_at(step, error=KeyboardInterrupt):
    """Interrupt a training before one of its steps."""
    begin = Schedule.on_train_batch_begin

    def stop(self, batch, logs=None):
        if self.budget.step == step:
            raise error
        begin(self, batch, logs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises((KeyboardInterrupt, SystemExit)):
        patch.setattr(Schedule, "on_train_batch_begin", stop)
        yield


def read(folder):
    """Return the rows of history.csv."""
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))
