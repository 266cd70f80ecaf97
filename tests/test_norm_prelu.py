import keras
import numpy as np
import pytest
from keras import ops

from volseg_keras.networks.norm_prelu import NormPReLU, norm_prelu

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the training step is TensorFlow's"
)


def pair(shape, seed=0):
    """Return a NormPReLU with random weights and the stock layers with the same."""
    rng = np.random.default_rng(seed)
    layer = NormPReLU()
    norm = keras.layers.BatchNormalization()
    prelu = keras.layers.PReLU(shared_axes=list(range(1, len(shape) - 1)))
    layer.build(shape)
    norm.build(shape)
    prelu.build(shape)
    weights = [rng.uniform(0.3, 1.5, w.shape) for w in norm.weights]
    slope = rng.uniform(-0.2, 0.5, prelu.alpha.shape)
    norm.set_weights(weights)
    prelu.set_weights([slope])
    layer.norm.set_weights(weights)
    layer.prelu.set_weights([slope])
    return layer, norm, prelu


def trained(function, x, upstream, weights):
    """Return the output of a compiled training step, and the gradients of `x` and weights."""
    import tensorflow as tf

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = function(x, training=True)
        assert out.dtype == x.dtype
        return out, *tape.gradient(out, [x, *(w.value for w in weights)], upstream)

    return [tf.cast(result, tf.float32).numpy() for result in step()]


@tensorflow_only
@pytest.mark.parametrize("shape", [(3, 8, 6, 5), (2, 4, 6, 8, 3)])
def test_training_equals_the_stock_layers(shape):
    import tensorflow as tf

    layer, norm, prelu = pair(shape)
    rng = np.random.default_rng(1)
    x = tf.constant(rng.normal(2, 3, shape), tf.float32)
    upstream = tf.constant(rng.normal(0, 1, shape), tf.float32)
    ours = trained(layer, x, upstream, [layer.norm.gamma, layer.norm.beta, layer.prelu.alpha])
    stock = trained(
        lambda x, training: prelu(norm(x, training=training)),
        x,
        upstream,
        [norm.gamma, norm.beta, prelu.alpha],
    )
    for actual, expected in zip(ours, stock, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())
    for mine, theirs in zip(layer.norm.weights, norm.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


@tensorflow_only
def test_bfloat16_trains_as_float32_does_within_its_precision():
    import tensorflow as tf

    shape = (2, 4, 6, 8, 3)
    exact, *_ = pair(shape)
    layer = NormPReLU(dtype="mixed_bfloat16")
    layer.build(shape)
    layer.set_weights(exact.get_weights())
    rng = np.random.default_rng(1)
    # Numbers that bfloat16 holds, whose mean is large against their deviation.
    x, upstream = (tf.cast(rng.normal(m, 1, shape), tf.bfloat16) for m in (8, 0))
    expected = trained(
        exact, *(tf.cast(v, tf.float32) for v in (x, upstream)), exact.trainable_weights
    )
    found = trained(layer, x, upstream, layer.trainable_weights)
    for want, got in zip(expected, found, strict=True):
        np.testing.assert_allclose(got, want, atol=0.02 * np.abs(want).max())
    for mine, theirs in zip(layer.norm.weights, exact.norm.weights, strict=True):
        assert mine.dtype == "float32"
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_inference_is_the_stock_layers():
    shape = (2, 4, 6, 8, 3)
    layer, norm, prelu = pair(shape)
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer(x)), ops.convert_to_numpy(prelu(norm(x)))
    )


@tensorflow_only
def test_frozen_statistics_stay():
    import tensorflow as tf

    layer, *_ = pair((2, 4, 4, 3))
    layer.trainable = False
    before = [w.numpy() for w in layer.norm.weights]
    x = np.random.default_rng(3).normal(5, 2, (2, 4, 4, 3)).astype(np.float32)
    tf.function(layer)(x, training=True)
    for weight, value in zip(layer.norm.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


@tensorflow_only
def test_one_function_an_epsilon():
    assert norm_prelu(1e-3) is norm_prelu(1e-3)
