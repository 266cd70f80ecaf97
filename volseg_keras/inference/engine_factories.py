"""What starts the engine of a model for a volume: callables of a sample tile."""

from threading import Lock

from ..pretrained.presets import readable
from . import engines


class FixedEngineFactory:
    """Starts the same engine for every volume."""

    def __init__(self, engine):
        self._engine = engine

    def __call__(self, sample):
        """Return the engine."""
        return self._engine


class LazyEngineFactory:
    """Starts engines of a model that is read when the first one is needed.

    Args:
        read: callable that reads the model and returns a callable from a sample tile to an engine.
    """

    def __init__(self, read):
        self._read, self._lock, self._engines = read, Lock(), None

    def __call__(self, sample):
        """Return the engine for a volume that a tile is a sample of."""
        with self._lock:
            self._engines = self._engines or self._read()
        return self._engines(sample)

    def release(self):
        """Give back the memory that large tiles were computed in."""
        if hasattr(self._engines, "release"):
            self._engines.release()


def open_graph_factory(folder):
    """Read the graph in a `GraphFolder`; return what starts its engines."""
    file, about = folder.file, folder.metadata
    dims, levels = about.spatial_dims, about.num_classes == 2
    if folder.engine == "onnxruntime":
        return FixedEngineFactory(engines.onnxruntime_engine(file, dims, levels))
    return engines.OpenVinoEngineFactory(file, dims, levels)


def open_savedmodel_factory(path, spatial_dims):
    """Read a SavedModel with OpenVINO; return what starts its engines."""
    with readable(path):
        return engines.OpenVinoEngineFactory(path, spatial_dims, levels=False)
