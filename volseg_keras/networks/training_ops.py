"""TensorFlow operations for training that take fewer passes over memory than those of Keras."""

from functools import cache

import keras
from keras import ops


def in_tensorflow_graph():
    """Return whether TensorFlow builds a graph: outside of it, XLA would compile for one use."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


@cache
def compiled(function):
    """Return a function that is compiled by XLA within a traced step of TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    fast = tf.function(function, jit_compile=True, autograph=False)
    return lambda *arguments: (fast if in_tensorflow_graph() else function)(*arguments)


@cache
def channel_sums():
    """Return a TensorFlow function: float32 sums `(channels,)` of `(batch, *spatial, channels)`.

    XLA takes half the time of TensorFlow's own sums and is as exact, but several times as long if
    it casts bfloat16 itself.
    """
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False)
    def sums(x):
        return tf.reduce_sum(tf.reduce_sum(x, range(1, len(x.shape) - 1)), 0)

    return lambda x: sums(tf.cast(x, tf.float32))


@cache
def rank_one_conv():
    """Return a TensorFlow function of `(x, *kernels, *biases)`, one of each per spatial axis.

    The convolutions have stride 1 and their maps are concatenated. For the gradient, copies of the
    upstream gradient are concatenated, shifted for each tap of each kernel. Their product with all
    kernels is the gradient of the input, and the product of the input with them is the gradient of
    all kernels: large matrix products, which take half the time of many small convolutions.
    """
    import tensorflow as tf

    def seen_by_taps(upstream, axis, size):
        """Return the gradient of a branch as shifted for each tap of a kernel along an axis."""
        before = (size - 1) // 2
        rank, shape = len(upstream.shape), tf.shape(upstream)
        pads = [[size - 1 - before, before] if a == axis else [0, 0] for a in range(rank)]
        padded = tf.pad(upstream, pads)
        starts = ([size - 1 - tap if a == axis else 0 for a in range(rank)] for tap in range(size))
        seen = [tf.slice(padded, start, shape) for start in starts]
        return seen[:before] + [upstream] + seen[before + 1 :]

    @tf.custom_gradient
    def forward(x, *weights):
        dims = len(weights) // 2
        kernels, biases = weights[:dims], weights[dims:]
        maps = [
            tf.nn.bias_add(tf.nn.convolution(x, kernel, padding="SAME"), bias)
            for kernel, bias in zip(kernels, biases, strict=True)
        ]

        def gradient(upstream):
            shares = [kernel.shape[-1] for kernel in kernels]
            sizes = [kernel.shape[axis] for axis, kernel in enumerate(kernels)]
            parts = enumerate(zip(tf.split(upstream, shares, -1), sizes, strict=True), start=1)
            seen = [s for axis, (part, size) in parts for s in seen_by_taps(part, axis, size)]
            seen = flat(tf.concat(seen, -1))
            # Unstacking a small array is faster than transposing it.
            taps = (tf.unstack(tf.reshape(k, (-1, *k.shape[-2:]))) for k in kernels)
            matrices = [matrix for own in taps for matrix in own]
            d_x = tf.matmul(seen, tf.concat(matrices, -1), transpose_b=True)
            d_matrices = tf.matmul(flat(x), seen, transpose_a=True)
            d_matrices = iter(tf.split(d_matrices, [m.shape[-1] for m in matrices], -1))
            d_kernels = [
                tf.reshape(tf.stack([next(d_matrices) for _ in range(size)]), kernel.shape)
                for kernel, size in zip(kernels, sizes, strict=True)
            ]
            d_biases = tf.split(tf.cast(channel_sums()(upstream), upstream.dtype), shares)
            return tf.reshape(d_x, tf.shape(x)), *d_kernels, *d_biases

        return tf.concat(maps, -1), gradient

    def flat(x):
        """Return values as `(voxels, channels)`."""
        return tf.reshape(x, (-1, x.shape[-1]))

    return forward


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
            [(size + 1) // 2], tf.cast(seed, "int32"), None, None, "uint32"
        )
        bits = tf.reshape(tf.reshape(tf.bitcast(words, "uint16"), [-1])[:size], tf.shape(x))

        @tf.custom_gradient
        def linear(x):
            """Multiply by the mask, in the gradient too, so that only its bits are kept."""
            mask = bits, tf.constant(least, "uint16"), scale
            return masked(x, *mask), lambda upstream: masked(upstream, *mask)

        return linear(x)

    return dropout


@cache
def take_distinct():
    """Return a function of `(x, places, axis)`: `ops.take` for distinct places.

    TensorFlow's own gradient allows for repeated places and adds their shares on one core.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.take
    import tensorflow as tf

    def take(x, places, axis):
        @tf.custom_gradient
        def gathered(x):
            def gradient(upstream):
                count = tf.size(places)
                # Where each sample went; samples that were not taken point to a zero at the end.
                origin = tf.fill([tf.shape(x)[axis]], count)
                origin = tf.tensor_scatter_nd_update(origin, places[:, None], tf.range(count))
                pads = [[0, int(a == axis)] for a in range(len(x.shape))]
                return tf.gather(tf.pad(upstream, pads), origin, axis=axis)

            return tf.gather(x, places, axis=axis), gradient

        return gathered(x)

    return take
