"""Layers that Keras does not have, for two and three spatial axes."""

import keras
from keras import ops

from ..errors import require, require_positive
from .devices import tensorflow_on_cpu
from .training_ops import rank_one_conv, sixteen_bit_dropout, take_distinct

# Given to every layer, since the user's Keras configuration may have another default.
LAST = "channels_last"
register = keras.saving.register_keras_serializable(package="volseg_keras")


def rank_layer(kind, spatial_dims, ending=""):
    """Return the Keras layer class of a rank, e.g. `rank_layer("Conv", 3)` is `Conv3D`."""
    return getattr(keras.layers, f"{kind}{spatial_dims}D{ending}")


def ceil_div(size, divisor):
    """Return ceil(size / divisor) of integers or integer tensors."""
    return (size + divisor - 1) // divisor


@register
class RankOneConv(keras.layers.Layer):
    """Parallel rank-1 convolutions, one per spatial axis, concatenated (paper, Section 2.2).

    In 2D the branches have kernels 3x1 and 1x3, in 3D 3x1x1, 1x3x1 and 1x1x3. Each branch gives
    `filters / d` maps; a remainder goes to the first ones. Zero "same" padding, with bias.

    Input shape: `(batch, *spatial, channels)` with two or three spatial axes.
    Output shape: `(batch, *ceil(spatial / strides), filters)`.

    Args:
        filters: number of output maps, at least one per spatial axis.
        kernel_size: length of each one-dimensional kernel.
        strides: stride along every spatial axis.
        kernel_initializer: initializer of the kernels.

    Raises:
        ValueError: an argument is not a positive integer, or `filters` is below the number of
            spatial axes.
    """

    def __init__(self, filters, kernel_size=3, strides=1, kernel_initializer="he_normal", **kwargs):
        super().__init__(**kwargs)
        require_positive(filters=filters, kernel_size=kernel_size, strides=strides)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.branches = []

    def build(self, input_shape):
        """Create one branch per spatial axis."""
        dims = len(input_shape) - 2
        expected = f"at least {dims}, one per spatial axis"
        require(self.filters >= dims, "filters", expected, f"filters={self.filters}")
        share, rest = divmod(self.filters, dims)
        for axis in range(dims):
            branch = rank_layer("Conv", dims)(
                share + (axis < rest),
                [self.kernel_size if a == axis else 1 for a in range(dims)],
                strides=self.strides,
                padding="same",
                data_format=LAST,
                kernel_initializer=self.kernel_initializer.clone(),
                dtype=self.dtype_policy,
                trainable=self.trainable,
                name=f"axis_{axis}",
            )
            branch.build(input_shape)
            self.branches.append(branch)

    def call(self, inputs, training=False):
        """Return the concatenated maps of all branches."""
        if training and self.strides == 1 and tensorflow_on_cpu():
            weights = [getattr(b, name) for name in ("kernel", "bias") for b in self.branches]
            return rank_one_conv()(inputs, *map(ops.copy, weights))
        return ops.concatenate([branch(inputs) for branch in self.branches], axis=-1)

    def compute_output_shape(self, input_shape):
        """Return `(batch, *ceil(spatial / strides), filters)`."""
        return (input_shape[0], *reduced(input_shape[1:-1], self.strides), self.filters)

    def get_config(self):
        """Return the arguments of `__init__`."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@register
class StochasticDownsample(keras.layers.Layer):
    """Downsample by keeping random samples of each region (paper, Section 2.3 and Fig. 2).

    In training every spatial axis is cut in regions of `region` samples, `region / stride`
    distinct positions are drawn in each, their order is kept, and the product of the axes'
    patterns is taken; one pattern a call. At inference: average pooling.

    Input shape: `(batch, *spatial, channels)` with any number of spatial axes.
    Output shape: `(batch, *ceil(spatial / stride), channels)`.

    Args:
        stride: s, the factor of reduction.
        region: t, the length of a region; a multiple of `stride`.
        seed: integer seed of the patterns, or None.

    Raises:
        ValueError: `stride` is not a positive integer or `region` not a positive multiple of it.
    """

    def __init__(self, stride=2, region=4, seed=None, **kwargs):
        super().__init__(**kwargs)
        require_positive(stride=stride, region=region)
        require(region % stride == 0, "region", "a multiple of `stride`", f"{region=}, {stride=}")
        self.stride = stride
        self.region = region
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.averaging = False  # True: average in training too

    def pattern(self, size):
        """Draw the kept positions of an axis of `size` samples: `ceil(size / stride)`, rising."""
        stride, region = self.stride, self.region
        regions = ceil_div(size, region)
        start = region * ops.arange(regions, dtype="int32")[:, None]
        inside = ops.arange(region, dtype="int32")[None]
        draw = keras.random.uniform((regions, region), dtype="float32", seed=self.seed_generator)
        draw = ops.where(start + inside < size, draw, 2.0)
        order = ops.cast(ops.argsort(draw, axis=1)[:, : region // stride], "int32")
        share = ceil_div(ops.minimum(size - start, region), stride)
        kept = ops.where(inside[:, : region // stride] < share, start + order, size)
        return ops.reshape(ops.sort(kept, axis=1), (-1,))[: ceil_div(size, stride)]

    def call(self, inputs, training=False):
        """Return random samples in training, the mean of every stride^d block otherwise."""
        if not training or self.averaging:
            return ops.average_pool(
                inputs, self.stride, self.stride, padding="same", data_format=LAST
            )
        shape = ops.shape(inputs)
        for axis in range(1, len(shape) - 1):
            inputs = take_distinct()(inputs, self.pattern(shape[axis]), axis)
        return inputs

    def compute_output_shape(self, input_shape):
        """Return `(batch, *ceil(spatial / stride), channels)`."""
        return (input_shape[0], *reduced(input_shape[1:-1], self.stride), input_shape[-1])

    def get_config(self):
        """Return the arguments of `__init__`."""
        own = {"stride": self.stride, "region": self.region, "seed": self.seed}
        return {**super().get_config(), **own}


@register
class ZeroPadShortcut(keras.layers.Layer):
    """Widen a shortcut by appending zero maps (paper, Section 2.1; He et al. 2016, option A).

    Input shape: `(batch, *spatial, channels)`.
    Output shape: `(batch, *spatial, filters)`.

    Args:
        filters: number of output maps, at least those of the input.

    Raises:
        ValueError: the input has more than `filters` maps.
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        require_positive(filters=filters)
        self.filters = filters

    def build(self, input_shape):
        """Check that the input is not wider than the output."""
        expected = f"at least the {input_shape[-1]} maps of the input"
        good = input_shape[-1] <= self.filters
        require(good, "filters", expected, f"filters={self.filters}")

    def call(self, inputs):
        """Append zero maps."""
        extra = self.filters - inputs.shape[-1]
        return ops.pad(inputs, [[0, 0]] * (len(inputs.shape) - 1) + [[0, extra]])

    def compute_output_shape(self, input_shape):
        """Return `(batch, *spatial, filters)`."""
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "filters": self.filters}


@register
class Dropout(keras.layers.Dropout):
    """Keras's dropout, but with 16 random bits a value under TensorFlow, instead of 32.

    The rate is rounded to a multiple of 1/65536, and kept values are scaled accordingly.
    """

    def call(self, inputs, training=False):
        """Drop values in training."""
        tensorflow = keras.backend.backend() == "tensorflow"
        if not (training and self.rate > 0 and self.noise_shape is None and tensorflow):
            return super().call(inputs, training=training)
        return sixteen_bit_dropout()(inputs, self.rate, self.seed_generator.next())


@register
class Probability(keras.layers.Layer):
    """Softmax over the last axis; for two classes a sigmoid, which is equal and much faster.

    Input and output shape: `(batch, *spatial, classes)`.
    """

    def call(self, inputs):
        """Return probabilities that sum to 1 over the classes."""
        if inputs.shape[-1] == 2:
            return ops.sigmoid(inputs - ops.flip(inputs, axis=-1))
        return ops.softmax(inputs, axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape


def reduced(sizes, stride):
    """Return ceil(size / stride) of each size, None where a size is free."""
    return tuple(size and ceil_div(size, stride) for size in sizes)
