"""Rank-1 convolutions whose gradient is two matrix products, for TensorFlow on a CPU."""

from functools import cache


@cache
def rank_one_conv():
    """Return a TensorFlow function of `(x, *kernels, *biases)`, one of each per spatial axis.

    The convolutions have stride 1 and their maps are concatenated. For their gradient the upstream
    one is laid side by side as every tap of every kernel meets it. That times all kernels is the
    gradient of the input, and the input times that is the gradient of all kernels: large products,
    which take half the time of as many convolutions from or to few maps.
    """
    import tensorflow as tf

    def seen_by_taps(upstream, axis, size):
        """Return what each tap of a kernel along an axis meets of its branch's gradient."""
        before = (size - 1) // 2
        rank, shape = len(upstream.shape), tf.shape(upstream)
        pads = [[size - 1 - before, before] if a == axis else [0, 0] for a in range(rank)]
        padded = tf.pad(upstream, pads)
        starts = ([size - 1 - tap if a == axis else 0 for a in range(rank)] for tap in range(size))
        return [tf.slice(padded, start, shape) for start in starts]

    def as_columns(kernel):
        """Return a kernel as `(channels, taps * maps)`."""
        channels, maps = kernel.shape[-2:]
        taps = tf.reshape(kernel, (-1, channels, maps))
        return tf.reshape(tf.transpose(taps, (1, 0, 2)), (channels, -1))

    def as_kernel(columns, shape):
        """Return columns as a kernel of a shape: undo `as_columns`."""
        channels, maps = shape[-2:]
        taps = tf.reshape(columns, (channels, -1, maps))
        return tf.reshape(tf.transpose(taps, (1, 0, 2)), shape)

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
            columns = [as_columns(kernel) for kernel in kernels]
            d_x = tf.matmul(seen, tf.concat(columns, -1), transpose_b=True)
            d_columns = tf.matmul(flat(x), seen, transpose_a=True)
            d_columns = tf.split(d_columns, [c.shape[-1] for c in columns], -1)
            d_kernels = map(as_kernel, d_columns, (k.shape for k in kernels))
            d_biases = tf.split(tf.reduce_sum(flat(upstream), 0), shares)
            return tf.reshape(d_x, tf.shape(x)), *d_kernels, *d_biases

        return tf.concat(maps, -1), gradient

    def flat(x):
        """Return values as `(voxels, channels)`."""
        return tf.reshape(x, (-1, x.shape[-1]))

    return forward
