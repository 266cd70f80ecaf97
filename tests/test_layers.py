import keras
import numpy as np
import pytest
from scipy.stats import chisquare

from volseg_keras import RankOneConv, StochasticDownsample, ZeroPadShortcut
from volseg_keras.networks.layers import Dropout, Probability
from volseg_keras.networks.norm_prelu import NormPReLU

RNG = np.random.default_rng(0)


def convolve_axis(x, kernel, bias, axis, stride):
    """Zero-padded 1D correlation along a spatial axis in plain NumPy, then plain subsampling."""
    size, length = x.shape[axis], kernel.shape[0]
    before = {1: (length - 1) // 2}.get(
        stride, max((-(-size // stride) - 1) * stride + length - size, 0) // 2
    )
    pads = [(0, 0)] * x.ndim
    pads[axis] = (before, length)
    padded = np.pad(x, pads)
    count = -(-size // stride)
    out = bias
    for i in range(length):
        taken = padded.take(range(i, i + count * stride, stride), axis)
        out = out + taken @ kernel[i]
    for other in range(1, x.ndim - 1):
        if other != axis:
            out = out.take(range(0, x.shape[other], stride), other)
    return out


@pytest.mark.parametrize("spatial", [(7, 6), (5, 6, 7)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("filters", [6, 7, 8])
def test_rank_one_conv_is_parallel_1d_convolutions(spatial, stride, filters):
    x = RNG.normal(size=(2, *spatial, 3)).astype(np.float32)
    layer = RankOneConv(filters, strides=stride)
    out = np.asarray(layer(x))
    dims = len(spatial)
    shares = [filters // dims + (a < filters % dims) for a in range(dims)]
    parts = []
    for axis, (branch, share) in enumerate(zip(layer.branches, shares, strict=True)):
        kernel, bias = (np.asarray(w) for w in branch.get_weights())
        bias = bias + axis  # not zero, so that a missing bias shows
        branch.set_weights([kernel, bias])
        assert kernel.shape == (*[3 if a == axis else 1 for a in range(dims)], 3, share)
        parts.append(convolve_axis(x, kernel.reshape(3, 3, share), bias, axis + 1, stride))
    out = np.asarray(layer(x))
    assert out.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(out, np.concatenate(parts, -1), atol=1e-5)


@pytest.mark.parametrize("region, stride", [(4, 2), (2, 2), (6, 2), (6, 3), (3, 1)])
def test_every_position_of_a_region_is_kept_equally_often(region, stride):
    draws = 10_000
    layer = StochasticDownsample(stride, region, seed=1)
    kept = np.asarray(layer.pattern(draws * region))
    assert (np.diff(kept) > 0).all(), "order is kept and positions are distinct"
    per_region = np.bincount(kept // region, minlength=draws)
    assert (per_region == region // stride).all()
    if stride > 1:
        assert chisquare(np.bincount(kept % region, minlength=region)).pvalue > 1e-4


@pytest.mark.parametrize("tail, share", [(1, 1), (2, 1), (3, 2)])
def test_the_tail_draws_its_share_uniformly(tail, share):
    layer = StochasticDownsample(2, 4, seed=2)
    kept = [np.asarray(layer.pattern(4 + tail)) for _ in range(200)]
    heads = np.bincount(np.concatenate([k[k < 4] for k in kept]), minlength=4)
    assert heads.sum() == 400 and chisquare(heads).pvalue > 1e-4
    tails = [k[k >= 4] - 4 for k in kept]
    assert all(len(t) == share and (np.diff(t) > 0).all() for t in tails)
    counts = np.bincount(np.concatenate(tails), minlength=tail)
    assert tail == 1 or chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("spatial", [(1,), (9,), (7, 8), (5, 6, 11)])
@pytest.mark.parametrize("stride, region", [(2, 4), (3, 3)])
def test_training_takes_one_product_pattern_of_real_samples(spatial, stride, region):
    index = np.arange(np.prod(spatial), dtype=np.float32).reshape(1, *spatial, 1)
    x = np.concatenate([index, index + 0.5], -1).repeat(2, 0)
    out = np.asarray(StochasticDownsample(stride, region, seed=0)(x, training=True))
    assert out.shape == (2, *[-(-n // stride) for n in spatial], 2)
    np.testing.assert_array_equal(out[0], out[1])
    np.testing.assert_array_equal(out[..., 0] + 0.5, out[..., 1])
    places = np.stack(np.unravel_index(out[0, ..., 0].astype(int), spatial))
    for axis in range(len(spatial)):
        along = np.moveaxis(places[axis], axis, 0).reshape(places.shape[1 + axis], -1)
        assert (along == along[:, :1]).all() and (np.diff(along[:, 0]) > 0).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients of TensorFlow")
@pytest.mark.parametrize("spatial", [(9,), (7, 8), (5, 6, 11)])
def test_a_sample_that_is_kept_has_the_gradient_of_its_copy(spatial):
    import tensorflow as tf

    shape = (2, *spatial, 3)
    x = tf.reshape(tf.range(np.prod(shape), dtype=tf.float32), shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = StochasticDownsample(seed=3)(x, training=True)
    upstream = RNG.normal(size=out.shape).astype(np.float32)
    want = np.zeros(np.prod(shape), np.float32)
    want[np.asarray(out).astype(int).ravel()] = upstream.ravel()
    np.testing.assert_array_equal(tape.gradient(out, x, upstream), want.reshape(shape))


@pytest.mark.parametrize("spatial", [(8, 6), (7, 5), (5, 4, 7)])
def test_inference_is_average_pooling(spatial):
    x = RNG.normal(size=(2, *spatial, 3)).astype(np.float32)
    out = np.asarray(StochasticDownsample(2, 4)(x))
    want = np.empty_like(out)
    for place in np.ndindex(*out.shape[1:-1]):
        block = x[(slice(None), *(slice(2 * p, 2 * p + 2) for p in place))]
        want[(slice(None), *place)] = block.mean(tuple(range(1, x.ndim - 1)))
    np.testing.assert_allclose(out, want, atol=1e-6)


def test_the_same_seed_repeats_and_calls_differ():
    def run(seed):
        layer = StochasticDownsample(seed=seed)
        return [np.asarray(layer.pattern(40)) for _ in range(3)]

    first, again, other = run(5), run(5), run(6)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_zero_pad_shortcut_appends_zero_maps():
    x = RNG.normal(size=(1, 3, 4, 2)).astype(np.float32)
    out = np.asarray(ZeroPadShortcut(5)(x))
    np.testing.assert_array_equal(out[..., :2], x)
    assert out.shape == (1, 3, 4, 5) and not out[..., 2:].any()


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_dropout_drops_its_share_and_keeps_the_mean(rate, dtype):
    layer = Dropout(rate, seed=1, dtype=dtype)
    x = np.ones((3, 101, 101, 9), np.float32)
    first, second = (np.asarray(layer(x, training=True), np.float32) for _ in range(2))
    assert (first != second).any()
    dropped = first == 0
    spread = (rate * (1 - rate) / x.size) ** 0.5
    assert abs(dropped.mean() - rate) < 4 * spread
    # No place and no neighbour of a dropped value is dropped more often.
    both = (dropped[..., 1:] & dropped[..., :-1]).mean()
    assert abs(both - rate**2) < 5 * spread
    np.testing.assert_allclose(first[~dropped], 1 / (1 - rate), rtol=1e-2)
    np.testing.assert_array_equal(np.asarray(layer(x), np.float32), x)
    again = np.asarray(Dropout(rate, seed=1, dtype=dtype)(x, training=True), np.float32)
    np.testing.assert_array_equal(first, again)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients of TensorFlow")
def test_the_gradient_of_dropout_has_its_mask():
    import tensorflow as tf

    x, upstream = tf.constant(RNG.normal(size=(2, 2, 5, 7, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = Dropout(0.3, seed=2)(x, training=True)
    gradient = tape.gradient(out, x, upstream)
    np.testing.assert_allclose(gradient, np.asarray(out / x * upstream), rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients of TensorFlow")
@pytest.mark.parametrize("spatial", [(7, 6), (1, 4), (5, 6, 7)])
@pytest.mark.parametrize("filters, kernel_size", [(7, 3), (8, 5), (6, 2), (6, 1)])
def test_rank_one_conv_trains_as_the_convolutions_do(spatial, filters, kernel_size):
    import tensorflow as tf

    layer = RankOneConv(filters, kernel_size)
    x = tf.constant(RNG.normal(size=(2, *spatial, 3)), tf.float32)
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(RNG.normal(size=weight.shape))
    upstream = tf.constant(RNG.normal(size=(2, *spatial, filters)), tf.float32)
    results = []
    for training in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = layer(x, training=training)
        sources = [x, *(weight.value for weight in layer.weights)]
        results.append([out, *tape.gradient(out, sources, upstream)])
    for stock, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, stock, atol=1e-5 * np.abs(stock).max())


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probability_is_softmax(classes):
    x = np.concatenate([RNG.normal(size=(2, 3, 4, classes)), RNG.normal(0, 60, (2, 3, 4, classes))])
    power = np.exp(x - x.max(-1, keepdims=True))
    out = np.asarray(Probability()(x.astype(np.float32)))
    np.testing.assert_allclose(out, power / power.sum(-1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 6, 5, 4), (2, 4, 3, 5, 4)])
def test_norm_prelu_is_that_of_its_definition(shape):
    """Ioffe & Szegedy 2015, then He et al. 2015, in float64."""
    layer, x = NormPReLU(), RNG.normal(3, 2, shape)
    layer.build(shape)
    gamma, beta, mean, variance = RNG.uniform(0.5, 2, (4, 4))
    slope = RNG.uniform(-0.3, 0.6, 4)
    layer.norm.set_weights([gamma, beta, mean, variance])
    layer.prelu.set_weights([slope.reshape(layer.prelu.alpha.shape)])
    axes, momentum = tuple(range(len(shape) - 1)), layer.norm.momentum
    own = x.mean(axes), x.var(axes)
    for training, (m, v) in ((False, (mean, variance)), (True, own)):
        y = gamma * (x - m) / np.sqrt(v + layer.norm.epsilon) + beta
        want = np.where(y > 0, y, slope * y)
        call = layer
        if training and keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            call = tf.function(layer)
        out = np.asarray(call(x.astype(np.float32), training=training))
        np.testing.assert_allclose(out, want, atol=1e-4)
    moved = [momentum * a + (1 - momentum) * b for a, b in zip((mean, variance), own, strict=True)]
    np.testing.assert_allclose(layer.norm.moving_mean, moved[0], atol=1e-5)
    np.testing.assert_allclose(layer.norm.moving_variance, moved[1], atol=1e-5)


LAYERS = [
    RankOneConv(7, 5, 2, "glorot_uniform", name="a"),
    StochasticDownsample(3, 6, seed=4, name="b"),
    ZeroPadShortcut(9, name="c"),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_configuration_round_trip(layer):
    text = keras.saving.serialize_keras_object(layer)
    assert text["registered_name"].startswith("volseg_keras>")
    again = keras.saving.deserialize_keras_object(text)
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize(
    "make, argument",
    [
        (lambda: RankOneConv(0), "filters"),
        (lambda: RankOneConv(4, kernel_size=-1), "kernel_size"),
        (lambda: RankOneConv(4, strides=1.5), "strides"),
        (lambda: RankOneConv(2)(np.zeros((1, 4, 4, 4, 1))), "filters"),
        (lambda: StochasticDownsample(2, 3), "region"),
        (lambda: StochasticDownsample(0), "stride"),
        (lambda: ZeroPadShortcut(True), "filters"),
        (lambda: ZeroPadShortcut(2)(np.zeros((1, 4, 4, 3))), "filters"),
    ],
)
def test_wrong_arguments(make, argument):
    with pytest.raises(ValueError, match=f"`{argument}`"):
        make()
