"""Segment volumes in memory: an object that holds a model, and a function that keeps the last."""

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from ..networks.backend import check_backend
from ..pretrained.choice import AUTO, choose_model
from ..volumes.volume import open_volume
from .open_model import by_keras, find_model, open_model, savedmodel_files
from .options import PredictionOptions
from .predict import label_map, probabilities
from .recent import Recent

# Models that `predict_volume` keeps.
RECENT = Recent(4)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=RECENT.abandon)


class Segmenter:
    """A model that is opened once and then segments any number of volumes.

    The first volume of a shape takes longer, since the network is compiled for its tiles. Volumes
    are standardised by their own mean and standard deviation, as in training, so that a change of
    brightness or contrast, or another type of voxels, makes no difference.

    Args:
        model: "auto" to choose one by the size of a volume's voxels, see `choose_model`; or the
            name of a published model, the folder of a run, a .keras file, a SavedModel or a Keras
            model; or a list of such, to be averaged.
        engine: "keras" (float32), "openvino" (CPU, bfloat16 where that changes no more than 0.1 %
            of a tile's labels), "onnxruntime", or "auto": OpenVINO for a saved model on a CPU,
            else Keras. All but Keras, and a SavedModel by any, give two classes in steps of 1/256.
            A Keras model is run with the weights it has at the time, but by another engine than
            Keras with those that it had when the segmenter was made.
        tta: average over 8 (2D) or 16 (3D) flips and transpositions, that many times as long.
        seamless: tiles read so much context that they agree with one piece within 0.001 (in
            float32), two to four times as long.
        normalization: "volume"; "model" for the constants in the model; or `(mean, standard
            deviation)` of the intensities, for example of the volume that this is a crop of.
        scale: how many voxels the network shall see for one of the volume, along (z, y, x), where
            its voxels are not of the size that the model was trained on.
        tile: `(z, y, x)` of a tile, multiples of 16; a good size by default.

    Input shape: `(z, y, x)`, or `(z, y, x, channels)` for a model of several channels.
    Output shape: `(z, y, x, classes)`.

    Raises:
        ValueError, FileNotFoundError: an argument does not fit.

    Example:
        >>> segmenter = volseg_keras.Segmenter()
        >>> probability = segmenter(volume)  # float32 (z, y, x, 2)
        >>> labels = segmenter.labels(volume, threshold=0.4)  # uint8 (z, y, x)
    """

    def __init__(
        self,
        model=AUTO,
        *,
        engine="auto",
        tta=False,
        seamless=False,
        normalization="volume",
        scale=(1, 1, 1),
        tile=None,
    ):
        self.options = PredictionOptions(tta, seamless, normalization, scale, tile)
        self._engine = engine
        self._predictor = None if is_auto(model) else open_model(model, engine)

    @property
    def metadata(self):
        """What a user of the model must know, a dict as of `networks.models.metadata`.

        None where the model is chosen anew for each volume.
        """
        return dict(self._predictor.metadata) if self._predictor else None

    def _ready(self, volume):
        """Return predictor and options for a volume."""
        if self._predictor:
            return self._predictor, self.options
        return chosen_model(volume, self._engine, self.options)

    def __call__(self, volume, *, on_progress=None):
        """Return float32 probabilities `(z, y, x, classes)` of a volume.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of intensities, of which tiles
                are read where it is a `Volume` or another lazy array; or the path of a volume.
            on_progress: called with the number of tiles done and their total.
        """
        volume = _as_volume(volume)
        return _predicted(*self._ready(volume), volume, on_progress, probabilities)

    def labels(self, volume, threshold=0.5, *, on_progress=None):
        """Return uint8 class ids `(z, y, x)` of a volume.

        Args:
            volume: as of a call.
            threshold: least foreground probability, of two classes; of more, the most probable
                class wins.
            on_progress: called with the number of tiles done and their total.
        """
        volume = _as_volume(volume)
        predictor, options = self._ready(volume)
        predictor.check_labels(threshold)

        def thresholded(slabs):
            return label_map(slabs, threshold)

        return _predicted(predictor, options, volume, on_progress, thresholded)


def is_auto(model):
    """Return whether a model is to be chosen by the volume."""
    return isinstance(model, str) and model == AUTO


def chosen_model(volume, engine, options):
    """Return the `Predictor` of the model that suits a volume, and options with its scale."""
    choice = choose_model(volume.shape[:3], getattr(volume, "voxel_size", None))
    if options.scale == (1, 1, 1):
        options = replace(options, scale=choice.scale)
    return recent_model(choice.model, engine), options


def predict_volume(
    model,
    volume,
    *,
    engine="auto",
    tta=False,
    seamless=False,
    normalization="volume",
    scale=(1, 1, 1),
    tile=None,
    on_progress=None,
    on_tile=None,
):
    """Predict the class probabilities of a volume, tile by tile.

    The last few models are kept, so that only the first call opens a model; one whose file or
    weights have changed is opened anew. `Segmenter` holds a model for as long as you like.

    Args:
        model: as of `Segmenter`, like the options that are not named here.
        volume: `(z, y, x)` array-like of intensities, or the path of a volume; for a model of
            several channels an array-like `(z, y, x, channels)`. Of a `Volume` tiles are read.
        engine: see `model`.
        tta: see `model`.
        seamless: see `model`.
        normalization: see `model`.
        scale: see `model`.
        tile: see `model`.
        on_progress: called with the number of tiles done and their total.
        on_tile: another name of `on_progress`.

    Returns:
        float32 `(z, y, x, classes)`.

    Raises:
        ValueError, FileNotFoundError: an argument does not fit.
    """
    options = PredictionOptions(tta, seamless, normalization, scale, tile)
    volume = _as_volume(volume)
    if is_auto(model):
        predictor, options = chosen_model(volume, engine, options)
    else:
        predictor = recent_model(model, engine)
    return _predicted(predictor, options, volume, on_progress or on_tile, probabilities)


def recent_model(model, engine="auto"):
    """Return the `Predictor` of `open_model`, kept from an earlier call where nothing changed."""
    check_backend()
    return RECENT.get(_version(model, engine), lambda: _Opened(model, engine)).predictor


class _Opened:
    """A predictor with its model, whose identity no other one takes as long as this is kept."""

    def __init__(self, model, engine):
        self.model, self.predictor = model, open_model(model, engine)


def _predicted(predictor, options, volume, on_progress, joined):
    """Return what `joined` makes of the slabs of a volume."""
    predictor.check_volume(volume)
    result = joined(predictor.slabs(volume, options, on_progress=on_progress))
    predictor.release()
    return result


def _as_volume(volume):
    """Return a path's volume, a lazy array as it is, and anything else as an array."""
    if isinstance(volume, str | Path):
        return open_volume(volume)
    lazy = isinstance(getattr(volume, "dtype", None), np.dtype) and hasattr(volume, "__getitem__")
    return volume if lazy else np.asanyarray(volume)


def _version(model, engine):
    """Return what tells a model in its present state, and an engine, from others."""
    if isinstance(model, list | tuple):
        return tuple(_version(member, engine) for member in model)
    if not isinstance(model, str | Path):
        return engine, id(model), *_state(model, engine)
    path = find_model(model)
    files = savedmodel_files(path) if path.is_dir() else [path]
    known = [(str(file.absolute()), file.stat()) for file in files if file.is_file()]
    return engine, *((name, s.st_mtime_ns, s.st_size, s.st_ino) for name, s in known)


def _state(model, engine):
    """Return what the engine of a Keras model was made of, and does not follow by itself."""
    from ..networks.models import metadata

    about = json.dumps(metadata(model), default=str)
    if by_keras(engine):  # it reads the values of these variables anew
        return about, *map(id, model.variables)
    digest = sha256()
    for weights in model.get_weights():
        digest.update(np.ascontiguousarray(weights))
    return about, digest.hexdigest()
