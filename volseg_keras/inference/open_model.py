"""Open a model, whatever it was saved as, with the engine that is fastest here, and run it."""

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from ..extras import install_command
from ..files import write_json
from ..networks.backend import check_backend, keras_backend
from ..pretrained.checksums import check_files
from ..pretrained.presets import METADATA, load_pretrained, model_file, readable
from ..volumes.volume import open_volume
from . import engines
from .predict import probabilities
from .segmenter import Ensemble, Segmenter

# Files that the cache keeps of a model.
GRAPHS = {"openvino": "lean.xml", "onnxruntime": "lean.onnx"}
ABOUT = "volseg.json"
# Seconds that a graph is kept unused: a model that is trained anew leaves one of some MB.
KEPT = 90 * 24 * 3600
PART = "part."  # first letters of what is being written there


def predict_volume(model, volume, *, engine="auto", **options):
    """Predict the class probabilities of a volume, tile by tile.

    The volume is standardised by its own mean and standard deviation, as in training, so that a
    change of brightness or contrast, or another type of voxels, makes no difference.

    Args:
        model: a Keras model, what else `open_model` takes, or a list of such, to be averaged.
        volume: `(z, y, x)` array-like of grey levels, or the path of a volume; for a model of
            several channels an array-like `(z, y, x, channels)`.
        engine: "keras" (float32), "openvino" (CPU, bfloat16 where that changes no more than 0.1 %
            of a tile's labels), "onnxruntime", or "auto": OpenVINO for a saved model on a CPU,
            else Keras. All but Keras, and a SavedModel by any, give two classes in steps of 1/256.
        **options: of the prediction. `tta`, test-time averaging over 8 (2D) or 16 (3D) flips and
            transpositions, takes that many times as long. `tile`: `(z, y, x)` of a tile,
            multiples of 16; a good size by default. `seamless`: tiles read so much context that
            they agree with one piece within 0.001 (in float32), two to four times as long.
            `normalization`: "volume"; "model" for the constants in the model; or `(mean, standard
            deviation)` of the grey levels, for example of the volume that this is a crop of.
            `scale`: how many voxels the
            network shall see for one of the volume, along (z, y, x), where its voxels are not of
            the size that the model was trained on. `on_tile`: called with the number of tiles done
            and their total.

    Returns:
        float32 `(z, y, x, classes)`.

    Raises:
        ValueError, FileNotFoundError: an argument does not fit.
    """
    volume = open_volume(volume) if isinstance(volume, str | Path) else np.asanyarray(volume)
    if volume.ndim not in (3, 4):
        raise ValueError(
            "Invalid value for `volume`. Expected axes (z, y, x) or (z, y, x, channels). "
            f"Received: shape {tuple(volume.shape)}"
        )
    segmenter = open_model(model, engine)
    return probabilities(segmenter.slabs(volume, **options))


def open_model(model, engine="auto"):
    """Return a `Segmenter`.

    Args:
        model: a Keras model, the folder of a run, a .keras file, a SavedModel, or the name of a
            published model; or a list of such, to be averaged.
        engine: a name of `inference.engines.ENGINES`.

    Raises:
        ValueError: there is no such model or engine, or the model has no graph for the engine.
    """
    if engine not in engines.ENGINES:
        raise ValueError(
            f"Invalid value for `engine`. Expected one of {', '.join(engines.ENGINES)}. "
            f"Received: engine={engine!r}"
        )
    if engine == "onnxruntime" and find_spec("onnxruntime") is None:
        raise ValueError(
            f"Invalid value for `engine`. Expected what `{install_command('onnx')}` installs. "
            f"Received: engine={engine!r}"
        )
    check_backend()
    if isinstance(model, list | tuple):
        opened = [open_model(member, engine) for member in model]
        return opened[0] if len(opened) == 1 else Ensemble(opened)
    if not isinstance(model, str | Path):
        return open_keras(model) if engine in ("auto", "keras") else open_graph(model, engine)
    chosen = fastest() if engine == "auto" else engine
    graph = (Path(model) / "saved_model.pb").is_file()
    if graph and not (Path(model) / "model.keras").is_file():
        return open_savedmodel(Path(model), chosen)
    file = model_file(model)
    if chosen != "keras":
        try:
            return open_graph(file, chosen)
        except ValueError as error:
            if engine != "auto":
                raise
            warnings.warn(f"predicting by Keras, which is slower: {error}", stacklevel=2)
    return open_keras(load_pretrained(file))


def fastest():
    """Return the engine that is fastest here: OpenVINO unless Keras has a GPU."""
    if keras_backend() != "tensorflow":
        return "keras"
    device_files = any(Path(file).exists() for file in ("/dev/nvidiactl", "/dev/dxg"))
    return "keras" if device_files and engines.on_gpu() else "openvino"


def open_keras(model):
    """Return a `Segmenter` that runs a Keras model by Keras."""
    from ..networks.models import metadata

    return Segmenter(lambda _: engines.keras_engine(model), metadata(model))


def open_savedmodel(path, engine):
    """Return a `Segmenter` of a SavedModel written by `export_savedmodel`."""
    parts = (METADATA, Path("variables", "variables.index"))
    if missing := [str(part) for part in parts if not (path / part).is_file()]:
        raise ValueError(
            f"Invalid value for `model`. Expected a SavedModel with {', '.join(map(str, parts))}. "
            f"Received: {path} without {', '.join(missing)}"
        )
    if engine == "onnxruntime":
        raise ValueError(
            "Invalid value for `engine`. Expected keras or openvino for a SavedModel. "
            f"Received: {engine}"
        )
    needed = (path / "saved_model.pb", path / METADATA, *sorted((path / "variables").iterdir()))
    check_files(path, [file.relative_to(path).as_posix() for file in needed])
    with readable(path):
        about = json.loads((path / METADATA).read_text(encoding="utf-8"))
        dims = about["spatial_dims"]
    if engine == "openvino":

        def started(sample):
            with readable(path):
                return engines.openvino_engine(path, dims, sample, levels=False)

        return Segmenter(started, about)
    import tensorflow as tf

    with readable(path):
        loaded = tf.saved_model.load(path)
    return Segmenter(lambda _: engines.savedmodel_engine(loaded, dims), about)


def open_graph(model, engine):
    """Return a `Segmenter` of the lean graph of a .keras file or a Keras model.

    A file's graph is kept in the user's cache, so that only its first use needs Keras, until it is
    not used for three months.
    """
    owner = tempfile.TemporaryDirectory(prefix="volseg.", ignore_cleanup_errors=True)
    folder = Path(owner.name) / engine
    if isinstance(model, Path):
        cache = user_cache_path("volseg_keras")
        kept = cache / graph_key(model) / engine
        with suppress(OSError):  # a cache that cannot be written
            if not (kept / ABOUT).is_file():
                write_graph(load_pretrained(model), kept, engine)
                prune(cache)
            folder = kept
            owner.cleanup()  # of no use, so that nothing is left of it where this process is killed
            os.utime(kept / ABOUT)
    if not folder.exists():
        write_graph(load_pretrained(model) if isinstance(model, Path) else model, folder, engine)
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    start = getattr(engines, f"{engine}_engine")

    def started(sample):
        path, levels = folder / GRAPHS[engine], about["num_classes"] == 2
        run = start(path, about["spatial_dims"], sample, levels)
        # The engine holds on to the temporary folder.
        return lambda tile, _owner=owner: run(tile)

    return Segmenter(started, about)


def graph_key(path):
    """Return the name of a model's folder in the cache: it changes with all that the graph does."""
    digest = hashlib.sha256(path.read_bytes())
    for code in sorted((Path(__file__).parents[1] / "networks").glob("*.py")):
        digest.update(code.read_bytes())
    for package in ("keras", "openvino"):
        digest.update(version(package).encode())
    return digest.hexdigest()[:24]


def write_graph(model, folder, engine):
    """Write the graph of an engine and what a user of it must know; a killed run leaves no half."""
    from ..networks.inference_graph import export_inference_graph
    from ..networks.models import metadata

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PART, dir=folder.parent) as work:
        part = Path(work) / engine
        part.mkdir()
        export_inference_graph(model, part / GRAPHS[engine])
        write_json(part / ABOUT, metadata(model), indent=2)
        if not (folder / ABOUT).is_file():  # another process may have been quicker
            part.replace(folder)


def prune(cache):
    """Remove the graphs of a cache that were not used for `KEPT` seconds, and halves of such."""
    for used in (*cache.glob(f"*/*/{ABOUT}"), *cache.glob(f"*/{PART}*")):
        if time.time() - used.stat().st_mtime > KEPT:
            shutil.rmtree(used.parent if used.name == ABOUT else used)
