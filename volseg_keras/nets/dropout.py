"""Dropout of few random bits."""

from functools import cache

import keras

from .layers import ceil_div, register


@register
class Dropout(keras.layers.Dropout):
    """Keras's dropout, which under TensorFlow draws 16 random bits a value instead of 32.

    The rate is rounded to a multiple of 1/65536, and what is kept is scaled by the rounded rate.
    """

    def call(self, inputs, training=False):
        """Drop values in training."""
        tensorflow = keras.backend.backend() == "tensorflow"
        if not (training and self.rate > 0 and self.noise_shape is None and tensorflow):
            return super().call(inputs, training=training)
        return sixteen_bit_dropout()(inputs, self.rate, self.seed_generator.next())


@cache
def sixteen_bit_dropout():
    """Return a TensorFlow function of `(x, rate, seed)`."""
    import tensorflow as tf

    levels = 2**16

    @tf.function(jit_compile=True, autograph=False)
    def masked(x, bits, least, scale):
        return tf.where(bits >= least, x * scale, tf.zeros((), x.dtype))

    def dropout(x, rate, seed):
        least = min(round(rate * levels), levels - 1)
        scale = tf.constant(levels / (levels - least), x.dtype)
        size = tf.size(x)
        words = tf.random.stateless_uniform(
            [ceil_div(size, 2)], tf.cast(seed, "int32"), None, None, "uint32"
        )
        bits = tf.reshape(tf.reshape(tf.bitcast(words, "uint16"), [-1])[:size], tf.shape(x))

        @tf.custom_gradient
        def linear(x):
            """Multiply by the mask, and the gradient too: no more than its bits is kept."""
            mask = bits, tf.constant(least, "uint16"), scale
            return masked(x, *mask), lambda upstream: masked(upstream, *mask)

        return linear(x)

    return dropout
