"""The optimizer of kernels, against Keras's own for matrices and NumPy's singular values."""

import keras
import numpy as np
import pytest

from volseg_keras.training.loop.muon import MuonAdamW, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (5, 30), (72, 16)])
def test_singular_values_come_close_to_one(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = np.asarray(orthogonal(keras.ops.convert_to_tensor(matrix)))
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    values = np.diag(u.T @ found @ v.T)
    assert values.min() > 0.65 and values.max() < 1.25
    np.testing.assert_allclose(found, u * values @ v, atol=2e-3)


@pytest.mark.parametrize(
    "shape, reference",
    [
        ((12, 5), keras.optimizers.Muon(0.01, rms_rate=0.3, weight_decay=None)),
        ((), keras.optimizers.AdamW(0.01, weight_decay=0)),
        ((7,), keras.optimizers.AdamW(0.01, weight_decay=0)),
        ((3, 3, 4, 1), keras.optimizers.AdamW(0.01, weight_decay=0)),
    ],
)
def test_steps_are_those_of_keras(shape, reference):
    random = np.random.default_rng(1)
    start = random.normal(size=shape).astype(np.float32)
    gradients = [random.normal(size=shape).astype(np.float32) for _ in range(3)]
    found = []
    for optimizer in (MuonAdamW(0.01, weight_decay=0), reference):
        variable = keras.Variable(start)
        optimizer.build([variable])
        for gradient in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)])
        found.append(np.asarray(variable))
    np.testing.assert_allclose(*found, atol=1e-5)
    assert np.abs(found[0] - start).max() > 1e-3


def test_a_kernel_is_a_matrix_of_its_filters():
    start, gradient = np.random.default_rng(2).normal(size=(2, 72, 6)).astype(np.float32)
    found = []
    for shape in ((2, 3, 3, 4, 6), (72, 6)):
        optimizer, variable = MuonAdamW(0.01), keras.Variable(start.reshape(shape))
        optimizer.build([variable])
        optimizer.apply([keras.ops.convert_to_tensor(gradient.reshape(shape))])
        found.append(np.asarray(variable).reshape(72, 6))
    np.testing.assert_array_equal(*found)


def test_its_arguments_travel():
    optimizer = MuonAdamW(0.02, momentum=0.8, update_rms=0.1, weight_decay=1e-4)
    read = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(read, MuonAdamW) and read.get_config() == optimizer.get_config()
