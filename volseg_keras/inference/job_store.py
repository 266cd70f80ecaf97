"""The store of a job, for processes that share or resume it.

A folder beside the output. It holds a description of the job (`job.json`), the arrays that are
filled (`labels.zarr`, `probability.zarr`) and a mark for every block that is done, written after
the block's data. The result depends on job.json and the engine only, so a resumed run, or one with
many workers, gives the same voxels as an uninterrupted one on machines of one kind.
"""

import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

import numpy as np

from ..errors import invalid, require
from ..files import work_folder, write_json
from ..pretrained.presets import is_model, weights_digest
from ..resources import free_memory
from ..volumes.formats import kind_of
from ..volumes.intensity import Intensity
from ..volumes.ome_zarr import finish_zarr, mark_labels, start_zarr
from ..volumes.source import split_name
from ..volumes.writing import create_volume, place_like
from .job import ModelChoice, SourceVolume
from .options import PredictionOptions
from .section_smoothing import SectionSmoothing
from .sinks import ArraySink, BlockSummary, Sinks, summarize
from .volume_blocks import blocks

JOB = "job.json"
FORMAT = 2  # of job.json
ARRAYS = {"labels": np.uint8, "probability": np.float32}
# Entries that follow from the others and are not compared when a job is resumed.
DERIVED = ("id", "intensity", "block", "halo", "tile", "sections")
# Entries that follow from the model or the volume where they are not asked for.
OF_MODEL = ("tta", "zooms", "denoise")
# Entries that jobs of earlier versions do not have.
LATER = ("defaults", "file")
# Entries that go by other names on a command line.
ASKED_BY = {"probability": "--probability or --instances", "file": "file [bytes, time]"}


@dataclass(frozen=True)
class StoredJob:
    """The content of job.json.

    Attributes:
        source: `SourceVolume`, absolute.
        shape: `(z, y, x)` of the volume.
        model: `ModelChoice`, absolute.
        sha256: of the weights of the models.
        threshold: least foreground probability, of two classes.
        prediction: `PredictionOptions`.
        probability: whether to keep it.
        id: distinguishes several jobs of one output in one process.
        intensity: `Intensity` to standardise with, None for the models' own constants.
        block: `(z, y, x)` of a block.
        halo: `(z, y, x)` of context of a tile; empty in jobs of an earlier version.
        tile: `(z, y, x)` of a tile.
        sections: `SectionSmoothing`.
        defaults: the `PredictionDefaults` of every model, as dicts; empty in earlier jobs.
        file: size in bytes and time of change, in ns, of the source; empty for a folder.
    """

    source: SourceVolume
    shape: tuple
    model: ModelChoice
    sha256: tuple
    threshold: float
    prediction: PredictionOptions
    probability: bool
    id: str = ""
    intensity: Intensity | None = None
    block: tuple = ()
    halo: tuple = ()
    tile: tuple = ()
    sections: SectionSmoothing = SectionSmoothing()
    defaults: tuple = ()
    file: tuple = ()

    @classmethod
    def of(cls, job, shape):
        """Return the content of job.json for a `Job`."""
        source = replace(job.source, path=str(Path(job.source.path).absolute()))
        names = [str(Path(name).absolute()) if is_model(name) else name for name in job.model.names]
        model = replace(job.model, names=tuple(names))
        hashes = tuple(map(weights_digest, job.model.names))
        kept = job.probability or job.steps.instances  # instances are found in the probability
        return cls(
            source=source,
            shape=tuple(shape),
            model=model,
            sha256=hashes,
            threshold=job.threshold,
            prediction=job.prediction,
            probability=kept,
            id=uuid4().hex,
            file=_stamp(job.source.path),
        )

    def to_json(self):
        """Return the dict that job.json holds."""
        intensity = self.intensity
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
            "id": self.id,
            "intensity": asdict(intensity) if intensity else None,
            "block": self.block,
            "halo": self.halo,
            "tile": self.tile,
            "sections": asdict(self.sections),
            "defaults": self.defaults,
            "file": self.file,
        }

    @classmethod
    def from_json(cls, found):
        """Return the `StoredJob` of a dict of `to_json`."""
        intensity = found["intensity"]
        return cls(
            source=SourceVolume(**found["source"]),
            shape=tuple(found["shape"]),
            model=ModelChoice(tuple(found["model"]), found["engine"]),
            sha256=tuple(found["sha256"]),
            threshold=found["threshold"],
            prediction=PredictionOptions.from_json(found),
            probability=found["probability"],
            id=found["id"],
            intensity=Intensity(**intensity) if intensity else None,
            block=tuple(found["block"]),
            halo=tuple(found.get("halo", ())),
            tile=tuple(found["tile"]),
            sections=SectionSmoothing(**found.get("sections", {})),
            defaults=tuple(found.get("defaults", ())),
            file=tuple(found.get("file", ())),
        )


def _stamp(source):
    """Return size and time of change, in ns, of the file of FILE::NAME, empty for a folder."""
    file = split_name(source)[0]
    return (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else ()


def plainly(name, value):
    """Return the entry of job.json such that entries that mean the same are equal."""
    if name == "tta":
        return "all" if value is True else max(1, int(value or 0))
    if name == "denoise":
        sides = value["sigma"] if isinstance(value, dict) else [value or 0]
        return value if any(sides) else 0
    return value


class JobStore:
    """The folder of a job.

    Args:
        folder: its path.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    @classmethod
    def beside(cls, output):
        """Return the store of the unfinished work on an output."""
        output = Path(output).absolute()
        return cls(output.with_name(f".{output.name}.part"))

    @property
    def is_begun(self):
        """Whether there is work to resume."""
        return (self.folder / JOB).exists()

    def create(self, job):
        """Create the store of a `StoredJob`, in place of an incomplete one.

        Its folder appears under its name at once and complete, from when on the work can be shared
        and resumed.

        Raises:
            FileExistsError: another process has begun the same work meanwhile.
        """
        with work_folder(self.folder) as work:
            new = work / "store"
            (new / "done").mkdir(parents=True)
            for name, dtype in ARRAYS.items():
                if name == "labels" or job.probability:
                    start_zarr(new / f"{name}.zarr", job.shape, dtype)
            write_json(new / JOB, job.to_json())
            if self.folder.exists() and not self.is_begun:
                with suppress(FileNotFoundError):  # another process may have moved it away
                    self.folder.rename(work / "incomplete")
                if (work / "incomplete" / JOB).exists():  # it was completed meanwhile
                    (work / "incomplete").rename(self.folder)
            try:
                new.rename(self.folder)
            except OSError as error:
                if self.is_begun:
                    expected, received = "a name that no other run writes", self.folder
                    raise invalid("output", expected, received, FileExistsError) from error
                raise

    def _json(self):
        return json.loads((self.folder / JOB).read_text(encoding="utf-8"))

    def read(self):
        """Return the `StoredJob`, or raise ValueError for a job.json of another version."""
        try:
            return StoredJob.from_json(self._json())
        except (KeyError, TypeError) as error:
            expected = f"work of this version in {self.folder}"
            raise invalid("resume", expected, f"{JOB} without a valid entry {error}") from error

    def check_same(self, job):
        """Raise ValueError unless the unfinished work is that of a `StoredJob`."""
        found, given = self._json(), json.loads(json.dumps(job.to_json()))
        if isinstance(pair := found.get("normalization"), list):  # of an earlier version
            found["normalization"] = dict(zip(("mean", "deviation"), pair, strict=True))
        for entries in (found, given):
            if isinstance(entries.get("normalization"), dict):  # padding is measured anew
                entries["normalization"].pop("padding", None)
        for name, value in given.items():
            stored = found.get(name)
            open_still = name in OF_MODEL and value is None or name in LATER and not stored
            same = plainly(name, stored) == plainly(name, value)
            # Several models keep None, by which each of them averages as it was trained to.
            same &= name not in OF_MODEL or name not in found or stored is not None
            good = name in DERIVED or open_still or same
            expected = f"the unfinished run's {ASKED_BY.get(name, name)}, {stored}"
            require(good, "resume", expected, value)

    def pending(self):
        """Return the numbers of the blocks that are not done."""
        return [i for i in range(self.count_blocks()) if not self._mark(i).exists()]

    def mark(self, index, summary):
        """Note that a block is done, with its `BlockSummary`."""
        with work_folder(self.folder / "done") as work:  # not in a folder of thousands of marks
            part = work / "mark.json"
            part.write_text(json.dumps(asdict(summary)), encoding="utf-8")
            part.replace(self._mark(index))

    def _mark(self, index):
        return self.folder / "done" / f"{index}.json"

    def count_blocks(self):
        """Return how many blocks there are, done or not."""
        job = self.read()
        return len(blocks(job.shape, job.block))

    def array(self, name, mode="r"):
        """Return one of `ARRAYS`, None if it is not kept."""
        import zarr

        path = self.folder / f"{name}.zarr"
        return zarr.open_array(path / "0", mode=mode) if path.exists() else None

    def sinks(self):
        """Return the `Sinks` that blocks are written to."""
        found = {name: self.array(name, "r+") for name in ARRAYS}
        return Sinks(*(() if a is None else (ArraySink(a),) for a in found.values()))

    def summary(self):
        """Return the `SegmentationSummary` of a job whose blocks are done."""
        marks = [self._mark(i) for i in range(self.count_blocks())]
        found = (BlockSummary(**json.loads(mark.read_text(encoding="utf-8"))) for mark in marks)
        return summarize(found, self.read().shape)

    def deliver(self, files, image):
        """Turn arrays into files.

        Args:
            files: dict from names of `ARRAYS` to paths, or None.
            image: open `Volume` that they lie on.
        """
        paths = {self.folder / f"{name}.zarr": path for name, path in files.items() if path}
        paths = {array: Path(path) for array, path in paths.items() if array.exists()}
        for array, path in paths.items():
            if kind_of(path) == ".zarr":  # takes long, so it comes before the first renaming
                finish_zarr(array, place_like(image))
        for array, path in paths.items():
            _deliver(array, path, image)

    def remove(self):
        """Remove the folder of a job whose files are written."""
        # First, since a job with a part of its data removed must not be resumed.
        (self.folder / JOB).unlink()
        shutil.rmtree(self.folder)


def _deliver(store, path, image):
    """Rename a finished array to a Zarr output, or copy it to a file of another format."""
    import zarr

    if kind_of(path) == ".zarr":
        if store.name == "labels.zarr":
            mark_labels(store)
        store.replace(path)
        return
    array = zarr.open_array(store / "0", mode="r")
    fit = free_memory() * array.shape[0] // (6 * array.nbytes)  # three slabs are in memory
    planes = min(max(1, fit), array.chunks[0])
    with create_volume(path, array.shape, array.dtype, like=image) as append:
        for z in range(0, array.shape[0], planes):
            append(array[z : z + planes])
