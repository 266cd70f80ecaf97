"""Batch normalisation and PReLU as one layer, whose training step takes few passes over memory."""

from functools import cache

import keras
from keras import ops

from .layers import register
from .training_ops import channel_sums, in_tensorflow_graph


@register
class NormPReLU(keras.layers.Layer):
    """Batch normalisation, then a PReLU with one slope per map (paper, Section 2.1).

    It holds a `keras.layers.BatchNormalization` and a `keras.layers.PReLU`, which compute its
    values in all cases but one: a compiled training step under TensorFlow in float32 or bfloat16,
    where TensorFlow's own gradient of the pair takes twice the time.

    Input and output shape: `(batch, *spatial, channels)`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        options = {"dtype": self.dtype_policy, "trainable": self.trainable}
        self.norm = keras.layers.BatchNormalization(name="norm", **options)

    def build(self, input_shape):
        """Create the weights of both layers."""
        axes = list(range(1, len(input_shape) - 1))
        options = {"dtype": self.dtype_policy, "trainable": self.trainable}
        self.prelu = keras.layers.PReLU(shared_axes=axes, name="prelu", **options)
        self.norm.build(input_shape)
        self.prelu.build(input_shape)

    def call(self, inputs, training=False):
        """Normalise by the batch's statistics in training, by the moving ones otherwise."""
        norm = self.norm
        precise = self.compute_dtype in ("float32", "bfloat16")
        if not (training and norm.trainable and precise and in_tensorflow_graph()):
            return self.prelu(norm(inputs, training=training))
        weights = [ops.reshape(w, (-1,)) for w in (norm.gamma, norm.beta, self.prelu.alpha)]
        outputs, mean, variance = norm_prelu(norm.epsilon)(inputs, *weights)
        for moving, batch in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
            moving.assign(moving * norm.momentum + batch * (1 - norm.momentum))
        return outputs

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape


@cache
def norm_prelu(epsilon):
    """Return a TensorFlow function of `(x, gamma, beta, slope)`: output, batch mean, variance.

    XLA compiles elementwise work, one pass for each group of results, and sums apart from it: fused
    they take twice the time. Only the input is kept for the gradient. Numbers are float32 inside;
    the output and the gradient of `x` have the type of `x`.
    """
    import tensorflow as tf

    sums = channel_sums()

    def in_float32(function, narrow=False):
        """Compile a function of float32; `narrow` casts the result to the type of `x`."""

        def run(x, *others):
            result = function(*(tf.cast(value, tf.float32) for value in (x, *others)))
            return tf.cast(result, x.dtype) if narrow else result

        return tf.function(run, jit_compile=True, autograph=False)

    def prelu(x, scale, shift, slope):
        y = x * scale + shift
        return tf.maximum(y, 0.0) + slope * tf.minimum(y, 0.0)

    def terms(x, upstream, mean, scale, shift, slope):
        y = x * scale + shift
        d_y = tf.where(y > 0, upstream, slope * upstream)
        return d_y, d_y * (x - mean), upstream * tf.minimum(y, 0.0)

    def share(x, d_y, scale, x_share, constant):
        return scale * d_y + x_share * x + constant

    squares = in_float32(tf.math.squared_difference)
    activate, combine = in_float32(prelu, narrow=True), in_float32(share, narrow=True)
    products = in_float32(terms)

    @tf.custom_gradient
    def forward(x, gamma, beta, slope):
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
        mean = sums(x) / count
        variance = sums(squares(x, mean)) / count
        inverse = tf.math.rsqrt(variance + epsilon)
        scale = inverse * gamma
        shift = beta - mean * scale

        def gradient(upstream, *_):
            d_y, *others = products(x, upstream, mean, scale, shift, slope)
            d_beta, centred, d_slope = map(sums, (d_y, *others))
            x_share = -scale * inverse**2 * centred / count
            constant = -x_share * mean - scale * d_beta / count
            d_x = combine(x, d_y, scale, x_share, constant)
            return d_x, centred * inverse, d_beta, tf.cast(d_slope, slope.dtype)

        return (activate(x, scale, shift, slope), mean, variance), gradient

    return forward
