"""The blocks of the networks as functions on Keras tensors, for two and three axes."""

from keras import layers

from .layers import (
    LAST,
    Dropout,
    RankOneConv,
    StochasticDownsample,
    ZeroPadShortcut,
    rank_layer,
)
from .norm_prelu import NormPReLU


def spatial_dims_of_tensor(x):
    """Return the number of spatial axes of `(batch, *spatial, channels)`."""
    return len(x.shape) - 2


def convolution(x, filters, size, name, strides=1, ending=""):
    """Convolve with zero "same" padding, he_normal and a bias."""
    layer = rank_layer("Conv", spatial_dims_of_tensor(x), ending)
    options = {"padding": "same", "data_format": LAST, "name": name}
    return layer(filters, size, strides, kernel_initializer="he_normal", **options)(x)


def transposed(x, filters, size, name):
    """Convolve transposed with stride 2: every spatial axis doubles."""
    return convolution(x, filters, size, name, strides=2, ending="Transpose")


def activation(x, name):
    """Apply batch normalisation and a PReLU with one slope per map."""
    return NormPReLU(name=f"{name}_norm_prelu")(x)


def input_block(x, filters):
    """Halve the resolution: max-pooling beside a convolution of stride 2, `filters` maps in all."""
    pool = rank_layer("MaxPooling", spatial_dims_of_tensor(x))
    pooled = pool(2, padding="same", data_format=LAST, name="input_block_pool")(x)
    convolved = convolution(x, filters - x.shape[-1], 3, "input_block_conv", strides=2)
    return layers.Concatenate(name="input_block_concat")([pooled, convolved])


def residual_block(x, filters, *, halve, rank_one, stochastic, dropout, name):
    """Pre-activation residual block of the encoder; a halving one has stride 2."""

    def conv(y, strides, label):
        if rank_one:
            return RankOneConv(filters, strides=strides, name=label)(y)
        return convolution(y, filters, 3, label, strides=strides)

    y = conv(activation(x, f"{name}_1"), 2 if halve else 1, f"{name}_conv1")
    y = Dropout(dropout, name=f"{name}_dropout")(activation(y, f"{name}_2"))
    y = conv(y, 1, f"{name}_conv2")
    if not halve:
        x = ZeroPadShortcut(filters, name=f"{name}_pad")(x)
    elif stochastic:
        x = StochasticDownsample(name=f"{name}_downsample")(x)
        x = convolution(x, filters, 1, f"{name}_shortcut")
    else:
        # A 1^d convolution of stride 2 is plain subsampling and the convolution in one.
        x = convolution(x, filters, 1, f"{name}_shortcut", strides=2)
    return layers.Add(name=f"{name}_add")([x, y])


def bottleneck_block(x, filters, *, double, dropout, name):
    """Pre-activation bottleneck block of the decoder; a doubling one has a transposed 3^d."""
    inner = filters // 4
    y = convolution(activation(x, f"{name}_1"), inner, 1, f"{name}_conv1")
    middle = transposed if double else convolution
    y = middle(activation(y, f"{name}_2"), inner, 3, f"{name}_conv2")
    y = Dropout(dropout, name=f"{name}_dropout")(activation(y, f"{name}_3"))
    y = convolution(y, filters, 1, f"{name}_conv3")
    if double:
        x = convolution(x, filters, 1, f"{name}_shortcut")
        up = rank_layer("UpSampling", spatial_dims_of_tensor(x))
        x = up(2, data_format=LAST, name=f"{name}_up")(x)
    return layers.Add(name=f"{name}_add")([x, y])


def unet_level(x, filters, name):
    """Two convolutions of 3^d, each with batch normalisation and ReLU."""
    for i in (1, 2):
        x = convolution(x, filters, 3, f"{name}_conv{i}")
        x = layers.BatchNormalization(name=f"{name}_bn{i}")(x)
        x = layers.ReLU(name=f"{name}_relu{i}")(x)
    return x
