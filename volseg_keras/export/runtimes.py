"""The programs that run exports: how a model is written for each, and run by it."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np

from ..inference.engines.runtimes import onnx_runner
from ..networks.inference_graph import write_onnx, write_openvino
from ..networks.models import metadata
from ..pretrained.stored_facts import MEASURED

OPENVINO = "model.xml"
TOLERANCE = 1e-3  # largest difference of a probability from that of Keras


@dataclass(frozen=True)
class ReferenceVector:
    """An input of a model and its output by Keras.

    Attributes:
        image: `(batch, *spatial, channels)`.
        probability: `(batch, *spatial, classes)`.
    """

    image: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True)
class ExportSource:
    """A model to export, and what is written with it.

    Attributes:
        model: the Keras model.
        vectors: `ReferenceVector`s, the first of which goes into the export.
        card: facts about the model, see `StoredFacts`.
    """

    model: keras.Model
    vectors: list
    card: dict = field(default_factory=dict)

    def facts(self):
        """Return the facts in an export: its metadata, and the measured facts of the card."""
        known = {name: self.card.get(name) for name in MEASURED}
        measured = {name: value for name, value in known.items() if value is not None}
        return metadata(self.model).to_json() | measured


@dataclass(frozen=True)
class Runtime:
    """A program that runs exports.

    Attributes:
        write: writes an `ExportSource` to a path.
        read: returns functions, from a batch to probabilities, that run the export at a path.
    """

    write: Callable
    read: Callable


def write_savedmodel(source, path):
    """Write the SavedModel's graph and variables.

    Not by `keras.export.ExportArchive`, which writes every variable twice.
    """
    import tensorflow as tf

    model = source.model
    shape = (None, *model.inputs[0].shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="image")])
    def serve(image):
        return {"probability": model(image, training=False)}

    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    module.serve = serve
    tf.saved_model.save(module, path, signatures={"serving_default": serve, "serve": serve})


def write_keras(source, path):
    """Write a .keras file, with the facts in the comment of this zip archive."""
    source.model.save(path)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = json.dumps(source.facts()).encode()


def write_onnx_file(source, path):
    """Write an .onnx file, with the facts as text in its metadata, under `volseg`."""
    import onnx

    write_onnx(source.model, path)
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {"volseg": json.dumps(source.facts())})
    onnx.save(graph, path)


def write_openvino_folder(source, path):
    """Write OpenVINO's model.xml and its weights."""
    write_openvino(source.model, path / OPENVINO)


def read_savedmodel(path):
    """Return functions that run the export (here one) on a batch and return probabilities."""
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
