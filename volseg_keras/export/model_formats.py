"""Formats of single files and folders: how each is written, and run without this package."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import keras

from ..inference.engines import onnx_runner
from ..networks.inference_graph import write_onnx
from ..networks.models import metadata
from ..pretrained.stored_facts import MEASURED

OPENVINO = "model.xml"
ONNX = ("tf2onnx", "onnx", "onnxruntime")
TOLERANCE = 1e-3  # greatest difference of a probability from that of Keras


def write_savedmodel(model, path, *_):
    """Write the SavedModel's graph and variables.

    Not by `keras.export.ExportArchive`, which writes every variable twice.
    """
    import tensorflow as tf

    shape = (None, *model.inputs[0].shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="image")])
    def serve(image):
        return {"probability": model(image, training=False)}

    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    module.serve = serve
    tf.saved_model.save(module, path, signatures={"serving_default": serve, "serve": serve})


def stated(model, card):
    """Return the facts that an export states: constants, classes, and those of a card."""
    return metadata(model).to_json() | {name: card[name] for name in MEASURED if card.get(name)}


def write_keras(model, path, _, card):
    """Write a .keras file, with the facts in the comment of this zip archive."""
    model.save(path)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = json.dumps(stated(model, card)).encode()


def write_onnx_file(model, path, _, card):
    """Write an .onnx file, with the facts as text in its metadata, under `volseg`."""
    import onnx

    write_onnx(model, path)
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {"volseg": json.dumps(stated(model, card))})
    onnx.save(graph, path)


def read_savedmodel(path):
    """Return functions that run the export, here one, from a batch to probabilities."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return [lambda batch: loaded.serve(batch)["probability"]]


def read_keras(path):
    """Return functions that run the export."""
    model = keras.saving.load_model(path, compile=False)
    return [lambda batch: keras.ops.convert_to_numpy(model(batch, training=False))]


def read_onnx(path):
    """Return functions that run the export."""
    return [onnx_runner(path, ["CPUExecutionProvider"])]


def read_openvino(path):
    """Return functions that run the export, in float32 even if OpenVINO would choose bfloat16."""
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path / OPENVINO, "CPU", options)
    return [lambda batch: compiled(batch)[0]]


@dataclass(frozen=True)
class Format:
    """A format of `export_model`.

    Attributes:
        write: called with the model, a path, a test vector and a card.
        read: callable from the path to callables from a batch to probabilities.
        suffix: of the file; nothing for a folder.
        modules: that must be installed.
        extra: of this package that installs them.
    """

    write: Callable
    read: Callable
    suffix: str = ""
    modules: tuple = ()
    extra: str = ""
