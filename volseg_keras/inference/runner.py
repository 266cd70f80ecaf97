"""Segment volumes larger than memory: block by block, resumably, by one process or many.

A job is a folder beside the output. It holds what to do (`job.json`), the arrays that are filled
(`labels.zarr`, `probability.zarr`) and a mark for every block that is done, written after the
block's data. What is done is a function of job.json, so a resumed run, or one of many workers,
gives the same voxels as an unbroken one.
"""

import json
import shutil
from contextlib import ExitStack
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from uuid import uuid4

import numpy as np

from ..extras import install_command
from ..files import write_json
from ..pretrained.presets import digest, is_model
from ..volumes.formats import kind_of
from ..volumes.intensity import Intensity
from ..volumes.ome_zarr import finish_zarr, start_zarr
from ..volumes.volume import open_volume
from ..volumes.writing import create_volume, place_like, put_in_place
from .blocks import BLOCK, block_tile, blocks, predict_block
from .engines import labels, usable_cores
from .finish import write_finished
from .open_model import open_model
from .predict import not_background, voxels_at_once
from .write import Found, busiest

JOB = "job.json"
FORMAT = 2  # of job.json
CUT = ("seamless", "scale")
STORES = {"labels": np.uint8, "probability": np.float32}


def job_folder(output):
    """Return the folder in which work on `output` is kept until it is done."""
    output = Path(output).absolute()
    return output.with_name(f".{output.name}.part")


def start_job(
    output, source, *, model, engine, threshold, instances=False, resume=False, **options
):
    """Describe the work on an output in a folder; go on with the one that is there.

    Args:
        output: path of the label volume.
        source: arguments of `open_volume`.
        model: of `open_model`, a name or path, or a list of such.
        engine: of `open_model`.
        threshold: of `Segmenter.segment`.
        instances: keep the probability for `finish_job`, to find instances by.
        resume: go on with what an earlier run left.
        **options: `tta`, `seamless`, `scale`, `normalization`; `probability`: whether to keep it.

    Returns:
        The folder.

    Raises:
        FileExistsError: an earlier run was not finished and `resume` is not set.
        ValueError: the earlier run was another, or an argument does not fit.
    """
    folder = job_folder(output)
    if (folder / JOB).exists() and not resume:
        raise FileExistsError(
            "Invalid value for `output`. Expected a new name, or `resume`. "
            f"Received: {folder} holds unfinished work"
        )
    image, segmenter = open_volume(**source), open_model(model, engine)
    segmenter.check_threshold(threshold)
    if instances:
        segmenter.check_two_classes()
        options["probability"] = True
    options = {"normalization": "volume", **options}
    options["scale"] = segmenter.seen(options["scale"])
    dims, models = segmenter.metadata["spatial_dims"], model if isinstance(model, list) else [model]
    cut = {name: options[name] for name in CUT}
    about = {
        "format": FORMAT,
        "source": {**source, "path": str(Path(source["path"]).absolute())},
        "shape": list(image.shape),
        "model": [str(Path(m).absolute()) if is_model(m) else m for m in models],
        "sha256": [digest(m) for m in models],
        "engine": engine,
        "threshold": threshold,
        **options,
    }
    if (folder / JOB).exists():
        check_same(folder, about)
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "done").mkdir()
    for name, dtype in STORES.items():
        if name == "labels" or options.get("probability"):
            start_zarr(folder / f"{name}.zarr", image.shape, dtype)
    # By which a process that does several jobs of one output tells them apart.
    about["id"] = uuid4().hex
    intensity = segmenter.intensity(image, options["normalization"])
    about["intensity"] = asdict(intensity) if intensity else None
    about["block"] = BLOCK
    voxels = voxels_at_once(dims, options["scale"])
    about["tile"] = block_tile(image.shape, BLOCK, dims, voxels, **cut)
    write_json(folder / JOB, about)
    return folder


def check_same(folder, about):
    """Raise where the work in a folder cannot be gone on with."""
    found, about = read_job(folder), json.loads(json.dumps(about))
    other = [name for name, value in about.items() if found.get(name) != value]
    if other:
        raise ValueError(
            f"Invalid value for `resume`. Expected the unfinished run's {other[0]}, "
            f"{found.get(other[0])}. Received: {about[other[0]]}"
        )


def read_job(folder):
    """Return what job.json tells."""
    return json.loads((Path(folder) / JOB).read_text(encoding="utf-8"))


def job_intensity(folder):
    """Return the `Intensity` that a job standardises by, None for the model's own constants."""
    found = read_job(folder)["intensity"]
    return Intensity(**found) if found else None


def blocks_of(about):
    """Return the blocks of a job."""
    return blocks(about["shape"], about["block"])


def pending(folder):
    """Return the numbers of the blocks that are not done."""
    count = len(blocks_of(read_job(folder)))
    return [i for i in range(count) if not mark(folder, i).exists()]


def mark(folder, index):
    """Return the file that says a block is done."""
    return Path(folder) / "done" / f"{index}.json"


@lru_cache(maxsize=1)
def opened(folder, job_id):
    """Return what a process needs for the blocks of a job: engine, image, arrays, description."""
    import zarr

    about = read_job(folder)
    image, segmenter = open_volume(**about["source"]), open_model(about["model"], about["engine"])
    intensity = job_intensity(folder) or "model"
    options = {"tta": about["tta"], "scale": about["scale"], "normalization": intensity}
    engine = segmenter.engine(image, **options)
    found = [name for name in STORES if (Path(folder) / f"{name}.zarr").exists()]
    stores = {name: zarr.open_array(Path(folder) / f"{name}.zarr" / "0") for name in found}
    return engine, segmenter.metadata["spatial_dims"], image, stores, about


def run_block(folder, index):
    """Predict a block, write it, and then its mark; return the number."""
    engine, dims, image, stores, about = opened(str(folder), read_job(folder)["id"])
    block = blocks_of(about)[index]
    cut = {name: about[name] for name in CUT}
    values = predict_block(engine, image, block, dims, about["tile"], **cut)
    found = labels(values, about["threshold"])
    if "probability" in stores:
        stores["probability"][block] = not_background(values)
    stores["labels"][block] = found
    count, most, center = busiest(found)
    corner = [s.start for s in block]
    center = [a + b for a, b in zip(corner, center, strict=True)]
    about = {"foreground": count, "most": most, "center": center, "highest": int(found.max())}
    # Two workers may have been given one block, as where the first was taken for lost.
    write_json(mark(folder, index), about, writer=uuid4().hex)
    return index


def run_job(folder, *, workers=None, cluster=None, on_block=lambda done, total: None):
    """Run all blocks of a job that are not done yet.

    Args:
        folder: of `start_job`.
        workers: number of local processes that share the work by Dask.
        cluster: address of a Dask scheduler whose workers see the same files.
        on_block: called with the number of blocks done and their total.
    """
    todo, total = pending(folder), len(blocks_of(read_job(folder)))
    on_block(total - len(todo), total)
    run = partial(run_block, str(folder))
    results = on_dask(run, todo, workers, cluster) if workers or cluster else map(run, todo)
    for done, _ in enumerate(results, total - len(todo) + 1):
        on_block(done, total)


def dask():
    """Return `dask.distributed`, or raise ValueError where it is not installed."""
    try:
        import dask.distributed as distributed
    except ImportError as error:
        raise ValueError(
            f"Invalid value for `workers`. Expected what `{install_command('cluster')}` installs. "
            f"Received: {error}"
        ) from error
    return distributed


def on_dask(run, todo, workers, cluster):
    """Yield the results of a function by the workers of Dask, which do a lost worker's again."""
    distributed = dask()
    with ExitStack() as stack:
        if not cluster:
            # Read by joblib, which counts the cores that engines use.
            share = {"LOKY_MAX_CPU_COUNT": str(max(1, usable_cores() // workers))}
            cluster = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, env=share, dashboard_address=None
            )
            stack.enter_context(cluster)
        client = stack.enter_context(distributed.Client(cluster))
        for future in distributed.as_completed(client.map(run, todo, pure=False, retries=2)):
            yield future.result()


def finish_job(folder, output, probability_file=None, finish=None, on_slab=None):
    """Turn the arrays of a finished job into the files asked for, and remove the folder.

    Args:
        folder: of `start_job`.
        output: label volume to write.
        probability_file: file for the probability, or None.
        finish: a `Finish` that is done with the whole; it may be another after an interruption.
        on_slab: of `write_finished`.

    Returns:
        A `Found`.
    """
    about = read_job(folder)
    image, output = open_volume(**about["source"]), Path(output)
    ready = folder / f"finished{kind_of(output)}"
    if finish:
        found = finish_labels(folder, about, image, ready, finish, on_slab)
    else:
        found = summary(folder, about)
    files = {"probability": probability_file, "labels": None if finish else output}
    stores = {folder / f"{name}.zarr": Path(path) for name, path in files.items() if path}
    stores = {store: path for store, path in stores.items() if store.exists()}
    for store, path in stores.items():
        if kind_of(path) == ".zarr":  # takes long, so before the first is renamed
            finish_zarr(store, place_like(image))
    for store, path in stores.items():
        deliver(store, path, image)
    if finish:
        ready.replace(output)
    # First, for what is resumed with a part of its data gone would be wrong.
    (folder / JOB).unlink()
    shutil.rmtree(folder)
    return found


def summary(folder, about):
    """Return the `Found` of blocks that are done."""
    count = len(blocks_of(about))
    marks = [json.loads(mark(folder, i).read_text(encoding="utf-8")) for i in range(count)]
    share = sum(m["foreground"] for m in marks) / np.prod(about["shape"])
    center = tuple(max(marks, key=lambda m: m["most"])["center"])
    return Found(float(share), center, max(m["highest"] for m in marks))


def finish_labels(folder, about, image, path, finish, on_slab):
    """Write the finished labels of a job whose blocks are done; return their `Found`."""
    import zarr

    if path.is_dir():  # an interrupted run's
        shutil.rmtree(path)
    labels = zarr.open_array(folder / "labels.zarr" / "0", mode="r")
    probability = None
    if finish.instances:
        probability = zarr.open_array(folder / "probability.zarr" / "0", mode="r")
    threshold = about["threshold"]
    return write_finished(labels, probability, image, path, finish, threshold, on_slab)[1]


def deliver(store, path, image):
    """Rename a finished array to a Zarr output, or copy it to a file of another format."""
    import zarr

    if kind_of(path) == ".zarr":
        put_in_place(store, path, labels=store.name == "labels.zarr")
        return
    array = zarr.open_array(store / "0", mode="r")
    with create_volume(path, array.shape, array.dtype, like=image) as append:
        for z in range(0, array.shape[0], array.chunks[0]):
            append(array[z : z + array.chunks[0]])
