"""The description of a segmentation from file to file, typed and checked."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from ...errors import invalid, require
from ...postprocessing.pipeline import PostProcessing
from ...pretrained.choice import ChosenModels, is_auto, scale_to
from ...volumes.dimensions import known_voxel_size
from ...volumes.formats.registry import split_suffix
from ...volumes.volume import open_volume
from ...volumes.writing import check_memory_to_write, check_not_input, checked_output
from ..open_model import check_engine, find_model
from ..options import PredictionOptions


@dataclass(frozen=True)
class SourceVolume:
    """A volume in a file, and how to read it: the arguments of `open_volume`."""

    path: str
    axes: str | None = None
    time: int | None = None
    channel: int | None = None
    level: int = 0
    series: int | None = None
    voxel_size: tuple | None = None

    def open(self):
        """Return the `Volume`."""
        return open_volume(**asdict(self))


@dataclass(frozen=True)
class RequestedModels:
    """Models by name or path, and the engine that runs them.

    Attributes:
        names: see `open_model`; several are averaged; or "auto", see `choose_model`.
        engine: a name of `inference.engines.names.ENGINES`.

    Raises:
        ValueError: there is no such engine.
    """

    names: tuple
    engine: str = "auto"

    def __post_init__(self):
        """Check the engine; models are looked for when the work begins."""
        names = [self.names] if isinstance(self.names, str | Path) else self.names
        object.__setattr__(self, "names", tuple(map(str, names)))
        check_engine(self.engine)

    @property
    def is_auto(self):
        """Whether a model is to be chosen for the volume."""
        return is_auto(self.names)

    def find(self):
        """Raise ValueError for a model that does not exist, before anything is read."""
        for name in self.names:
            if not self.is_auto:
                find_model(name)


@dataclass(frozen=True)
class Job:
    """A segmentation from file to file.

    Attributes:
        source: `SourceVolume` to segment.
        output: label volume to write.
        model: `RequestedModels`.
        threshold: minimum foreground probability for two classes; or "auto", the mean of those
            stored with the models.
        prediction: `PredictionOptions`.
        rescale: rescale the volume to the voxel size that the models were trained at; None: if the
            sizes are known and differ by more than a quarter.
        postprocessing: `PostProcessing`.
        probability: also write the foreground probability.
        resume: continue an unfinished run in the store beside the output.
        workers: processes that share the work by Dask, or None.
        cluster: address of a Dask scheduler whose workers see the same files, or None.

    Raises:
        ValueError: the threshold is not between 0 and 1.
    """

    source: SourceVolume
    output: Path
    model: RequestedModels
    threshold: float | str = 0.5
    prediction: PredictionOptions = field(default_factory=PredictionOptions)
    rescale: bool | None = None
    postprocessing: PostProcessing = field(default_factory=PostProcessing)
    probability: bool = False
    resume: bool = False
    workers: int | None = None
    cluster: str | None = None

    def __post_init__(self):
        """Convert the threshold, which may be text; workers are local or those of a cluster."""
        object.__setattr__(self, "output", Path(self.output))
        object.__setattr__(self, "threshold", checked_threshold(self.threshold))
        good = not (self.workers and self.cluster)
        require(good, "workers", "none beside a cluster, which has its own", self.workers)

    @property
    def is_shared(self):
        """Whether several processes work on it."""
        return bool(self.workers or self.cluster)

    def resolved(self, image):
        """Return the job with the models, threshold and scale that it leaves open.

        Args:
            image: the `Volume` to segment.

        Returns:
            The job, and the `ChosenModels` of its models.
        """
        choice = ChosenModels.of(image, self.model.names)
        threshold = choice.threshold if self.threshold == "auto" else self.threshold
        job = replace(self, threshold=threshold, model=replace(self.model, names=choice.models))
        given = self.rescale is None and self.prediction.scale != (1, 1, 1)
        if given or self.rescale is False:
            return job, choice
        known = known_voxel_size(image)
        scale = scale_to(choice.models, known) if self.rescale else choice.scale(image)
        return replace(job, rescale=False, prediction=replace(self.prediction, scale=scale)), choice


def checked_threshold(value):
    """Return a number between 0 and 1, or "auto", given a number or text, or raise ValueError."""
    if value == "auto":
        return value
    with suppress(TypeError, ValueError):
        if 0 < float(value) < 1:
            return float(value)
    raise invalid("threshold", "a number between 0 and 1, or auto", f"threshold={value}")


@dataclass(frozen=True)
class OutputFiles:
    """The files that a job writes.

    Attributes:
        labels: the label volume.
        picture: PNG beside it.
        probability: volume beside it, or None.
    """

    labels: Path
    picture: Path
    probability: Path | None = None

    @classmethod
    def of(cls, job):
        """Return the files of a job; raise ValueError or OSError if one cannot be written."""
        output = job.output
        checked_output(output)
        stem, suffix = split_suffix(output)
        probability = output.with_name(f"{stem}_probability{suffix}") if job.probability else None
        files = cls(output, output.with_name(f"{stem}_overlay.png"), probability)
        if probability:
            checked_output(probability)
        check_not_input(filter(None, (output, files.picture, probability)), job.source.path)
        return files

    def check_memory(self, shape, dtype):
        """Raise ValueError if memory does not suffice to write labels, or probabilities."""
        check_memory_to_write(self.labels, shape, dtype)
        if self.probability:
            check_memory_to_write(self.probability, shape, np.float32)
