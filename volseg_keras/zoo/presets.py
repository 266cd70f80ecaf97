"""Published and trained models: find them, load them, run them."""

import json
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from ..data.patches import grey_statistics
from ..data.volumes import open_volume
from ..inference import engines
from ..inference.predict import join_slabs, predict_slabs, segment, standardised

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

    def segment(self, volume, threshold=0.5, keep_probability=False, on_tile=None):
        """Return labels and, if asked for, probability; see `inference.predict.segment`.

        Raises:
            ValueError: a threshold other than 0.5 is asked of more than two classes.
        """
        classes = self.metadata["num_classes"]
        if threshold != 0.5 and classes > 2:
            raise ValueError(
                f"Invalid value for `threshold`. Expected 0.5 for a model of {classes} classes. "
                f"Received: threshold={threshold}"
            )
        slabs = self.slabs(volume, on_tile=on_tile)
        return segment(slabs, volume.shape, threshold, keep_probability)

    def slabs(self, volume, *, tile=None, on_tile=None):
        """Yield finished z slabs `(z, probabilities)`; see `inference.predict.predict_slabs`."""
        if self.metadata["channels"] != 1:
            raise ValueError(
                "Invalid value for `model`. Expected one of one channel. "
                f"Received: {self.metadata['channels']} channels"
            )
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
        model = load_pretrained(model)
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
    """Load a published or trained Keras model.

    Args:
        name: such as "H", in any case; or the folder of a run, or a .keras file.

    Returns:
        A `keras.Model` of raw grey levels. `fit` trains it further; for `model.fit`, sample patches
        with `PatchSampler(..., normalization=(0, 1))`.

    Raises:
        ValueError: there is no such model.
    """
    path = Path(name)
    if (path / "model.keras").is_file():
        path = path / "model.keras"
    if not (path.is_file() and path.suffix == ".keras"):
        path = published().get(str(name).lower())
    if path is None:
        known = ", ".join(sorted(file.parent.name for file in published().values())) or "none yet"
        raise ValueError(
            "Invalid value for `model`. Expected a folder of a run, a .keras file, a SavedModel or "
            f"a published model ({known}). Received: {name}"
        )
    return keras.saving.load_model(path, compile=False)


def published():
    """Return the .keras files of published models by lower-case name."""
    files = (file for folder in PUBLISHED for file in folder.glob("*/model.keras"))
    return {file.parent.name.lower(): file for file in files}
