"""A prediction kept in memory, to find the threshold that suits it."""

from dataclasses import dataclass
from math import prod

import numpy as np

from ..errors import require
from ..postprocessing.pipeline import PostProcessing
from ..pretrained.choice import ChosenModels, scale_text
from ..resources import free_memory
from ..volumes.dimensions import known_voxel_size
from ..volumes.volume import as_volume
from .engines.output import foreground_probability, join_slabs, to_labels
from .options import PredictionOptions
from .segmenter import recent_model, run_prediction

# Bytes per voxel while it is predicted and displayed: every map twice, and one probability.
BYTES_PER_MAP, OTHER_BYTES = 8, 4


@dataclass(frozen=True)
class Prediction:
    """The prediction of a model for a volume.

    Attributes:
        values: `(z, y, x, maps)` of the model's engine, see `inference.engines`.
        voxel_size: sides (z, y, x) of a voxel in nm, or None.
        threshold: minimum foreground probability that is stored with the model.
        description: one line: which model it is and how the volume was rescaled for it.

    Example:
        >>> found = Prediction.of(volseg_keras.open_volume("volume.tif"))
        >>> labels = found.labels(0.4)  # uint8 (z, y, x)
    """

    values: np.ndarray
    voxel_size: tuple | None
    threshold: float
    description: str

    @classmethod
    def of(cls, volume, model="auto", on_progress=None):
        """Return the prediction of a volume that fits in memory, the same as `volseg predict`.

        Args:
            volume: `(z, y, x)` array-like of grey levels; a `Volume` also has a voxel size.
            model: name of a published model, folder of a run or file; or "auto", see
                `choose_model`.
            on_progress: called with the number of tiles done and their total.

        Raises:
            ValueError: there is no such model, or the volume does not fit it or the memory.
        """
        volume = as_volume(volume)
        check_size(volume.shape)
        choice = ChosenModels.of(volume, (model,))
        scale, predictor = choice.scale(volume), recent_model(choice.models)
        check_size(volume.shape, predictor.metadata.num_classes)
        options = PredictionOptions(scale=scale)
        values = run_prediction(predictor, options, volume, on_progress, join_slabs)
        facts = [choice.reason, *([] if scale == (1, 1, 1) else [scale_text(scale)])]
        return cls(values, known_voxel_size(volume), choice.threshold, ". ".join(facts))

    @property
    def probability(self):
        """float32 probability `(z, y, x)` that a voxel is not background."""
        return foreground_probability(self.values)

    def labels(self, threshold=None):
        """Return uint8 class ids `(z, y, x)`.

        Args:
            threshold: minimum foreground probability for two classes; by default the model's.
        """
        return to_labels(self.values, self.threshold if threshold is None else threshold)

    def instances(self, threshold=None, on_progress=None):
        """Return uint32 ids `(z, y, x)` of instances, see `postprocessing.instances`.

        Args:
            threshold: see `labels`.
            on_progress: called with the number of steps done and their total.

        Raises:
            ValueError: the model has more than two classes.
        """
        classes = max(2, self.values.shape[-1])
        require(classes == 2, "instances", "a model of two classes", f"{classes} classes")
        threshold = self.threshold if threshold is None else threshold
        steps = PostProcessing(instances=True)
        options = {"voxel_size": self.voxel_size, "on_progress": on_progress}
        return np.concatenate(list(steps.slabs(None, self.probability, threshold, **options)))


def check_size(shape, num_classes=2):
    """Raise ValueError for a volume that is too large to be predicted in memory.

    Args:
        shape: of the volume.
        num_classes: of the model; for two, only the foreground is kept.
    """
    maps = num_classes if num_classes > 2 else 1
    most = free_memory() // (BYTES_PER_MAP * maps + OTHER_BYTES)
    expected = f"at most {most:,} voxels, which fit in memory (`volseg predict` takes any)"
    require(prod(shape) <= most, "volume", expected, f"shape {tuple(shape)}")
