"""The mean of the weights over the last part of a run."""

from contextlib import contextmanager

import keras
import numpy as np

EVERY = 10  # steps


class WeightAverage(keras.callbacks.Callback):
    """Average weights and moving statistics, with more weight on later ones.

    Polynomial-decay averaging (Shamir & Zhang, ICML 2013): after t updates the weight of the s-th
    is about (s / t)**power, so with a power of 3 half of the mean is from the last sixth of a run
    of any length.

    Args:
        budget: counts the steps; updated before this callback.
        power: of the decay; None leaves the weights as they are.

    Attributes:
        mean: the averaged weights, in the order of `model.get_weights()`; empty without a power.
    """

    def __init__(self, budget, power):
        super().__init__()
        self.budget = budget
        self.power = power
        self.mean = []

    def on_train_batch_end(self, batch, logs=None):
        """Add the weights of every tenth step."""
        if self.power is None or self.budget.step % EVERY:
            return
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        weights = self.model.get_weights()
        updates = self.budget.step // EVERY
        share = np.float32((self.power + 1) / (updates + self.power))
        old = self.mean or weights
        self.mean = [a + share * (b - a) for a, b in zip(old, weights, strict=True)]

    @contextmanager
    def applied(self, model):
        """Give a model the mean within the context."""
        weights = model.get_weights()
        model.set_weights(self.mean or weights)
        try:
            yield
        finally:
            model.set_weights(weights)
