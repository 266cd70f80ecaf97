"""The store of a job that processes share or resume.

A folder beside the output. It holds a description of the job (`job.json`), the arrays that are
filled (`labels.zarr`, `probability.zarr`) and a mark for every finished block, written after
the block's data. The result depends on job.json and the engine only, so a resumed run, or one with
many workers, gives the same voxels as an uninterrupted one on machines of the same kind.
"""

import json
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...errors import invalid, require
from ...files import work_folder, write_json
from ...resources import free_memory
from ...volumes.formats.ome_zarr import finish_zarr, mark_labels, start_zarr
from ...volumes.formats.registry import format_suffix
from ...volumes.writing import create_volume, geometry_like
from .blocks import blocks
from .sinks import ArraySink, BlockSummary, Sinks, summarize
from .stored_job import FORMAT, StoredJob

JOB = "job.json"
ARRAYS = {"labels": np.uint8, "probability": np.float32}


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

        Its folder is renamed into place when it is complete; from then on the work can be shared
        and resumed.

        Raises:
            FileExistsError: another process has begun the same work meanwhile.
        """
        with work_folder(self.folder) as work:
            new = work / "store"
            (new / "done").mkdir(parents=True)
            for name, dtype in ARRAYS.items():
                if name == "labels" or job.identity.probability:
                    start_zarr(new / f"{name}.zarr", job.identity.shape, dtype)
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

    def check_same(self, identity):
        """Raise ValueError unless the unfinished work has a `JobIdentity`."""
        found = self._json()
        expected = f"work of this version; delete {self.folder} to begin again"
        version = found.get("format")
        require(version == FORMAT, "resume", expected, f"format {version}")
        identity.check_same(found)

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
        return len(blocks(job.identity.shape, job.plan.block))

    def array(self, name, mode="r"):
        """Return one of `ARRAYS`, None if it is not stored."""
        import zarr

        path = self.folder / f"{name}.zarr"
        return zarr.open_array(path / "0", mode=mode) if path.exists() else None

    def sinks(self):
        """Return the `Sinks` that blocks are written to."""
        arrays = {name: self.array(name, "r+") for name in ARRAYS}
        return Sinks(*(() if a is None else (ArraySink(a),) for a in arrays.values()))

    def summary(self):
        """Return the `SegmentationSummary` of a job whose blocks are done."""
        marks = [self._mark(i) for i in range(self.count_blocks())]
        found = (BlockSummary(**json.loads(mark.read_text(encoding="utf-8"))) for mark in marks)
        return summarize(found, self.read().identity.shape)

    def deliver(self, files, image):
        """Turn arrays into files.

        Args:
            files: dict from names of `ARRAYS` to paths, or None.
            image: open `Volume` that they belong to.
        """
        paths = {self.folder / f"{name}.zarr": path for name, path in files.items() if path}
        paths = {array: Path(path) for array, path in paths.items() if array.exists()}
        for array, path in paths.items():
            if format_suffix(path) == ".zarr":  # takes long, so before the first renaming
                finish_zarr(array, geometry_like(image))
        for array, path in paths.items():
            _deliver(array, path, image)

    def remove(self):
        """Remove the folder of a job whose files are written."""
        # First, since a job must not be resumed once part of its data is removed.
        (self.folder / JOB).unlink()
        shutil.rmtree(self.folder)


def _deliver(array_folder, path, image):
    """Rename a finished array to a Zarr output, or copy it to a file of another format."""
    import zarr

    if format_suffix(path) == ".zarr":
        if array_folder.name == "labels.zarr":
            mark_labels(array_folder)
        array_folder.replace(path)
        return
    array = zarr.open_array(array_folder / "0", mode="r")
    fit = free_memory() * array.shape[0] // (6 * array.nbytes)  # three slabs are in memory
    planes = min(max(1, fit), array.chunks[0])
    with create_volume(path, array.shape, array.dtype, like=image) as append:
        for z in range(0, array.shape[0], planes):
            append(array[z : z + planes])
