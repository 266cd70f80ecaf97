"""Segment a volume from file to file: small, large, resumed or shared among processes.

A small volume is predicted slab by slab in memory. A large, resumed or shared one is predicted
block by block in a store beside the output. The steps are the same: predict, write to sinks,
post-process, write the files.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...pretrained.choice import scale_text
from ...volumes.dimensions import known_voxel_size, lacks_thickness
from ...volumes.volume import Volume, open_volume
from ..segmenter import recent_model
from .job import OutputFiles
from .resumable_job import dask, finish_job, restore_prepared, run_job, start_job
from .sinks import (
    ArraySink,
    FileSink,
    SegmentationSummary,
    Sinks,
    planes_of,
    summarize,
    write_labels,
)
from .store import JobStore

MOST_IN_MEMORY = 2**27  # voxels of a volume that is segmented in memory


def say_nothing(line):
    """Ignore a line."""


@contextmanager
def show_nothing(what):
    """Ignore progress; yields `on_progress(done, total)`."""
    yield lambda done, total: None


@dataclass(frozen=True)
class Display:
    """How a job shows its progress; by default not at all.

    Attributes:
        say: called with a line.
        wait: called with a text; returns a context manager for a step that takes a while.
        progress: like `wait`, but its context manager yields `on_progress(done, total)`.
    """

    say: Callable = say_nothing
    wait: Callable = show_nothing
    progress: Callable = show_nothing


class Outcome(NamedTuple):
    """The result of a job: its `SegmentationSummary` and the `OutputFiles` that were written."""

    summary: SegmentationSummary
    files: OutputFiles


def segment_file(job, display=None):
    """Segment a volume from file to file.

    1. Check the files; choose the model, threshold and scale if they are left open.
    2. Predict labels, and the probability if requested: slab by slab in memory, or block by block
       in the store beside the output, which can be resumed and shared.
    3. Filter, split into instances and clean up, see `PostProcessing`.
    4. Write the files, each of them atomically.
    5. Draw a picture next to them.

    Args:
        job: a `Job`.
        display: a `Display`.

    Returns:
        The `Outcome`.

    Raises:
        ValueError, OSError: the job cannot be done. A wrong model is reported before the volume
            is read.

    Example:
        >>> source = SourceVolume("volume.tif", voxel_size=(5, 5, 5))
        >>> segment_file(Job(source, "labels.tif", RequestedModels(["H"]))).summary.share
    """
    display = display or Display()
    files = OutputFiles.of(job)
    job.model.find()
    image = job.source.open()
    job = _completed(job, image, display)
    job.postprocessing.check_output(image.shape, job.output)
    files.check_memory(image.shape, job.postprocessing.dtype)
    large = math.prod(image.shape) > MOST_IN_MEMORY
    begun = JobStore.beside(job.output).folder.exists()
    in_store = large or begun or job.resume or job.is_shared
    work = segment_in_store if in_store else segment_in_memory
    result = work(job, files, image, display)
    from ...report.plots import overlay

    center, size = result.summary.center, known_voxel_size(image)
    overlay(result.image, result.labels, files.picture, center=center, voxel_size=size)
    return Outcome(result.summary, files)


def _completed(job, image, display):
    """Choose the model, threshold and scale that a job leaves open, and say what was chosen."""
    complete, choice = job.resolved(image)
    if job.model.is_auto:
        display.say(choice.reason)
    if complete.threshold != job.threshold:
        display.say(f"Threshold of the model: {complete.threshold:.4g}")
    if complete.prediction.scale != (1, 1, 1):
        display.say(scale_text(complete.prediction.scale))
        if lacks_thickness(image):
            display.say("The thickness of sections was measured; --voxel-size states it")
    return complete


class Segmentation(NamedTuple):
    """The summary of a segmentation, and image and labels, in memory or as open volumes."""

    summary: SegmentationSummary
    image: np.ndarray | Volume
    labels: np.ndarray | Volume


def segment_in_memory(job, files, image, display):
    """Predict slab by slab, post-process and write; return the `Segmentation`."""
    with display.wait("opening the model"):
        prepared = _open_and_read(job, image)
    for line in prepared.description:
        display.say(line)
    pixels = prepared.volume
    steps, shape = job.postprocessing, image.shape
    labels = np.empty(shape, np.uint8)
    probability = np.empty(shape, np.float32) if steps.instances else None
    with display.progress("predicting") as on_progress, ExitStack() as opened:
        to_labels, to_probability = [ArraySink(labels)], []
        if steps.instances:
            to_probability.append(ArraySink(probability))
        if not steps.is_needed:
            file = FileSink.open(files.labels, image, np.uint8, labels=True)
            to_labels.append(opened.enter_context(file))
        if files.probability:
            file = FileSink.open(files.probability, image, np.float32)
            to_probability.append(opened.enter_context(file))
        sinks = Sinks(tuple(to_labels), tuple(to_probability))
        opened.callback(prepared.predictor.release)
        found = [
            sinks.write_prediction(planes_of(z, len(values), shape), values, job.threshold)
            for z, values in prepared.slabs(on_progress)
        ]
    if not steps.is_needed:
        return Segmentation(summarize(found, shape), pixels, labels)
    with display.progress("post-processing") as on_progress:
        kept = np.empty(shape, steps.dtype)
        sides, folder = known_voxel_size(image), files.labels.parent
        slabs = steps.slabs(labels, probability, job.threshold, sides, on_progress, folder)
        summary = write_labels(slabs, files.labels, image, steps.dtype, ArraySink(kept))
    return Segmentation(summary, pixels, kept)


def _open_and_read(job, image):
    """Read a volume while the model is opened; return the `PreparedPrediction` of the array."""
    pool = ThreadPoolExecutor(1)
    reading = pool.submit(image.__getitem__, ...)
    pool.shutdown(wait=False)  # errors of the model do not wait for the volume
    predictor = recent_model(job.model.names, job.model.engine)
    predictor.check(image, job.prediction, job.threshold, job.postprocessing.instances)
    prepared = predictor.prepare(reading.result(), job.prediction)
    prepared.start()
    return prepared


def segment_in_store(job, files, image, display):
    """Predict block by block, post-process and write; return the `Segmentation`."""
    with display.wait("opening the model and measuring the volume"):
        if job.is_shared:
            dask("cluster" if job.cluster else "workers")
        store = start_job(job, image)
    prepared = restore_prepared(store.read(), image)
    for line in prepared.description:
        display.say(line)
    with display.progress("predicting") as on_progress:
        run_job(store, workers=job.workers, cluster=job.cluster, on_progress=on_progress)
    prepared.predictor.release()
    needed = job.postprocessing.is_needed
    finishing = display.progress("post-processing") if needed else display.wait("writing")
    with finishing as on_progress:
        summary = finish_job(store, job, files, on_progress)
    return Segmentation(summary, image, open_volume(job.output))
