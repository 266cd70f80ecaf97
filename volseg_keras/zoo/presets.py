"""Published and trained models: find them, load them, run them."""

import json
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from ..data.patches import grey_statistics
from ..data.volumes import open_volume
from ..inference import engines
from ..inference.predict import join_slabs, predict_slabs, standardised

# Imported for what they register: a saved model names its layers, loss and metrics.
from ..nets import layers, losses, metrics  # noqa: F401
from .export import METADATA, metadata

PUBLISHED = (
    Path(__file__).parents[1] / "saved_models",
    Path(__file__).parents[2] / "saved_models",
)


@dataclass(frozen=True)
class Segmenter:
    """A model ready to run, whatever it was loaded from.

    Attributes:
        engine: callable from a tile `(z, y, x)` to `(z, y, x, classes)`.
        metadata: as of `zoo.export.metadata`.
    """

    engine: object
    metadata: dict

    def slabs(self, volume, *, tile=None, on_tile=None):
        """Yield finished z slabs `(z, probabilities)`; see `inference.predict.predict_slabs`."""
        constants = self.metadata["normalization"]
        engine = self.engine
        if constants is None:
            engine = standardised(engine, grey_statistics(volume))
        dims = self.metadata["spatial_dims"]
        return predict_slabs(engine, volume, dims, tile=tile, on_tile=on_tile)


def predict_volume(model, volume, *, tile=None, on_tile=None):
    """Predict the class probabilities of a volume, tile by tile.

    A model saved by `fit` standardises grey levels by the constants it was trained with. Any other
    model gets the volume standardised by its own mean and standard deviation, as `PatchSampler`
    does.

    Args:
        model: a Keras model, or what `open_model` takes.
        volume: `(z, y, x)` array-like of grey levels, or the path of a volume.
        tile: `(z, y, x)` of a tile, multiples of 16; a good size by default.
        on_tile: called with the number of tiles done and their total.

    Returns:
        float32 `(z, y, x, classes)`.

    Raises:
        ValueError, FileNotFoundError: an argument does not fit.
    """
    volume = open_volume(volume) if isinstance(volume, str | Path) else np.asanyarray(volume)
    if volume.ndim != 3:
        raise ValueError(
            "Invalid value for `volume`. Expected axes (z, y, x). "
            f"Received: shape {tuple(volume.shape)}"
        )
    return join_slabs(open_model(model).slabs(volume, tile=tile, on_tile=on_tile))


def open_model(model):
    """Return a `Segmenter`.

    Args:
        model: a Keras model, the folder of a run, a .keras file, a SavedModel, or the name of a
            published model.

    Raises:
        ValueError: there is no such model.
    """
    if not isinstance(model, keras.Model) and (Path(model) / "saved_model.pb").is_file():
        return open_savedmodel(Path(model))
    if not isinstance(model, keras.Model):
        model = load_keras(model)
    return Segmenter(engines.keras_engine(model), metadata(model))


def open_savedmodel(path):
    """Return a `Segmenter` of a SavedModel written by `export_savedmodel`."""
    import tensorflow as tf

    if not (path / METADATA).is_file():
        raise ValueError(
            f"Invalid value for `model`. Expected a SavedModel with {METADATA}. Received: {path}"
        )
    about = json.loads((path / METADATA).read_text())
    loaded = tf.saved_model.load(path)
    return Segmenter(engines.savedmodel_engine(loaded, about["spatial_dims"]), about)


def load_pretrained(name):
    """Load a published Keras model, ready for prediction or fine-tuning.

    Args:
        name: such as "H"; any case.

    Returns:
        A `keras.Model` of raw grey levels.

    Raises:
        ValueError: no such model is published.
    """
    found = published().get(str(name).lower())
    if found is None:
        known = ", ".join(sorted(path.parent.name for path in published().values())) or "none yet"
        raise ValueError(
            f"Invalid value for `name`. Expected a published model ({known}). Received: {name!r}"
        )
    return keras.saving.load_model(found, compile=False)


def published():
    """Return the .keras files of published models by lower-case name."""
    files = (file for folder in PUBLISHED for file in folder.glob("*/model.keras"))
    return {file.parent.name.lower(): file for file in files}


def load_keras(model):
    """Load a Keras model from the folder of a run, a .keras file or a published name."""
    path = Path(model)
    if (path / "model.keras").is_file():
        path = path / "model.keras"
    if path.is_file() and path.suffix == ".keras":
        return keras.saving.load_model(path, compile=False)
    if str(model).lower() in published():
        return load_pretrained(model)
    known = ", ".join(sorted(file.parent.name for file in published().values())) or "none yet"
    raise ValueError(
        "Invalid value for `model`. Expected a folder of a run, a .keras file, a SavedModel or a "
        f"published model ({known}). Received: {model}"
    )
