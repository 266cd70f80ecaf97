"""The formats of `export_model`: how each is written, and how it is run without this package."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from ..inference.engines import onnx_runner
from ..nets.lean import lean_model

OPENVINO = "model.xml"


def check_backend():
    """Raise ValueError unless Keras runs on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Invalid value for KERAS_BACKEND. Expected tensorflow, which alone writes other "
            f"formats. Received: {keras.backend.backend()}"
        )


def write_savedmodel(model, path, *_):
    """Write the SavedModel's graph and variables."""
    import tensorflow as tf

    def serve(image):
        return {"probability": model(image, training=False)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    shape = (None, *model.inputs[0].shape[1:])
    signature = [tf.TensorSpec(shape, tf.float32, name="image")]
    archive.add_endpoint("serve", serve, input_signature=signature)
    archive.write_out(path, verbose=False)


def write_graph(model, path, format):
    """Write the graph of a model for OpenVINO (.xml, its weights beside it) or ONNX."""
    model.export(str(path), format=format, input_signature=model.inputs, verbose=False)


def write_onnx(model, path, *_):
    """Write an .onnx file."""
    write_graph(model, path, "onnx")


def write_openvino(model, path, *_):
    """Write a folder with OpenVINO's two files."""
    path.mkdir()
    write_graph(model, path / OPENVINO, "openvino")


def write_bioimageio(model, path, vector, card):
    """Write a package for bioimage.io."""
    from .bioimageio import write_package

    write_package(model, path, vector, card)


def export_lean(model, path):
    """Write the graph that predicts fastest (`nets.lean.lean_model`) for other runtimes.

    Args:
        model: a network of `build_model`, or one that `fit` saved.
        path: an .xml file for OpenVINO, whose weights lie beside it, or an .onnx file.

    Raises:
        ValueError: the model is no such network, or the Keras backend cannot write the format.
    """
    check_backend()
    try:
        write_graph(lean_model(model), path, {".xml": "openvino", ".onnx": "onnx"}[path.suffix])
    except ImportError as error:
        raise ValueError(
            'Invalid value for `engine`. Expected "volseg_keras[onnx]" to be installed. '
            f"Received: {error}"
        ) from error


def read_savedmodel(path):
    """Return what runs the export: callables from a batch to probabilities, here one."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return [lambda batch: loaded.serve(batch)["probability"]]


def read_keras(path):
    """Return what runs the export."""
    model = keras.saving.load_model(path, compile=False)
    return [lambda batch: keras.ops.convert_to_numpy(model(batch, training=False))]


def read_onnx(path):
    """Return what runs the export."""
    return [onnx_runner(path, ["CPUExecutionProvider"])]


def read_openvino(path):
    """Return what runs the export, in float32 also where OpenVINO would choose bfloat16."""
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path / OPENVINO, "CPU", options)
    return [lambda batch: compiled(batch)[0]]


def read_bioimageio(path):
    """Return what runs the weights of a package that has passed its own test."""
    from .bioimageio import read_package

    return read_package(path)


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


ONNX = ("tf2onnx", "onnx", "onnxruntime")
FORMATS = {
    "savedmodel": Format(write_savedmodel, read_savedmodel),
    "keras": Format(lambda model, path, *_: model.save(path), read_keras, ".keras"),
    "onnx": Format(write_onnx, read_onnx, ".onnx", ONNX, "onnx"),
    "openvino": Format(write_openvino, read_openvino),
    "bioimageio": Format(
        write_bioimageio, read_bioimageio, ".zip", (*ONNX, "bioimageio"), "bioimageio"
    ),
}
