"""The graph for prediction: the values of the trained network with far less memory traffic."""

import keras
import numpy as np
from keras import ops

from ..errors import invalid, require
from ..extras import install_command
from .layers import LAST, rank_layer, register
from .models import HEAD, spatial_dims_of, split_normalization, with_normalization

LEVELS = 256


@register
@keras.saving.register_keras_serializable(package="volseg_keras", name="Shares")  # in older files
class InterleavedSoftmax(keras.layers.Layer):
    """Turn the scores of voxels side by side into probabilities.

    Input shape: `(batch, *spatial, positions * maps)`; one map is the score of the foreground
        against the background.
    Output shape: the input's. For one map levels of 1/256, integers from 0 to 255; for several,
        probabilities.

    Args:
        maps: number of scores a voxel.
    """

    def __init__(self, maps, **kwargs):
        super().__init__(**kwargs)
        self.maps = maps

    def call(self, inputs):
        """Return levels or probabilities in float32."""
        if self.maps == 1:
            # 256 times the sigmoid. About a score of 0 this stays exact in bfloat16, in which a
            # sigmoid of 0.499 would become 0.5.
            half = LEVELS / 2
            return half + ops.floor(ops.minimum(half * ops.tanh(inputs / 2), half - 1))
        shares = ops.softmax(ops.reshape(inputs, (-1, self.maps)), axis=-1)
        return ops.reshape(shares, ops.shape(inputs))

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape

    def get_config(self):
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "maps": self.maps}


def inference_graph(model):
    """Return a model that computes the probabilities of `model` faster.

    At full resolution one or two maps cost more memory traffic than the rest of the network. So the
    head, a transposed convolution of stride 2, becomes a 1^d convolution to the maps of all 2^d
    voxels side by side, and for two classes only the difference of their scores is computed.

    Input shape: the input's of `model`.
    Output shape: `(batch, *spatial / f, f**d * maps)` with f = 2, for U-Net 1; position in the f^d
        block first, then the map: one, the foreground's, for two classes, else all classes. Values
        are those of `InterleavedSoftmax`.

    Args:
        model: a network of `build_model`, or one that `with_normalization` wraps.

    Raises:
        ValueError: `model` is not such a network.
    """
    network, constants = split_normalization(model)
    head = head_of(network)
    kernel, bias = head_weights(head)
    if len(bias) == 2:
        kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
    positions, maps, width = kernel.shape
    scores = rank_layer("Conv", spatial_dims_of(network))(
        positions * maps, 1, data_format=LAST, dtype=head.dtype_policy, name="head"
    )
    probability = InterleavedSoftmax(maps, dtype="float32", name="interleaved_softmax")
    graph = keras.Model(network.inputs[0], probability(scores(head.input)), name=network.name)
    spatial = [1] * (len(scores.kernel.shape) - 2)
    kernel = kernel.reshape(positions * maps, width).T.reshape(*spatial, width, positions * maps)
    scores.set_weights([kernel, np.tile(bias, positions)])
    return with_normalization(graph, *constants) if constants else graph


def head_of(network):
    """Return the convolution whose scores, as probabilities, are all that a network gives."""
    layers = {layer.name: layer for layer in getattr(network, "layers", [])}
    head, last = layers.get(HEAD), layers.get("probability")
    if head and last and last.output is network.outputs[0] and last.input is head.output:
        if head.output.shape[-1] > 1:
            return head
    raise invalid("model", "a network of `build_model`", network.name)


def head_weights(head):
    """Return the head's kernel as (positions, classes, width), and its bias."""
    kernel, bias = (ops.convert_to_numpy(w).astype(np.float32) for w in head.weights)
    if "Transpose" not in type(head).__name__:
        kernel = np.swapaxes(kernel, -1, -2)
    return kernel.reshape(-1, *kernel.shape[-2:]), bias


def check_tensorflow():
    """Raise ValueError unless Keras runs on TensorFlow."""
    backend = keras.backend.backend()
    expected = "tensorflow, the only backend that writes formats other than .keras"
    require(backend == "tensorflow", "KERAS_BACKEND", expected, backend)


def write_openvino(model, path):
    """Write the graph of a model for OpenVINO (.xml, its weights beside it), in a new folder.

    Not by `model.export`, which traces the network twice. And of constants, since the converter
    looks up each variable among all others: this takes a third of the time.
    """
    import openvino
    import tensorflow as tf

    (image,) = model.inputs
    groups = model.trainable_variables, model.non_trainable_variables
    values = [[ops.convert_to_numpy(variable) for variable in group] for group in groups]

    def predict(batch):
        constants = [[tf.constant(value) for value in group] for group in values]
        return model.stateless_call(*constants, batch, training=False)[0]

    signature = [tf.TensorSpec(image.shape, image.dtype, name=image.name)]
    graph = tf.function(predict, signature, autograph=False).get_concrete_function()
    path.parent.mkdir(exist_ok=True)
    openvino.serialize(openvino.convert_model(graph), path)


def write_onnx(model, path):
    """Write the graph of a model for ONNX."""
    model.export(str(path), format="onnx", input_signature=model.inputs, verbose=False)


def export_inference_graph(model, path):
    """Write the graph that predicts fastest (`inference_graph`) for other runtimes.

    Args:
        model: a network of `build_model`, or one that `fit` saved.
        path: an .xml file for OpenVINO, whose weights lie beside it, or an .onnx file.

    Raises:
        ValueError: the model is not such a network, or the Keras backend cannot write the format.
    """
    check_tensorflow()
    write = write_openvino if path.suffix == ".xml" else write_onnx
    try:
        write(inference_graph(model), path)
    except ImportError as error:
        expected = f"the packages of `{install_command('onnx')}`"
        raise invalid("engine", expected, error) from error
