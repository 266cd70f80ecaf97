"""Write models in formats that run without this package."""

import json
import shutil
import tempfile
from pathlib import Path

import keras

from ..nets.lean import lean_model
from ..nets.models import split_normalization
from .presets import METADATA


def export_savedmodel(model, path):
    """Write a TensorFlow SavedModel.

    Its endpoint `serve` takes float32 `(batch, *spatial, channels)`, the input of `model`, and
    returns `{"probability": (batch, *spatial, classes)}`. `assets.extra/volseg.json` tells what the
    input is and, for a model that standardises grey levels itself, by which constants.

    Args:
        model: a Keras model.
        path: the folder to write; it must not exist, or be empty.

    Returns:
        The path.

    Raises:
        FileExistsError: the folder has files.
        ValueError: the Keras backend is not TensorFlow.
    """
    path = new_folder(path)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        write_archive(model, part)
        (part / METADATA).parent.mkdir()
        (part / METADATA).write_text(json.dumps(metadata(model), indent=2) + "\n")
        part.chmod(0o755)
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return path


def new_folder(path):
    """Return the path of a SavedModel that can be written, or raise; creates its parent."""
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(
            f"Invalid value for `path`. Expected a new folder. Received: {path} exists"
        )
    check_backend()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def check_backend():
    """Raise ValueError unless Keras runs on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Invalid value for KERAS_BACKEND. Expected tensorflow, which alone writes other "
            f"formats. Received: {keras.backend.backend()}"
        )


def write_archive(model, path):
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


def export_lean(model, path):
    """Write the graph that predicts fastest (`nets.lean.lean_model`) for other runtimes.

    Args:
        model: a network of `build_model`, or one that `fit` saved.
        path: an .xml file for OpenVINO, whose weights lie beside it, or an .onnx file.

    Raises:
        ValueError: the model is no such network, or the Keras backend cannot write the format.
    """
    check_backend()
    formats = {".xml": "openvino", ".onnx": "onnx"}
    lean = lean_model(model)
    options = {"format": formats[path.suffix], "input_signature": lean.inputs, "verbose": False}
    try:
        lean.export(str(path), **options)
    except ImportError as error:
        raise ValueError(
            'Invalid value for `engine`. Expected "volseg_keras[onnx]" to be installed. '
            f"Received: {error}"
        ) from error


def metadata(model):
    """Return what a user of a model must know, as a dict of JSON types."""
    constants = split_normalization(model)[1]
    normalization = constants and dict(zip(("mean", "standard_deviation"), constants, strict=True))
    return {
        "name": model.name,
        "spatial_dims": len(model.inputs[0].shape) - 2,
        "channels": model.inputs[0].shape[-1],
        "num_classes": model.output_shape[-1],
        "input": "grey levels" if normalization else "standardised grey levels",
        "normalization": normalization,
    }
