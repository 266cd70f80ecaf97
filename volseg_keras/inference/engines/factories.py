"""Engine factories: callables that return the engine of a model for a volume, given a sample tile.

The precision of an engine may depend on the sample. Factories whose engines keep memory for large
tiles have a method `release`.
"""

from threading import Lock

from ...pretrained.presets import readable
from . import runtimes


class FixedEngineFactory:
    """A factory that returns the same engine for every volume."""

    def __init__(self, engine):
        self._engine = engine

    def __call__(self, sample):
        """Return the engine."""
        return self._engine


class LazyEngineFactory:
    """A factory that reads its model when the first engine is needed.

    Args:
        read: callable that reads the model and returns the factory of its engines.
    """

    def __init__(self, read):
        self._read, self._lock, self._factory = read, Lock(), None

    def __call__(self, sample):
        """Return the engine for the volume that `sample` is a tile of."""
        with self._lock:
            self._factory = self._factory or self._read()
        return self._factory(sample)

    def release(self):
        """Release the memory of large tiles."""
        if hasattr(self._factory, "release"):
            self._factory.release()


def open_graph_factory(folder):
    """Read the graph in a `GraphFolder`; return the factory of its engines."""
    file, metadata = folder.file, folder.metadata
    dims, levels = metadata.spatial_dims, metadata.num_classes == 2
    if folder.engine == "onnxruntime":
        return FixedEngineFactory(runtimes.onnxruntime_engine(file, dims, levels))
    return runtimes.OpenVinoEngineFactory(file, dims, levels)


def open_savedmodel_factory(path, spatial_dims):
    """Read a SavedModel with OpenVINO; return the factory of its engines."""
    with readable(path):
        return runtimes.OpenVinoEngineFactory(path, spatial_dims, levels=False)
