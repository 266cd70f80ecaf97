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
            # Transposing a small array takes longer than to take it apart.
            taps = (tf.unstack(tf.reshape(k, (-1, *k.shape[-2:]))) for k in kernels)
            matrices = [matrix for own in taps for matrix in own]
            d_x = tf.matmul(seen, tf.concat(matrices, -1), transpose_b=True)
            d_matrices = tf.matmul(flat(x), seen, transpose_a=True)
            d_matrices = iter(tf.split(d_matrices, [m.shape[-1] for m in matrices], -1))
            d_kernels = [
                tf.reshape(tf.stack([next(d_matrices) for _ in range(size)]), kernel.shape)
                for kernel, size in zip(kernels, sizes, strict=True)
            ]
            total = tf.reduce_sum(tf.cast(flat(upstream), tf.float32), 0)
            d_biases = tf.split(tf.cast(total, upstream.dtype), shares)
            return tf.reshape(d_x, tf.shape(x)), *d_kernels, *d_biases

        return tf.concat(maps, -1), gradient

    def flat(x):
        """Return values as `(voxels, channels)`."""
        return tf.reshape(x, (-1, x.shape[-1]))

    return forward
