"""`build_model`: the nine networks from one factory."""

import keras
import numpy as np
from keras import layers

from ..errors import require, require_positive
from .blocks import (
    activation,
    bottleneck_block,
    convolution,
    input_block,
    residual_block,
    transposed,
    unet_level,
)
from .layers import LAST, Probability
from .metadata import ModelMetadata, Normalization
from .variants import get_variant

ENCODER = (40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128)
HALVING = (40, 72)
DECODER = ((64, True), *[(64, False)] * 4, (32, True), *[(32, False)] * 2)
UNET = (64, 128, 256, 512, 1024)
HEAD = "head_conv"  # name of the last convolution


def build_model(variant, *, num_classes=2, input_shape=None, in_channels=1, dropout=0.1, name=None):
    """Build one of the nine networks of Table 1 (Cheng & Varshney, ICIP 2017).

    A-H: a two-branch input block, 12 pre-activation residual blocks, 8 bottleneck blocks, a
    transposed convolution and a softmax in float32. The figure printed in the paper starts at 16
    maps and shows blocks of 24 and 32 but none of 112; built literally it has other parameter
    counts than Table 1. The layout here follows the text, reproduces the counts, and trained 1.3
    times faster to a higher score.

    Input shape: `(batch, *spatial, in_channels)`, standardised grey values. Spatial sizes are free;
        sizes that are multiples of 8 (16 for U-Net) give an output of the same size.
    Output shape: `(batch, *spatial, num_classes)`, probabilities.

    Args:
        variant: "A" to "H" or "U-Net", any case.
        num_classes: number of classes, background included.
        input_shape: `(*spatial, channels)`, or None for free spatial sizes and `in_channels`.
        in_channels: number of image channels; unused where `input_shape` is given.
        dropout: rate of dropout in the residual branches; of U-Net, after the lowest level.
        name: name of the Keras model; the variant's by default.

    Returns:
        An uncompiled `keras.Model`.

    Raises:
        ValueError: the variant is unknown, `input_shape` has the wrong rank or sizes, or a number
            is out of range.

    Example:
        >>> volseg_keras.build_model("H", num_classes=3).output_shape
        (None, None, None, None, 3)
    """
    row = get_variant(variant)
    require_positive(num_classes=num_classes, in_channels=in_channels)
    expected = "2, background and foreground, to 255"
    require(2 <= num_classes <= 255, "num_classes", expected, f"{num_classes=}")
    require(in_channels <= 31, "in_channels", "at most 31", f"{in_channels=}")
    require(0 <= dropout < 1, "dropout", "0 <= dropout < 1", f"{dropout=}")
    inputs = keras.Input(checked_shape(row, input_shape, in_channels), name="standardised_image")
    body = unet if row.unet else residual_network
    outputs = body(inputs, row, num_classes, dropout)
    return keras.Model(inputs, outputs, name=name or row.model_name)


def checked_shape(row, input_shape, in_channels):
    """Return the full input shape of a variant, or raise ValueError."""
    shape = tuple(input_shape) if input_shape else (None,) * row.spatial_dims + (in_channels,)
    factor = row.reduction
    good = len(shape) == row.spatial_dims + 1 and shape[-1] in range(1, 32)
    require(
        good and not any(size and size % factor for size in shape[:-1]),
        "input_shape",
        f"{row.spatial_dims} spatial sizes that are multiples of {factor} (or None) and the "
        "number of channels",
        f"input_shape={shape}",
    )
    return shape


def residual_network(x, row, num_classes, dropout):
    """Apply the residual encoder and decoder of A-H (paper, Section 2.1 and Fig. 1)."""
    x = input_block(x, 32)
    for i, filters in enumerate(ENCODER):
        x = residual_block(
            x,
            filters,
            halve=filters in HALVING,
            rank_one=row.rank_one,
            stochastic=row.stochastic,
            dropout=dropout,
            name=f"encoder{i}",
        )
    for i, (filters, double) in enumerate(DECODER):
        x = bottleneck_block(x, filters, double=double, dropout=dropout, name=f"decoder{i}")
    x = transposed(activation(x, "head"), num_classes, 2, HEAD)
    return softmax(x)


def unet(x, row, num_classes, dropout):
    """Apply Ronneberger's U-Net with same padding and batch normalisation."""
    skips = []
    for filters in UNET[:-1]:
        x = unet_level(x, filters, f"down{filters}")
        skips.append(x)
        x = layers.MaxPooling2D(2, data_format=LAST, name=f"pool{filters}")(x)
    x = layers.Dropout(dropout, name="dropout")(unet_level(x, UNET[-1], f"bottom{UNET[-1]}"))
    for filters, skip in zip(UNET[-2::-1], reversed(skips), strict=True):
        x = transposed(x, x.shape[-1], 2, f"up{filters}_transposed")
        x = layers.Concatenate(name=f"up{filters}_concat")([skip, x])
        x = unet_level(x, filters, f"up{filters}")
    return softmax(convolution(x, num_classes, 1, HEAD))


def softmax(x):
    """Return float32 class probabilities, whatever the precision policy."""
    return Probability(dtype="float32", name="probability")(x)


def with_normalization(model, mean, deviation, contrast=1.0):
    """Return a model of raw grey levels that standardises them and then applies `model`.

    Args:
        model: a network of standardised grey values.
        mean: grey level that becomes 0, or one for each channel.
        deviation: difference of grey levels that becomes 1, or one for each channel.
        contrast: gain of the standardised grey values.
    """
    # Tools that inspect a model list the inputs of both by name, so the names must differ.
    name = "image" if model.inputs[0].name != "image" else "grey_levels"
    inputs = keras.Input(model.inputs[0].shape[1:], name=name)
    mean, deviation = np.asarray(mean, float), np.asarray(deviation, float)
    if deviation.ndim:  # (1, 1, channels), which no configuration of Keras makes channels first
        mean, deviation = mean[None, None], deviation[None, None]
    scale, offset = (1 / deviation).tolist(), (-mean / deviation).tolist()
    x = layers.Rescaling(scale, offset, dtype="float32", name="normalization")(inputs)
    x = layers.Rescaling(float(contrast), dtype="float32", name="contrast")(x)
    return keras.Model(inputs, model(x), name=model.name)


def split_normalization(model):
    """Undo `with_normalization`.

    Returns:
        The network of standardised grey values, and its `Normalization`; `model` itself and None if
        it does not standardise.
    """
    found = {layer.name: layer for layer in model.layers if isinstance(layer, layers.Rescaling)}
    if "normalization" not in found or not isinstance(model.layers[-1], keras.Model):
        return model, None
    scale, offset = (np.asarray(getattr(found["normalization"], n)) for n in ("scale", "offset"))
    scale, offset = (n.ravel() if n.ndim else n for n in (scale, offset))
    contrast = found["contrast"].scale if "contrast" in found else 1.0
    constants = Normalization((-offset / scale).tolist(), (1 / scale).tolist(), contrast)
    return model.layers[-1], constants


def float32_copy(network):
    """Return a network of the same layers that computes in float32, with new weights."""

    def copied(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    return keras.models.clone_model(network, clone_function=copied)


def spatial_dims_of(model):
    """Return the number of spatial axes of a Keras model, 2 or 3."""
    return len(model.inputs[0].shape) - 2


def check_sizes(model):
    """Raise ValueError for a network of fixed spatial sizes, as patches and tiles have others."""
    shape = model.inputs[0].shape[1:-1]
    expected = "a network of free spatial sizes, built without `input_shape`"
    require(not any(shape), "model", expected, f"one of {shape}")


def class_names(count):
    """Return default names for a number of classes."""
    others = ["foreground"] if count == 2 else [f"class {i}" for i in range(1, count)]
    return ["background", *others]


def metadata(model):
    """Return the `ModelMetadata` of a Keras model."""
    return ModelMetadata(
        name=model.name,
        spatial_dims=spatial_dims_of(model),
        channels=model.inputs[0].shape[-1],
        num_classes=model.output_shape[-1],
        normalization=split_normalization(model)[1],
    )
