"""`volseg predict`."""

import math
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from .common import (
    Axes,
    Channel,
    Level,
    Series,
    Time,
    VolumeFile,
    VolumeOptions,
    VoxelSize,
    normalization,
    place_of,
    quiet,
)


def predict(
    volume: VolumeFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="Label volume to write.")],
    model: Annotated[
        list[str],
        typer.Option(
            help="Folder of a run, .keras, SavedModel or published name; several are averaged."
        ),
    ] = ("H",),
    threshold: Annotated[
        str,
        typer.Option(
            help="Least foreground probability, for two classes; auto: as stored with the model."
        ),
    ] = "0.5",
    instances: Annotated[
        bool, typer.Option("--instances", help="Write ids of instances, 32 bits, not class ids.")
    ] = False,
    median: Annotated[
        int, typer.Option(help="Side of a median filter in voxels, odd; 1 for none.")
    ] = 1,
    fill_holes: Annotated[
        bool, typer.Option("--fill-holes", help="Fill holes, in memory: 10 bytes a voxel, ids 16.")
    ] = False,
    min_size: Annotated[
        int | None,
        typer.Option(
            help="Least voxels of a connected component, in memory as above; of an instance, in "
            "slabs, 100 by default."
        ),
    ] = None,
    probability: Annotated[
        bool, typer.Option("--probability", help="Also write NAME_probability.")
    ] = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over flips and transpositions: better, slower.")
    ] = False,
    seamless: Annotated[
        bool, typer.Option("--seamless", help="Enough context that no tile shows: slower.")
    ] = False,
    normalize: Annotated[
        str,
        typer.Option(
            help="Standardise by the statistics of the volume, the constants of the model, or "
            "MEAN,STD."
        ),
    ] = "volume",
    rescale: Annotated[
        bool,
        typer.Option("--rescale", help="Show the model voxels of the size it was trained on."),
    ] = False,
    axes: Axes = None,
    time: Time = None,
    channel: Channel = None,
    level: Level = 0,
    series: Series = None,
    voxel_size: VoxelSize = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an unfinished run stopped.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the work (Dask).")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Dask scheduler, e.g. tcp://host:8786, that shares it.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, keras, openvino or onnxruntime.")] = "auto",
):
    """Segment a volume; writes class ids, or ids of instances, and a picture beside them.

    Example: volseg predict volume.tif --model runs/h -o labels.tif
    """
    from ..inference.finish import Finish
    from ..inference.write import SMALL
    from ..volumes.volume import open_volume

    options = {"tta": tta, "seamless": seamless, "normalization": normalization(normalize)}
    model = list(model)
    threshold = chosen_threshold(threshold, model)
    finish = Finish(median, instances, fill_holes, min_size)
    told = VolumeOptions(axes, time, channel, level, series, voxel_size)
    source = {"path": str(volume), **asdict(told)}
    files = checked_files(volume, output, probability)
    image = open_volume(**source)
    options["scale"] = scale_to(model, image) if rescale else (1, 1, 1)
    finish.check(image.shape, output)
    finish = finish if finish.needed else None
    from ..inference.runner import job_folder

    large = math.prod(image.shape) > SMALL
    if large or resume or workers or cluster or job_folder(output).exists():
        what = {"model": model, "engine": engine, "threshold": threshold, "resume": resume}
        job = {**what, **options, "probability": probability, "instances": instances}
        found = by_blocks(files, source, job, finish, workers, cluster)
        pixels, labels = image, open_volume(output)
    else:
        arguments = (files, image, model, engine, threshold, finish)
        pixels, labels, found = in_one_go(*arguments, options)
    from ..report.plots import overlay

    picture = overlay(pixels, labels, files["picture"], center=found.center)
    count = f", {found.highest} instances" if instances else ""
    print(f"Wrote {output} ({found.share:.1%} foreground{count}) and {picture}")


def chosen_threshold(text, models):
    """Return the number that a threshold stands for; "auto" is the mean of the models' own."""
    if text == "auto":
        from ..pretrained.presets import stored_threshold

        print(f"Threshold {(value := sum(map(stored_threshold, models)) / len(models)):.4g}")
        return value
    with suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise ValueError(
        "Invalid value for `threshold`. Expected a number between 0 and 1, or auto. "
        f"Received: threshold={text}"
    )


def scale_to(models, image):
    """Return how many voxels of the models' size there are for one of a volume, (z, y, x)."""
    from ..pretrained.presets import trained_voxel_size

    sizes = {size and tuple(size) for size in map(trained_voxel_size, models)}
    (size,) = sizes if len(sizes) == 1 else (None,)
    told = " and ".join(map(str, sizes - {None}))
    for name, known, found in (("voxel_size", image.voxel_size, ""), ("model", size, told)):
        if not known:
            raise ValueError(
                f"Invalid value for `{name}`. Expected a voxel size, to rescale by. "
                f"Received: {found or 'none'}"
            )
    return tuple(round(a / b, 4) for a, b in zip(image.voxel_size, size, strict=True))


def checked_files(volume, output, probability):
    """Return the files to write, or raise where one cannot be."""
    from ..volumes.formats import kind_of
    from ..volumes.writing import checked_output

    checked_output(output)
    kind = kind_of(output)
    stem = output.name[: -len(kind)]
    files = {"labels": output, "picture": output.with_name(f"{stem}_overlay.png")}
    files["probability"] = output.with_name(f"{stem}_probability{kind}") if probability else None
    if probability:
        checked_output(files["probability"])
    source = place_of(volume).resolve()
    written = [path.resolve() for path in files.values() if path]
    if source in (*written, output.resolve().parent):
        raise ValueError(
            "Invalid value for `output`. Expected another file, in another folder, than the "
            f"input. Received: {output}"
        )
    return files


def in_one_go(files, image, model, engine, threshold, finish, options):
    """Segment slab by slab; return pixels, labels and a `Found`."""
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console

    seamless = options.pop("seamless")
    with Console().status("opening the model"), quiet(), ThreadPoolExecutor(1) as pool:
        # Read meanwhile, once, and not again for the picture.
        reading = pool.submit(image.__getitem__, ...)
        from ..inference.open_model import open_model

        segmenter = open_model(model, engine)
        segmenter.check_threshold(threshold)
        if finish and finish.instances:
            segmenter.check_two_classes()
        whole = options["normalization"] == "volume"
        pixels = reading.result() if whole else image
        intensity = segmenter.intensity(pixels, options["normalization"])
        options["normalization"] = intensity or "model"
        ready = segmenter.engine(pixels, **options)
    pixels = reading.result()
    if intensity:
        print(intensity, flush=True)
    from ..inference.finish import write_finished
    from ..inference.write import write_labels
    from ..report.console import progress_bar
    from ..volumes.volume import open_volume

    def predicted(labels, probability):
        with progress_bar("predicting") as on_tile:
            cut = {"seamless": seamless, "scale": options["scale"]}
            slabs = segmenter.segment(pixels, threshold, engine=ready, on_tile=on_tile, **cut)
            return write_labels(slabs, image, labels, probability)

    if not finish:
        return pixels, *predicted(files["labels"], files["probability"])
    kept = {"prefix": ".volseg.", "dir": files["labels"].parent, "ignore_cleanup_errors": True}
    with TemporaryDirectory(**kept) as folder:
        levels = files["probability"] or finish.instances and Path(folder, "probability.npy")
        labels, _ = predicted(Path(folder, "labels.npy"), levels)
        levels = open_volume(levels) if finish.instances else None
        with progress_bar("cleaning") as on_slab:
            return pixels, *write_finished(
                labels, levels, image, files["labels"], finish, threshold, on_slab
            )


def by_blocks(files, source, job, finish, workers, cluster):
    """Segment block by block, resumably; return a `Found`."""
    from rich.console import Console

    with Console().status("opening the model and measuring the volume"), quiet():
        from ..inference.runner import dask, finish_job, job_intensity, run_job, start_job

        if workers or cluster:
            dask()
        folder = start_job(files["labels"], source, **job)
    if intensity := job_intensity(folder):
        print(intensity, flush=True)
    from ..report.console import progress_bar

    with progress_bar("predicting") as on_block:
        run_job(folder, workers=workers, cluster=cluster, on_block=on_block)
    if finish:
        with progress_bar("cleaning") as on_slab:
            return finish_job(folder, files["labels"], files["probability"], finish, on_slab)
    with Console().status("writing"):
        return finish_job(folder, files["labels"], files["probability"])
