"""Write models in formats that run without this package, and compare their predictions."""

from itertools import product
from pathlib import Path

import keras
import numpy as np

from ..datasets.phantom import phantom
from ..errors import invalid, require
from ..files import work_folder, write_json
from ..networks.inference_graph import check_tensorflow
from ..networks.metadata import Normalization
from ..networks.models import metadata
from ..pretrained.presets import METADATA, load_pretrained
from ..pretrained.stored_facts import StoredFacts
from .bioimageio import read_package, write_package
from .formats import new_path
from .runtimes import (
    TOLERANCE,
    ExportSource,
    ReferenceVector,
    Runtime,
    read_keras,
    read_onnx,
    read_openvino,
    read_savedmodel,
    write_keras,
    write_onnx_file,
    write_openvino_folder,
    write_savedmodel,
)

RUNTIMES = {
    "savedmodel": Runtime(write_savedmodel, read_savedmodel),
    "keras": Runtime(write_keras, read_keras),
    "onnx": Runtime(write_onnx_file, read_onnx),
    "openvino": Runtime(write_openvino_folder, read_openvino),
    "bioimageio": Runtime(write_package, read_package),
}
# Sizes of the test vectors, all different, so that exchanged axes are detected.
SIZES, SMALLER = {3: (48, 64, 80), 2: (96, 112)}, {3: (16, 32, 48), 2: (32, 48)}


def export_model(model, path, format="savedmodel", *, card=None, say=None):
    """Write a model for another program, reload it there and compare it with Keras.

    All formats take float32 `(batch, *spatial, channels)`, the input of `model`, any spatial sizes
    that are multiples of 8 (16 for U-Net), and give the probabilities `(batch, *spatial, classes)`.
    A folder also holds a test vector, `test_input.npy` and `test_output.npy`, and a description of
    the input, `assets.extra/volseg.json`.

    Args:
        model: a Keras model, or the name, run or .keras file of one.
        path: what to write; it must not exist, or be an empty folder.
        format: a name of `EXPORT_FORMATS`. "savedmodel": a folder, whose endpoint `serve` gives a
            dict of `probability`. "keras": a .keras file. "onnx": an .onnx file. "openvino": a
            folder with model.xml. "bioimageio": a .zip for bioimage.io that has passed its
            `test_model`.
        card: facts about the model, by default the `card` of `StoredFacts`. "bioimageio" includes
            all of them; the others the threshold, averaging and voxel size.
        say: called with a line about the next step.

    Returns:
        The largest difference from Keras's probabilities on two test vectors.

    Raises:
        FileExistsError: the path is taken.
        ValueError: an argument does not fit, or the difference is above `TOLERANCE`; nothing is
            written then.
    """
    path, say = new_path(path, format), say or (lambda _: None)
    if format != "keras":
        check_tensorflow()
    if isinstance(model, str | Path):
        source, model = model, load_pretrained(model)
        card = StoredFacts.of(source).card if card is None else card
    with work_folder(path) as work:
        part = work / path.name
        say(f"Writing {path}")
        source = ExportSource(model, vectors_of(model), card or {})
        RUNTIMES[format].write(source, part)
        if part.is_dir():
            describe(source, part)
        say("Reloading it to compare it with Keras")
        difference = checked_difference(part, format, source.vectors)
        if path.is_dir():
            path.rmdir()  # Windows replaces no folder
        part.replace(path)
    return difference


def export_savedmodel(model, path, card=None):
    """Write a TensorFlow SavedModel, which runs without this package.

    Args:
        model: a Keras model, see `export_model`.
        path: folder to write.
        card: facts about the model, see `export_model`.

    Returns:
        The `Path` of the folder. Its endpoint `serve` takes float32 `(batch, *spatial, channels)`
        and returns {"probability": `(batch, *spatial, classes)`}.

    Raises:
        FileExistsError: the folder holds files.
        ValueError: an argument does not fit, or the reloaded model differs from Keras.

    Example:
        >>> volseg_keras.export_savedmodel(volseg_keras.load_pretrained("H"), "h")
    """
    export_model(model, path, card=card)
    return Path(path)


def vectors_of(model):
    """Return two `ReferenceVector`s of phantoms.

    The second batch has two phantoms, smaller if the model allows.
    """
    _, *fixed, channels = model.inputs[0].shape
    dims = len(fixed)
    sizes = [size or own for size, own in zip(fixed, SIZES[dims], strict=True)]
    shape = (*[16] * (3 - dims), *(max(size, 16) for size in sizes))
    image = np.stack([phantom(shape, seed)[0] for seed in range(channels)], -1, dtype=np.float32)
    image = (image if dims == 3 else image[8])[tuple(slice(size) for size in sizes)][None]
    # With the statistics of the training data, so that predictions are not constant.
    normalization = metadata(model).normalization or Normalization(0, 1)
    mean, deviation = map(np.asarray, (normalization.mean, normalization.standard_deviation))
    image = ((image - image.mean()) / image.std() * deviation + mean).astype(np.float32)
    smaller = [slice(size or own) for size, own in zip(fixed, SMALLER[dims], strict=True)]
    crop = image[(slice(None), *smaller)]
    with keras.device("cpu:0"):
        return [
            ReferenceVector(batch, keras.ops.convert_to_numpy(model(batch, training=False)))
            for batch in (image, np.concatenate([crop, crop[:, ::-1]]))
        ]


def describe(source, folder):
    """Write the facts about a model and a test vector to the folder of an export."""
    file = folder / METADATA
    file.parent.mkdir(exist_ok=True)
    write_json(file, source.facts(), indent=2)
    np.save(folder / "test_input.npy", source.vectors[0].image)
    np.save(folder / "test_output.npy", source.vectors[0].probability)


def checked_difference(path, format, vectors):
    """Return the largest difference of an export from Keras, or raise ValueError if too large.

    Args:
        path: of the export.
        format: its name.
        vectors: `ReferenceVector`s.
    """
    expected = f"{format} within {TOLERANCE} of Keras"
    try:
        with keras.device("cpu:0"):
            pairs = product(RUNTIMES[format].read(path), vectors)
            difference = np.max([distance(run(v.image), v.probability) for run, v in pairs])
    except Exception as error:  # every runtime has its own errors
        raise invalid("format", expected, f"{error}; nothing is written") from error
    received = f"{difference:.2g} from it; nothing is written"
    require(difference <= TOLERANCE, "format", expected, received)
    return float(difference)


def distance(got, want):
    """Return the largest difference between two arrays, infinity if their shapes differ."""
    return np.abs(got - want).max() if np.shape(got) == want.shape else np.inf
