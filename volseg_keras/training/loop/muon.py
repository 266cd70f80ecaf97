"""An optimizer that needs fewer steps than AdamW."""

import math

import keras
from keras import ops

# Coefficients of a x + b x^3 + c x^5, which drives singular values towards 1 (K. Jordan et al.).
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


@keras.saving.register_keras_serializable(package="volseg_keras")
class MuonAdamW(keras.optimizers.AdamW):
    """Muon for the kernels of convolutions, AdamW for biases and scales.

    A kernel `(*window, inputs, filters)` is seen as a matrix `(window * inputs, filters)`; that of
    a transposed convolution, `(*window, filters, inputs)`, as `(window * filters, inputs)`. Its
    update is close to the orthogonal matrix nearest to its momentum, so that weak directions of a
    gradient count as much as strong ones. Keras's own Muon does so for matrices alone.

    K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); J. Liu et
    al., arXiv:2502.16982, for the size of an update that lets both share a learning rate.

    Args:
        learning_rate: see AdamW.
        momentum: share of the past in a kernel's momentum.
        update_rms: root mean square of a kernel's update at a learning rate of 1.
        **options: further arguments of AdamW.

    Example:
        >>> model.compile(MuonAdamW(3e-3), loss=JaccardCrossentropyLoss(class_id=1))
    """

    def __init__(self, learning_rate=1e-3, momentum=0.95, update_rms=0.3, **options):
        super().__init__(learning_rate, **options)
        self.momentum, self.update_rms = momentum, update_rms

    def update_step(self, gradient, variable, learning_rate):
        """Update a variable by its gradient."""
        shape = tuple(variable.shape)
        rows, columns = (math.prod(shape[:-1]), shape[-1]) if shape else (1, 1)
        if min(rows, columns) == 1:
            super().update_step(gradient, variable, learning_rate)
            return
        past = self._momentums[self._get_variable_index(variable)]
        self.assign(past, past * self.momentum + gradient)
        update = orthogonal(ops.reshape(past * self.momentum + gradient, (rows, columns)))
        rate = ops.cast(learning_rate, variable.dtype) * self.update_rms * max(rows, columns) ** 0.5
        self.assign_sub(variable, ops.reshape(update, shape) * rate)

    def get_config(self):
        """Return the arguments of the constructor."""
        own = {"momentum": self.momentum, "update_rms": self.update_rms}
        return {**super().get_config(), **own}


def orthogonal(matrix):
    """Return a matrix with the singular vectors of another and singular values close to 1.

    By Newton-Schulz iterations, which need products of matrices only. They lie between 0.7 and 1.2
    unless they were tiny.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide = ops.transpose(matrix) if is_tall else matrix
    wide = wide / (ops.sqrt(ops.sum(ops.square(wide))) + 1e-7)
    a, b, c = POLYNOMIAL
    for _ in range(ITERATIONS):
        square = wide @ ops.transpose(wide)
        wide = a * wide + (b * square + c * square @ square) @ wide
    return ops.transpose(wide) if is_tall else wide
