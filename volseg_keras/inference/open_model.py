"""Open a model of any format with the fastest engine."""

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from platformdirs import user_cache_path

from ..errors import require, require_one_of
from ..extras import install_command
from ..files import write_json
from ..networks.backend import check_backend, keras_backend
from ..networks.devices import on_gpu
from ..pretrained.checksums import check_files
from ..pretrained.presets import (
    METADATA,
    is_of_savedmodel,
    load_pretrained,
    model_file,
    readable,
    stored_defaults,
)
from . import engines
from .ensemble import EnsemblePredictor
from .predictor import Predictor

# The files of a graph in the cache.
GRAPHS = {"openvino": "lean.xml", "onnxruntime": "lean.onnx"}
ABOUT = "volseg.json"
# Seconds that an unused graph is kept: every trained model leaves one of a few MB.
KEPT = 90 * 24 * 3600
PART = "part."  # prefix of a folder that is being written there


def open_model(model, engine="auto", defaults=None):
    """Return a `Predictor`.

    Args:
        model: a Keras model, the folder of a run, a .keras file, a SavedModel, or the name of a
            published model; or a list of such, to be averaged.
        engine: a name of `inference.engines.ENGINES`.
        defaults: the `PredictionDefaults` of one in a file, instead of those stored with it.

    Raises:
        ValueError: there is no such model or engine, or the engine cannot run the model.
    """
    check_engine(engine)
    check_backend()
    if isinstance(model, list | tuple):
        # A wrong one is reported before another is opened, which takes seconds.
        for member in model:
            if isinstance(member, str | Path):
                find_model(member)
        opened = [open_model(member, engine) for member in model]
        return opened[0] if len(opened) == 1 else EnsemblePredictor.of(opened)
    if not isinstance(model, str | Path):
        return open_keras(model) if by_keras(engine) else open_graph(model, engine)
    path = find_model(model)
    return replace(open_file(path, engine), defaults=defaults or stored_defaults(path))


def open_file(path, engine):
    """Return a `Predictor` of a .keras file or the folder of a SavedModel."""
    chosen = fastest() if engine == "auto" else engine
    if path.is_dir():
        return open_savedmodel(path, chosen)
    if chosen != "keras":
        try:
            return open_graph(path, chosen)
        except ValueError as error:
            if engine != "auto":
                raise
            warnings.warn(f"predicting with Keras, which is slower: {error}", stacklevel=2)
    return open_keras(load_pretrained(path))


def check_engine(engine):
    """Raise ValueError for an engine that is unknown or not installed."""
    require_one_of(engines.ENGINES, "engine", engine)
    good = engine != "onnxruntime" or find_spec("onnxruntime")
    require(good, "engine", f"the packages of `{install_command('onnx')}`", f"{engine=}")


def find_model(model):
    """Return the .keras file of a model by its name or path, or the folder of a SavedModel.

    Raises:
        ValueError: there is none, or it differs from the SHA256SUMS beside it.
    """
    folder = Path(model)
    if is_of_savedmodel(folder / "saved_model.pb", folder):
        return folder
    return model_file(model)


def by_keras(engine):
    """Return whether an engine means Keras for a Keras model in memory."""
    return engine in ("auto", "keras")


def fastest():
    """Return the engine that is fastest here: OpenVINO unless Keras has a GPU."""
    if keras_backend() != "tensorflow":
        return "keras"
    device_files = any(Path(file).exists() for file in ("/dev/nvidiactl", "/dev/dxg"))
    return "keras" if device_files and on_gpu() else "openvino"


def open_keras(model):
    """Return a `Predictor` that runs a Keras model with Keras and its current weights."""
    from ..networks.models import metadata

    engines.warn_if_slow()
    return Predictor(Once(engines.keras_engine(model)), metadata(model))


class Once:
    """Starts the same engine for every volume."""

    def __init__(self, engine):
        self._engine = engine

    def __call__(self, sample):
        """Return the engine."""
        return self._engine


def open_savedmodel(path, engine):
    """Return a `Predictor` of a SavedModel written by `export_savedmodel`."""
    parts = (METADATA, Path("variables", "variables.index"))
    missing = [str(part) for part in parts if not (path / part).is_file()]
    expected = f"a SavedModel with {', '.join(map(str, parts))}"
    require(not missing, "model", expected, f"{path} without {', '.join(missing)}")
    good = engine != "onnxruntime"
    require(good, "engine", "keras or openvino for a SavedModel", engine)
    check_files(path, [file.relative_to(path).as_posix() for file in savedmodel_files(path)])
    with readable(path):
        about = json.loads((path / METADATA).read_text(encoding="utf-8"))
        dims = about["spatial_dims"]
    if engine == "openvino":
        return Predictor(SavedModelGraph(path, dims), about)
    import tensorflow as tf

    engines.warn_if_slow()
    with readable(path):
        loaded = tf.saved_model.load(path)
    return Predictor(Once(engines.savedmodel_engine(loaded, dims)), about)


def savedmodel_files(path):
    """Return the files of a SavedModel that its predictions depend on."""
    return [path / "saved_model.pb", path / METADATA, *sorted((path / "variables").glob("*"))]


class Graph:
    """Starts engines of a graph, which is read when the first one is needed.

    Args:
        folder: that `save_graph` wrote.
        engine: that reads it, "openvino" or "onnxruntime".
        about: metadata of the model.
        owner: a `TemporaryDirectory` to keep as long as the graph.
    """

    def __init__(self, folder, engine, about, owner=None):
        self._folder, self._name, self._about, self._owner = folder, engine, about, owner
        self._lock, self._engines = Lock(), None

    def __call__(self, sample):
        """Return the engine for a volume that a tile is a sample of."""
        with self._lock:
            self._engines = self._engines or self._read()
        return self._engines(sample)

    def _read(self):
        path, dims = self._folder / GRAPHS[self._name], self._about["spatial_dims"]
        levels = self._about["num_classes"] == 2
        if self._name == "onnxruntime":
            return Once(engines.onnxruntime_engine(path, dims, levels))
        return engines.OpenVinoEngines(path, dims, levels)

    def release(self):
        """Give back the memory that large tiles were computed in."""
        if hasattr(self._engines, "release"):
            self._engines.release()


class SavedModelGraph(Graph):
    """Starts engines of OpenVINO for a SavedModel."""

    def __init__(self, folder, spatial_dims):
        super().__init__(folder, "openvino", {"spatial_dims": spatial_dims})

    def _read(self):
        with readable(self._folder):
            dims = self._about["spatial_dims"]
            return engines.OpenVinoEngines(self._folder, dims, levels=False)


def open_graph(model, engine):
    """Return a `Predictor` of the inference graph of a .keras file or a Keras model.

    A file's graph is kept in the user's cache, so that only its first use needs Keras. Graphs that
    were not used for three months are removed.
    """
    owner = tempfile.TemporaryDirectory(prefix="volseg.", ignore_cleanup_errors=True)
    folder = Path(owner.name) / engine
    if isinstance(model, Path):
        cache = user_cache_path("volseg_keras")
        kept = cache / graph_key(model) / engine
        with suppress(OSError):  # a cache that cannot be written
            if not (kept / ABOUT).is_file():
                save_graph(load_pretrained(model), kept, engine)
            folder = kept
            owner.cleanup()  # not needed, and it would be left behind if this process were killed
            os.utime(kept / ABOUT)
            prune(cache)
    if not folder.exists():
        save_graph(load_pretrained(model) if isinstance(model, Path) else model, folder, engine)
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return Predictor(Graph(folder, engine, about, owner), about)


def graph_key(path):
    """Return the name of a model's folder in the cache, which changes whenever the graph would."""
    digest = hashlib.sha256(path.read_bytes())
    for code in sorted((Path(__file__).parents[1] / "networks").glob("*.py")):
        digest.update(code.read_bytes())
    for package in ("keras", "openvino"):
        digest.update(version(package).encode())
    return digest.hexdigest()[:24]


def save_graph(model, folder, engine):
    """Write the graph of an engine and its metadata; a killed run leaves no incomplete folder."""
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
    """Remove graphs from a cache, also incomplete ones, that were not used for `KEPT` seconds."""
    for used in (*cache.glob(f"*/*/{ABOUT}"), *cache.glob(f"*/{PART}*")):
        with suppress(FileNotFoundError):  # another process removes it
            if time.time() - used.stat().st_mtime > KEPT:
                shutil.rmtree(used.parent if used.name == ABOUT else used)
