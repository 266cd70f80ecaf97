"""The contents of job.json in the store of a job: what was requested, and how it is done."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from ...errors import require
from ...pretrained.presets import is_model, weights_digest
from ...volumes.intensity import IntensityStatistics
from ...volumes.paths import split_name
from ..options import PredictionOptions
from ..section_smoothing import SectionSmoothing
from .job import RequestedModels, SourceVolume

FORMAT = 3  # of job.json
# Entries that the model or the volume decides unless they are requested.
OF_MODEL = ("tta", "smoothing", "zooms", "denoise")
# Entries that have other names on the command line.
ASKED_BY = {"probability": "--probability or --instances", "file": "file [bytes, time]"}


@dataclass(frozen=True)
class JobIdentity:
    """What a job was requested to do; a run that resumes it must request the same.

    Attributes:
        source: `SourceVolume`, absolute.
        shape: `(z, y, x)` of the volume.
        model: `RequestedModels`, absolute.
        sha256: of the weights of the models.
        threshold: minimum foreground probability for two classes.
        prediction: `PredictionOptions`; in a store, what the model or the volume decides is filled
            in.
        probability: whether to store it.
        defaults: the `PredictionDefaults` of every model, as dicts.
        file: size in bytes and time of change, in ns, of the source; empty for a folder.
    """

    source: SourceVolume
    shape: tuple
    model: RequestedModels
    sha256: tuple
    threshold: float
    prediction: PredictionOptions
    probability: bool
    defaults: tuple
    file: tuple

    @classmethod
    def of(cls, job, shape, defaults):
        """Return the identity of a `Job` on a volume of a shape, with the models' defaults."""
        source = replace(job.source, path=str(Path(job.source.path).absolute()))
        names = [str(Path(name).absolute()) if is_model(name) else name for name in job.model.names]
        return cls(
            source=source,
            shape=tuple(shape),
            model=replace(job.model, names=tuple(names)),
            sha256=tuple(map(weights_digest, job.model.names)),
            threshold=job.threshold,
            prediction=job.prediction,
            # Instances are found in the probability.
            probability=job.probability or job.postprocessing.instances,
            defaults=tuple(map(asdict, defaults)),
            file=_stamp(job.source.path),
        )

    def to_json(self):
        """Return its entries of job.json."""
        return {
            "format": FORMAT,
            "source": asdict(self.source),
            "shape": self.shape,
            "model": self.model.names,
            "sha256": self.sha256,
            "engine": self.model.engine,
            "threshold": self.threshold,
            **self.prediction.to_json(),
            "probability": self.probability,
            "defaults": self.defaults,
            "file": self.file,
        }

    @classmethod
    def from_json(cls, found):
        """Return the identity in a dict of job.json."""
        return cls(
            source=SourceVolume(**found["source"]),
            shape=tuple(found["shape"]),
            model=RequestedModels(tuple(found["model"]), found["engine"]),
            sha256=tuple(found["sha256"]),
            threshold=found["threshold"],
            prediction=PredictionOptions.from_json(found),
            probability=found["probability"],
            defaults=tuple(found["defaults"]),
            file=tuple(found["file"]),
        )

    def check_same(self, found):
        """Raise ValueError unless the dict of a job.json has this identity."""
        given = json.loads(json.dumps(self.to_json()))
        for name, value in given.items():
            stored = found.get(name)
            open_still = name in OF_MODEL and value is None
            same = _canonical(name, stored) == _canonical(name, value)
            # For several models None is kept: each of them uses its own defaults.
            same &= name not in OF_MODEL or stored is not None
            expected = f"the unfinished run's {ASKED_BY.get(name, name)}, {stored}, or a new output"
            require(open_still or same, "resume", expected, value)


@dataclass(frozen=True)
class JobPlan:
    """How a job is done: determined when it begins, and the same for all of its blocks.

    Attributes:
        intensity: `IntensityStatistics` to standardise with, None for the models' own constants.
        block: `(z, y, x)` of a block.
        halo: `(z, y, x)` of context of a tile.
        tile: `(z, y, x)` of a tile.
        section_smoothing: `SectionSmoothing`.
    """

    intensity: IntensityStatistics | None
    block: tuple
    halo: tuple
    tile: tuple
    section_smoothing: SectionSmoothing

    def to_json(self):
        """Return its entries of job.json."""
        return {
            "intensity": asdict(self.intensity) if self.intensity else None,
            "block": self.block,
            "halo": self.halo,
            "tile": self.tile,
            "sections": asdict(self.section_smoothing),
        }

    @classmethod
    def from_json(cls, found):
        """Return the plan in a dict of job.json."""
        intensity = found["intensity"]
        return cls(
            intensity=IntensityStatistics(**intensity) if intensity else None,
            block=tuple(found["block"]),
            halo=tuple(found["halo"]),
            tile=tuple(found["tile"]),
            section_smoothing=SectionSmoothing(**found["sections"]),
        )


@dataclass(frozen=True)
class StoredJob:
    """The content of job.json.

    Attributes:
        identity: `JobIdentity`.
        plan: `JobPlan`.
        id: distinguishes jobs with the same output in one process.
    """

    identity: JobIdentity
    plan: JobPlan
    id: str = field(default_factory=lambda: uuid4().hex)

    def to_json(self):
        """Return the dict that job.json holds."""
        return {**self.identity.to_json(), **self.plan.to_json(), "id": self.id}

    @classmethod
    def from_json(cls, found):
        """Return the `StoredJob` of a dict of `to_json`."""
        return cls(JobIdentity.from_json(found), JobPlan.from_json(found), found["id"])


def _stamp(source):
    """Return size and time of change, in ns, of the file of FILE::NAME, empty for a folder."""
    file = split_name(source)[0]
    return (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else ()


def _canonical(name, value):
    """Return an entry of job.json in a form in which equivalent entries are equal."""
    if name == "tta":
        return "all" if value is True else max(1, int(value or 0))
    if name == "denoise":
        sides = value["sigma"] if isinstance(value, dict) else [value or 0]
        return value if any(sides) else 0
    if name == "normalization" and isinstance(value, dict):  # padding is measured again
        return {**value, "padding": None}
    return value
