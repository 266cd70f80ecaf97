"""Open a model of any format with the fastest engine."""

import warnings
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ..errors import require, require_one_of
from ..extras import install_command
from ..files import read_json
from ..networks.backend import check_backend, keras_backend
from ..networks.devices import on_gpu, warn_if_slow
from ..networks.metadata import ModelMetadata
from ..pretrained.checksums import check_files
from ..pretrained.presets import (
    METADATA,
    keras_file,
    load_pretrained,
    published_text,
    readable,
    savedmodel_folder,
)
from ..pretrained.stored_facts import StoredFacts
from .engines import runtimes
from .engines.factories import (
    FixedEngineFactory,
    LazyEngineFactory,
    open_graph_factory,
    open_savedmodel_factory,
)
from .engines.graph_cache import graph_folder
from .engines.names import ENGINES
from .ensemble import EnsemblePredictor
from .predictor import Predictor


def open_model(model, engine="auto", defaults=None):
    """Return a `Predictor`.

    Args:
        model: a Keras model, the folder of a run, a .keras file, a SavedModel, or the name of a
            published model; or a list of these, to be averaged.
        engine: a name of `inference.engines.names.ENGINES`.
        defaults: `PredictionDefaults` of a model in a file, instead of those stored with it.

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
    if not is_name(model):
        return open_keras(model) if by_keras(engine) else open_graph(model, engine)
    path = find_model(model)
    return replace(open_file(path, engine), defaults=defaults or StoredFacts.of(path).defaults)


def is_name(model):
    """Return whether a model is given by its name or path; raise ValueError if it is no model."""
    named = isinstance(model, str | Path)
    expected = "a Keras model, or the name or path of one"
    require(named or hasattr(model, "inputs"), "model", expected, type(model).__name__)
    return named


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
    require_one_of(ENGINES, "engine", engine)
    good = engine != "onnxruntime" or find_spec("onnxruntime")
    require(good, "engine", f"the packages of `{install_command('onnx')}`", f"{engine=}")


def find_model(model):
    """Return the .keras file of a model by its name or path, or the folder of a SavedModel.

    Raises:
        ValueError: there is none, or it differs from the SHA256SUMS beside it.
    """
    if folder := savedmodel_folder(model):
        return folder
    expected = f"a folder of a run, a .keras file, a SavedModel or {published_text()}"
    file = keras_file(model)
    require(file, "model", expected, model)
    check_files(file.parent, [file.name])
    return file


def by_keras(engine):
    """Return whether an engine runs a Keras model in memory with Keras."""
    return engine in ("auto", "keras")


def fastest():
    """Return the engine that is fastest here: OpenVINO unless Keras has a GPU."""
    if keras_backend() != "tensorflow":
        return "keras"
    device_files = any(Path(file).exists() for file in ("/dev/nvidiactl", "/dev/dxg"))
    return "keras" if device_files and on_gpu() else "openvino"


def open_keras(model):
    """Return a `Predictor` that runs a Keras model with Keras and its current weights."""
    from ..networks.models import check_sizes, metadata

    check_sizes(model)
    warn_if_slow()
    return Predictor(FixedEngineFactory(runtimes.keras_engine(model)), metadata(model))


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
        metadata = ModelMetadata.from_json(read_json(path / METADATA))
    if engine == "openvino":
        read = partial(open_savedmodel_factory, path, metadata.spatial_dims)
        return Predictor(LazyEngineFactory(read), metadata)
    import tensorflow as tf

    warn_if_slow()
    with readable(path):
        loaded = tf.saved_model.load(path)
    engine = runtimes.savedmodel_engine(loaded, metadata.spatial_dims)
    return Predictor(FixedEngineFactory(engine), metadata)


def savedmodel_files(path):
    """Return the files of a SavedModel that its predictions depend on."""
    return [path / "saved_model.pb", path / METADATA, *sorted((path / "variables").glob("*"))]


def open_graph(model, engine):
    """Return a `Predictor` of the inference graph of a .keras file or a Keras model."""
    folder = graph_folder(model, engine)  # kept as long as the engines
    return Predictor(LazyEngineFactory(partial(open_graph_factory, folder)), folder.metadata)
