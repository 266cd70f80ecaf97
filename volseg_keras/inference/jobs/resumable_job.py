"""Start, resume, share and finish a job that is predicted block by block in a store."""

import math
import shutil
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache, partial

from ...errors import invalid, require
from ...extras import install_command
from ...files import atomic_path
from ...resources import free_memory, usable_cores
from ...volumes.dimensions import known_voxel_size
from ..prepared_prediction import PreparedPrediction
from ..section_smoothing import padding_of
from ..segmenter import recent_model
from ..tiled_prediction import fitted_tile, voxels_at_once
from .blocks import BLOCK, block_tile, blocks, predict_block
from .section_cache import with_cache
from .sinks import write_labels
from .store import JobStore
from .stored_job import JobIdentity, JobPlan, StoredJob


def start_job(job, image):
    """Start the work on an output in its store, or resume what is there.

    Args:
        job: a `Job` with a model, a threshold and a scale.
        image: the open source.

    Returns:
        The `JobStore`.

    Raises:
        FileExistsError: an earlier run was not finished and `resume` is not set.
        ValueError: the earlier run had other arguments, or an argument does not fit.
    """
    store = JobStore.beside(job.output)
    good, received = job.resume or not store.is_begun, f"{store.folder} holds unfinished work"
    expected = "a new name, or `resume` to continue"
    require(good, "output", expected, received, FileExistsError)
    predictor = recent_model(job.model.names, job.model.engine)
    predictor.check(image, job.prediction, job.threshold, job.postprocessing.instances)
    prediction = replace(
        job.prediction,
        scale=predictor.model_scale(job.prediction.scale),
        normalization=predictor.chosen_normalization(job.prediction),
    )
    asked = replace(job, prediction=prediction)
    identity = JobIdentity.of(asked, image.shape, predictor.all_defaults)
    if store.is_begun:
        store.check_same(identity)
        return store
    prepared = predictor.prepare(image, prediction)
    resolved = replace(prepared.options, normalization=prediction.normalization)
    identity = replace(identity, prediction=resolved)
    try:
        store.create(StoredJob(identity, new_plan(prepared, memory_of_worker(job))))
    except FileExistsError:
        if not job.resume:
            raise
        store.check_same(identity)
    return store


def new_plan(prepared, memory):
    """Return the `JobPlan` of a `PreparedPrediction`, with tiles for its blocks.

    Tiles of a volume in memory are planned by `tile_plan`.

    Args:
        prepared: the `PreparedPrediction`.
        memory: bytes that each process may use.
    """
    shape, dims, halo = prepared.volume.shape, prepared.spatial_dims, prepared.halo
    if tile := prepared.options.tile:
        tile = fitted_tile(tile, shape, dims)
    else:
        voxels = voxels_at_once(dims, max(prepared.scales, key=math.prod), memory)
        tile = block_tile(shape, BLOCK, dims, voxels, halo)
    return JobPlan(prepared.intensity, tuple(BLOCK), halo, tile, prepared.section_smoothing)


def memory_of_worker(job):
    """Return how many bytes each process of a job may use."""
    if not job.cluster:
        return free_memory() // (job.workers or 1)
    with dask("cluster").Client(job.cluster) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [worker["memory_limit"] // worker["nthreads"] for worker in workers]
    return min(filter(None, limits), default=free_memory())


def restore_prepared(job, image):
    """Return the `PreparedPrediction` of a `StoredJob`, whose volume has been measured before."""
    asked, plan = job.identity, job.plan
    predictor = recent_model(asked.model.names, asked.model.engine)
    options = replace(asked.prediction, normalization=plan.intensity or "model")
    return PreparedPrediction(predictor, image, options, plan.section_smoothing)


class OpenJob:
    """What a process needs to predict blocks of a job: the volume, the model and the arrays.

    Args:
        store: `JobStore` of the job.
    """

    def __init__(self, store):
        self.store, job = store, store.read()
        self.asked, self.plan = job.identity, job.plan
        image = self.asked.source.open()
        self.prepared = restore_prepared(job, image)
        context = self.plan.halo[0] + self.plan.section_smoothing.reach
        count = max(self.plan.block[0] + 2 * context, self.plan.tile[0])
        self.image = with_cache(image, count, store.folder.parent, max(self.plan.block[1:]))
        self.sinks = store.sinks()

    def run(self, index):
        """Predict a block, write it, and then its mark."""
        plan = self.plan
        block = blocks(self.asked.shape, plan.block)[index]
        values = predict_block(
            self.prepared.engine,
            self.image,
            block,
            self.prepared.spatial_dims,
            plan.tile,
            plan.halo,
            plan.section_smoothing,
            padding_of(self.image, plan.intensity, block[1:]),
        )
        summary = self.sinks.write_prediction(block, values, self.asked.threshold)
        self.store.mark(index, summary)


@lru_cache(maxsize=1)
def _opened(folder, job_id):
    """Return the `OpenJob` of a folder; the id is part of the key, as folders are reused."""
    return OpenJob(JobStore(folder))


def close_job():
    """Close the job that is open in this process, with its cached sections."""
    _opened.cache_clear()


def run_block(folder, index):
    """Run block number `index` of the job in a folder; return the number."""
    _opened(str(folder), JobStore(folder).read().id).run(index)
    return index


def run_job(store, *, workers=None, cluster=None, on_progress=None):
    """Run all blocks of a job that are not done yet.

    Args:
        store: `JobStore` of `start_job`.
        workers: number of local processes that share the work by Dask.
        cluster: address of a Dask scheduler whose workers see the same files.
        on_progress: called with the number of blocks done and their total.
    """
    on_progress = on_progress or (lambda done, total: None)
    todo, total = store.pending(), store.count_blocks()
    before = total - len(todo)
    on_progress(before, total)
    if not todo:
        return
    run = partial(run_block, str(store.folder))
    results = on_dask(run, todo, workers, cluster) if workers or cluster else map(run, todo)
    try:
        for done, _ in enumerate(results, before + 1):
            on_progress(done, total)
    finally:
        close_job()


def dask(name):
    """Return `dask.distributed`, or raise ValueError for an argument that needs it."""
    try:
        import dask.distributed as distributed
    except ImportError as error:
        expected = f"the packages of `{install_command('cluster')}`"
        raise invalid(name, expected, error) from error
    return distributed


def on_dask(run, todo, workers, cluster):
    """Yield the results of a function run by Dask, which repeats the work of lost workers."""
    name = "cluster" if cluster else "workers"
    distributed = dask(name)
    with ExitStack() as stack:
        if not cluster:
            # Read by joblib, which counts the cores that engines use.
            share = {"LOKY_MAX_CPU_COUNT": str(max(1, usable_cores() // workers))}
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,  # tiles are planned for what is free
                env=share,
                dashboard_address=None,
            )
            stack.enter_context(cluster)
        client = stack.enter_context(distributed.Client(cluster))
        for future in distributed.as_completed(client.map(run, todo, pure=False, retries=2)):
            try:
                yield future.result()
            except distributed.KilledWorker as error:
                expected = "workers with more memory, or fewer of them, and --resume"
                raise invalid(name, expected, "workers that were killed") from error
        client.run(close_job)  # the workers of a cluster live on


def finish_job(store, job, files, on_progress=None):
    """Turn the arrays of a job whose blocks are done into its output files; remove the store.

    Args:
        store: `JobStore` of `start_job`.
        job: the `Job`; a resumed one may have other post-processing, but the probability, which
            instances are found in, is kept or not as it was when the store was made.
        files: `OutputFiles`.
        on_progress: called with the steps of post-processing done and their total.

    Returns:
        The `SegmentationSummary`.
    """
    image, steps = store.read().identity.source.open(), job.postprocessing
    if not steps.is_needed:
        summary = store.summary()
        store.deliver({"probability": files.probability, "labels": files.labels}, image)
    else:
        ready = store.folder / f"finished_{files.labels.name}"
        if ready.is_dir():  # an interrupted run's
            shutil.rmtree(ready)
        arrays = store.array("labels"), store.array("probability")
        sides = known_voxel_size(image)
        slabs = steps.slabs(*arrays, job.threshold, sides, on_progress, store.folder)
        summary = write_labels(slabs, ready, image, steps.dtype)
        with atomic_path(files.labels) as part:  # which may be a link to another disk
            shutil.move(ready, part)
        # Last, since a run that is resumed finds instances in the probability once more.
        store.deliver({"probability": files.probability}, image)
    store.remove()
    return summary
