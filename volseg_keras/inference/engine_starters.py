"""What starts the engine of a model for a volume: callables of a sample tile."""

from threading import Lock

from ..pretrained.presets import readable
from . import engines


class FixedEngine:
    """Starts the same engine for every volume."""

    def __init__(self, engine):
        self._engine = engine

    def __call__(self, sample):
        """Return the engine."""
        return self._engine


class Graph:
    """Starts engines of a graph, which is read when the first one is needed.

    Args:
        folder: its `GraphFolder`, which is kept as long as the graph.
    """

    def __init__(self, folder):
        self._folder, self._lock, self._engines = folder, Lock(), None

    def __call__(self, sample):
        """Return the engine for a volume that a tile is a sample of."""
        with self._lock:
            self._engines = self._engines or self._read()
        return self._engines(sample)

    def _read(self):
        file, about = self._folder.file, self._folder.metadata
        dims, levels = about.spatial_dims, about.num_classes == 2
        if self._folder.engine == "onnxruntime":
            return FixedEngine(engines.onnxruntime_engine(file, dims, levels))
        return engines.OpenVinoEngines(file, dims, levels)

    def release(self):
        """Give back the memory that large tiles were computed in."""
        if hasattr(self._engines, "release"):
            self._engines.release()


class SavedModelGraph(Graph):
    """Starts engines of OpenVINO for a SavedModel.

    Args:
        folder: its path.
        spatial_dims: of the network.
    """

    def __init__(self, folder, spatial_dims):
        super().__init__(folder)
        self._dims = spatial_dims

    def _read(self):
        with readable(self._folder):
            return engines.OpenVinoEngines(self._folder, self._dims, levels=False)
