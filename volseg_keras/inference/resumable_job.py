"""Work block by block in a store: started, resumed, shared among processes, finished."""

import shutil
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache, partial

from ..errors import invalid, require
from ..extras import install_command
from ..resources import free_memory, usable_cores
from .job_store import JobStore
from .section_cache import with_cache
from .section_smoothing import padding_of
from .segmenter import recent_model
from .sinks import write_labels
from .stored_job import JobIdentity, JobPlan, StoredJob
from .tiled_prediction import fitted_tile, halo_of, voxels_at_once
from .volume_blocks import BLOCK, block_tile, blocks, predict_block


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
    require(good, "output", "a new name, or `resume`", received, FileExistsError)
    predictor = recent_model(list(job.model.names), job.model.engine)
    predictor.check_labels(job.threshold, job.steps.instances)
    predictor.check_volume(image)
    predictor.check_options(job.prediction)
    prediction = replace(job.prediction, scale=predictor.model_scale(job.prediction.scale))
    asked = replace(job, prediction=prediction)
    identity = JobIdentity.of(asked, image.shape, predictor.all_defaults)
    if store.is_begun:
        store.check_same(identity)
        return store
    dims, scales = predictor.spatial_dims, predictor.scales(job.prediction)
    voxels = voxels_at_once(dims, max(scales), memory_of_worker(job))
    halo, tile = predictor.halo(job.prediction), job.prediction.tile
    identity = replace(identity, prediction=predictor.resolved(image, prediction))
    plan = JobPlan(
        intensity=predictor.intensity(image, job.prediction.normalization),
        block=tuple(BLOCK),
        halo=halo,
        tile=fitted_tile(tile, image.shape, dims)
        if tile
        else block_tile(image.shape, BLOCK, dims, voxels, halo),
        sections=predictor.section_smoothing(image, job.prediction),
    )
    try:
        store.create(StoredJob(identity, plan))
    except FileExistsError:
        if not job.resume:
            raise
        store.check_same(identity)
    return store


def memory_of_worker(job):
    """Return how many bytes each process of a job may take."""
    if not job.cluster:
        return free_memory() // (job.workers or 1)
    with dask().Client(job.cluster) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [worker["memory_limit"] // worker["nthreads"] for worker in workers]
    return min(filter(None, limits), default=free_memory())


@lru_cache(maxsize=1)
def _opened(folder, job_id):
    """Return what a process needs for the blocks of a job; its id, since folders are used again."""
    store = JobStore(folder)
    job = store.read()
    asked, plan = job.identity, job.plan
    image = asked.source.open()
    predictor = recent_model(list(asked.model.names), asked.model.engine)
    options = replace(asked.prediction, normalization=plan.intensity or "model")
    engine, dims = predictor.engine(image, options), predictor.spatial_dims
    halo = plan.halo or halo_of(dims, asked.prediction.seamless, asked.prediction.scale)
    count = max(plan.block[0] + 2 * (halo[0] + plan.sections.reach), plan.tile[0])
    image = with_cache(image, count, store.folder.parent, max(plan.block[1:]))
    return job, image, dims, halo, engine, store.sinks()


def run_block(folder, index):
    """Predict a block of the job in a folder, write it, and then its mark; return the number."""
    store = JobStore(folder)
    job, image, dims, halo, engine, sinks = _opened(str(folder), store.read().id)
    asked, plan = job.identity, job.plan
    block = blocks(asked.shape, plan.block)[index]
    padded = padding_of(image, plan.intensity, block[1:])
    values = predict_block(engine, image, block, dims, plan.tile, halo, plan.sections, padded)
    store.mark(index, sinks.write_prediction(block, values, asked.threshold))
    return index


def run_job(store, *, workers=None, cluster=None, on_progress=None):
    """Run all blocks of a job that are not done yet.

    Args:
        store: `JobStore` of `start_job`.
        workers: number of local processes that share the work by Dask.
        cluster: address of a Dask scheduler whose workers see the same files.
        on_progress: called with the number of blocks done and their total.
    """
    tell = on_progress or (lambda done, total: None)
    todo, total = store.pending(), store.count_blocks()
    before = total - len(todo)
    tell(before, total)
    run = partial(run_block, str(store.folder))
    results = on_dask(run, todo, workers, cluster) if workers or cluster else map(run, todo)
    try:
        for done, _ in enumerate(results, before + 1):
            tell(done, total)
    finally:
        _opened.cache_clear()  # with the sections that it keeps


def dask():
    """Return `dask.distributed`, or raise ValueError where it is not installed."""
    try:
        import dask.distributed as distributed
    except ImportError as error:
        expected = f"the packages of `{install_command('cluster')}`"
        raise invalid("workers", expected, error) from error
    return distributed


def on_dask(run, todo, workers, cluster):
    """Yield the results of a function run by Dask, which repeats the work of lost workers."""
    distributed = dask()
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
                raise invalid("workers", expected, "workers that were killed") from error


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
    image, steps = store.read().identity.source.open(), job.steps
    if not steps.is_needed:
        summary = store.summary()
        store.deliver({"probability": files.probability, "labels": files.labels}, image)
    else:
        ready = store.folder / f"finished_{files.labels.name}"
        if ready.is_dir():  # an interrupted run's
            shutil.rmtree(ready)
        arrays, sides = (store.array("labels"), store.array("probability")), image.voxel_size
        slabs = steps.slabs(*arrays, job.threshold, sides, on_progress, store.folder)
        summary = write_labels(slabs, ready, image, steps.dtype)
        store.deliver({"probability": files.probability}, image)
        ready.replace(files.labels)
    store.remove()
    return summary
