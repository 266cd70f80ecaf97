"""Inference graphs in the user's cache, so that only the first use of a model needs Keras."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from platformdirs import user_cache_path

from ...files import write_json
from ...networks.metadata import ModelMetadata
from ...pretrained.presets import load_pretrained

# The files of a graph in the cache.
GRAPHS = {"openvino": "lean.xml", "onnxruntime": "lean.onnx"}
# Packages that the graph of an engine depends on, besides Keras.
CONVERTERS = {
    "openvino": ("openvino", "tensorflow"),
    "onnxruntime": ("tf2onnx", "onnx", "tensorflow"),
}
METADATA_FILE = "volseg.json"
# Seconds that an unused graph is kept: every trained model leaves a few MB.
KEPT = 90 * 24 * 3600
PART = "part."  # prefix of a folder that is being written there


@dataclass(frozen=True)
class GraphFolder:
    """A folder with the inference graph of a model for an engine.

    Attributes:
        path: of the folder.
        engine: "openvino" or "onnxruntime".
        metadata: `ModelMetadata`.
        owner: a `TemporaryDirectory` that vanishes with this, None for a folder in the cache.
    """

    path: Path
    engine: str
    metadata: ModelMetadata
    owner: tempfile.TemporaryDirectory | None = None

    @property
    def file(self):
        """The file of the graph."""
        return self.path / GRAPHS[self.engine]


def graph_folder(model, engine):
    """Return the `GraphFolder` of a .keras file or a Keras model, written if need be.

    The graph of a file is kept in the user's cache; graphs unused for three months are removed.

    Args:
        model: a path or a Keras model.
        engine: "openvino" or "onnxruntime".
    """
    if isinstance(model, Path):
        cache = user_cache_path("volseg_keras")
        kept = cache / graph_key(model, engine) / engine
        with suppress(OSError):  # the cache cannot be written
            if not (kept / METADATA_FILE).is_file():
                save_graph(load_pretrained(model), kept, engine)
            with suppress(OSError):  # the folder belongs to another user
                os.utime(kept / METADATA_FILE)
                prune(cache)
            return GraphFolder(kept, engine, read_metadata(kept))
    owner = tempfile.TemporaryDirectory(prefix="volseg.", ignore_cleanup_errors=True)
    folder = Path(owner.name) / engine
    save_graph(load_pretrained(model) if isinstance(model, Path) else model, folder, engine)
    return GraphFolder(folder, engine, read_metadata(folder), owner)


def read_metadata(folder):
    """Return the `ModelMetadata` of the model whose graph is in a folder."""
    return ModelMetadata.from_json(json.loads((folder / METADATA_FILE).read_text(encoding="utf-8")))


def graph_key(path, engine):
    """Return the name of a model's folder in the cache, which changes whenever the graph would."""
    digest = hashlib.sha256(path.read_bytes())
    for code in sorted((Path(__file__).parents[2] / "networks").glob("*.py")):
        digest.update(code.read_bytes())
    for package in ("keras", *CONVERTERS[engine]):
        with suppress(PackageNotFoundError):  # TensorFlow has several names
            digest.update(version(package).encode())
    return digest.hexdigest()[:24]


def save_graph(model, folder, engine):
    """Write the graph of an engine and its metadata; a killed run leaves no incomplete folder."""
    from ...networks.inference_graph import export_inference_graph
    from ...networks.models import check_sizes, metadata

    check_sizes(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PART, dir=folder.parent) as work:
        part = Path(work) / engine
        part.mkdir()
        export_inference_graph(model, part / GRAPHS[engine])
        write_json(part / METADATA_FILE, metadata(model).to_json(), indent=2)
        if not (folder / METADATA_FILE).is_file():  # another process may have been quicker
            part.replace(folder)


def prune(cache):
    """Remove graphs from a cache, also incomplete ones, that were not used for `KEPT` seconds."""
    for used in (*cache.glob(f"*/*/{METADATA_FILE}"), *cache.glob(f"*/{PART}*")):
        with suppress(FileNotFoundError):  # another process removes it
            if time.time() - used.stat().st_mtime > KEPT:
                shutil.rmtree(used.parent if used.name == METADATA_FILE else used)
