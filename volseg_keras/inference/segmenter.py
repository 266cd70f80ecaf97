"""Segment volumes in memory: a class that holds a model, and a function that keeps recent ones."""

import os
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from ..networks.backend import check_backend
from ..pretrained.choice import AUTO, choose_model, is_auto
from ..pretrained.presets import METRICS
from ..volumes.volume import open_volume
from .engines.output import label_map, probabilities
from .lru_cache import LruCache
from .open_model import (
    by_keras,
    check_engine,
    find_model,
    is_name,
    open_model,
    savedmodel_files,
)
from .options import PredictionOptions

# Models that `predict_volume` keeps.
RECENT = LruCache(4)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=RECENT.abandon)


class Segmenter:
    """A model that is opened once and then segments any number of volumes.

    The first volume of a shape takes longer, since the network is compiled for its tiles. Volumes
    are standardised with their own mean and standard deviation, as in training, so that changes of
    brightness, contrast or data type make no difference.

    Args:
        model: "auto" for the published models that suit the volume, see `choose_model`; or the name
            of a published model, the folder of a run, a .keras file, a SavedModel or a Keras model;
            or a list of these, whose probabilities are averaged.
        engine: "keras" (float32), "openvino" (CPU, bfloat16 if that changes no more than 1 % of
            the labels of a class in a tile, or 100 voxels), "onnxruntime", or "auto": OpenVINO for
            a saved model on a CPU, else Keras. OpenVINO and ONNX Runtime give probabilities of two
            classes in steps of 1/256, except for a SavedModel. Keras runs a Keras model with its
            current weights; the other engines run it with those that it had when the segmenter was
            made.
        tta: average over all 8 (2D) or 16 (3D) flips and transpositions, which takes as many times
            as long; False for none; a number for that many of them; by default the number stored
            with the model.
        seamless: give tiles enough context to agree within 0.001 (in float32, without zooms and at
            a scale of 1) with one prediction of the whole volume, at two to four times the cost.
        normalization: "volume" to standardise intensities by the volume's own statistics, the
            default unless the model was trained with other ones; "model" for the constants in the
            model; or `(mean, standard deviation)` of the intensities, for example those of the
            larger volume it was cut from.
        scale: voxels that the network sees per voxel of the volume, along (z, y, x), for volumes of
            another voxel size than the model was trained at; by default 1 for a given model, and
            for "auto" the scale that matches the voxel size of the volume.
        tile: `(z, y, x)` of a tile, multiples of 16; a good size by default.
        smoothing: of a 2D network's probabilities over neighbouring sections: a standard deviation
            in pixels that the network sees, divided by the thickness of the sections, which is
            measured; 0 for none; by default the value stored with the model.
        zooms: pixels that a 2D network sees per pixel of the scaled volume, along y and x;
            probabilities at several zooms are averaged; by default those stored with the model.
        denoise: standard deviation, in pixels that the network sees, of a Gaussian that smooths the
            image first; 0 for none; by default, volumes noisier than those that a 3D network was
            trained on are smoothed, see `inference.denoising`.

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
        tta=None,
        seamless=False,
        normalization=None,
        scale=None,
        tile=None,
        smoothing=None,
        zooms=None,
        denoise=None,
    ):
        self.options = PredictionOptions(
            tta=tta,
            seamless=seamless,
            normalization=normalization,
            scale=given_scale(scale),
            tile=tile,
            smoothing=smoothing,
            zooms=zooms,
            denoise=denoise,
        )
        check_engine(engine)
        self._engine, self._rescale = engine, scale is None
        self._predictor = None if is_auto(model) else open_model(model, engine)

    @property
    def metadata(self):
        """`ModelMetadata` as a dict; None if each volume has a model chosen for it."""
        return self._predictor.metadata.to_json() if self._predictor else None

    def _ready(self, volume):
        """Return predictor and options for a volume."""
        if self._predictor:
            return self._predictor, self.options
        return choose_predictor(volume, self._engine, self.options, self._rescale)

    def __call__(self, volume, *, on_progress=None):
        """Return float32 probabilities `(z, y, x, classes)` of a volume.

        Args:
            volume: `(z, y, x)` or `(z, y, x, channels)` array-like of intensities, or the path of a
                volume. A `Volume` or another lazy array is read tile by tile.
            on_progress: called with the number of tiles done and their total.
        """
        volume = _lazy_array(volume)
        return run_prediction(*self._ready(volume), volume, on_progress, probabilities)

    def labels(self, volume, threshold=0.5, *, on_progress=None):
        """Return uint8 class ids `(z, y, x)` of a volume.

        Args:
            volume: same as in a call.
            threshold: minimum foreground probability for two classes; for more, the most probable
                class wins.
            on_progress: called with the number of tiles done and their total.
        """
        volume = _lazy_array(volume)
        predictor, options = self._ready(volume)
        predictor.check_labels(threshold)
        thresholded = partial(label_map, threshold=threshold)
        return run_prediction(predictor, options, volume, on_progress, thresholded)


def given_scale(scale):
    """Return a scale, 1 along every axis for None."""
    return (1, 1, 1) if scale is None else scale


def choose_predictor(volume, engine, options, rescale):
    """Return the `Predictor` of the models that suit a volume, and options with their scale."""
    check_engine(engine)
    choice = choose_model(volume)
    if rescale:
        options = replace(options, scale=choice.scale(volume))
    return recent_model(choice.models, engine), options


def predict_volume(
    model,
    volume,
    *,
    engine="auto",
    tta=None,
    seamless=False,
    normalization=None,
    scale=None,
    tile=None,
    smoothing=None,
    zooms=None,
    denoise=None,
    on_progress=None,
):
    """Predict the class probabilities of a volume, tile by tile.

    The last few models are kept open, so that only the first call opens a model, and calls after
    its file or weights have changed. `Segmenter` keeps a model for as long as you need it.

    Args:
        model: see `Segmenter`.
        volume: `(z, y, x)` array-like of intensities, or the path of a volume; for a model of
            several channels an array-like `(z, y, x, channels)`. A `Volume` is read tile by tile.
        engine: see `Segmenter`.
        tta: see `Segmenter`.
        seamless: see `Segmenter`.
        normalization: see `Segmenter`.
        scale: see `Segmenter`.
        tile: see `Segmenter`.
        smoothing: see `Segmenter`.
        zooms: see `Segmenter`.
        denoise: see `Segmenter`.
        on_progress: called with the number of tiles done and their total.

    Returns:
        float32 `(z, y, x, classes)`.

    Raises:
        ValueError, FileNotFoundError: an argument is not valid; the message names it.
    """
    options = PredictionOptions(
        tta=tta,
        seamless=seamless,
        normalization=normalization,
        scale=given_scale(scale),
        tile=tile,
        smoothing=smoothing,
        zooms=zooms,
        denoise=denoise,
    )
    volume = _lazy_array(volume)
    if is_auto(model):
        predictor, options = choose_predictor(volume, engine, options, scale is None)
    else:
        predictor = recent_model(model, engine)
    return run_prediction(predictor, options, volume, on_progress, probabilities)


def recent_model(model, engine="auto"):
    """Return the `Predictor` of `open_model`, that of an earlier call if nothing changed."""
    check_backend()
    return RECENT.get(_cache_key(model, engine), lambda: _Opened(model, engine)).predictor


class _Opened:
    """A predictor and its model, which is kept so that no other model gets the same `id`."""

    def __init__(self, model, engine):
        self.model, self.predictor = model, open_model(model, engine)


def run_prediction(predictor, options, volume, on_progress, join):
    """Predict a volume; return its slabs joined by `join`."""
    predictor.check(volume, options)
    try:
        return join(predictor.slabs(volume, options, on_progress))
    finally:
        predictor.release()


def _lazy_array(volume):
    """Return the volume of a path, a lazy array as it is, anything else as an array."""
    if isinstance(volume, str | Path):
        return open_volume(volume)
    lazy = isinstance(getattr(volume, "dtype", None), np.dtype) and hasattr(volume, "__getitem__")
    return volume if lazy else np.asanyarray(volume)


def _cache_key(model, engine):
    """Return a key of a model in its current state, and an engine."""
    if isinstance(model, list | tuple):
        return tuple(_cache_key(member, engine) for member in model)
    if not is_name(model):
        return engine, id(model), *_weights_key(model, engine)
    path = find_model(model)
    files = savedmodel_files(path) if path.is_dir() else [path, path.with_name(METRICS)]
    known = [(str(file.absolute()), file.stat()) for file in files if file.is_file()]
    return engine, *((name, s.st_mtime_ns, s.st_size, s.st_ino) for name, s in known)


def _weights_key(model, engine):
    """Return a key of the parts of a Keras model whose changes its engine would not notice."""
    from ..networks.models import metadata

    facts = repr(metadata(model))
    if by_keras(engine):  # which reads the current values of these variables
        return facts, *map(id, model.variables)
    digest = sha256()
    for weights in model.get_weights():
        digest.update(np.ascontiguousarray(weights))
    return facts, digest.hexdigest()
