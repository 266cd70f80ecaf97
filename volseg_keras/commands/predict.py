"""`volseg predict`."""

import math
from pathlib import Path
from typing import Annotated

import typer

from .common import VolumeFile, quiet, triple


def predict(
    volume: VolumeFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="Label volume to write.")],
    model: Annotated[
        str, typer.Option(help="Folder of a run, .keras, SavedModel or published name.")
    ] = "H",
    threshold: Annotated[
        float, typer.Option(help="Least foreground probability, for two classes.")
    ] = 0.5,
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
        str, typer.Option(help="Grey levels by the statistics of the model, or of the volume.")
    ] = "model",
    axes: Annotated[
        str | None, typer.Option(help="Axes of the file, e.g. tczyx, where it is wrong or silent.")
    ] = None,
    time: Annotated[int | None, typer.Option(help="Index on a time axis.")] = None,
    channel: Annotated[int | None, typer.Option(help="Index on a channel axis.")] = None,
    level: Annotated[int, typer.Option(help="Level of a pyramid, 0 the finest.")] = 0,
    voxel_size: Annotated[
        str | None, typer.Option(help="z,y,x in nm, where the file is wrong or silent.")
    ] = None,
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
    """Segment a volume; writes class ids and a picture beside them.

    Example: volseg predict volume.tif --model runs/h -o labels.tif
    """
    from ..data.volumes import open_volume

    for name, value, good, expected in (
        ("threshold", threshold, 0 < threshold < 1, "a number between 0 and 1"),
        ("normalize", normalize, normalize in ("model", "volume"), "model or volume"),
    ):
        if not good:
            raise ValueError(
                f"Invalid value for `{name}`. Expected {expected}. Received: {name}={value}"
            )
    source = {"path": str(volume), "axes": axes, "time": time, "channel": channel, "level": level}
    source["voxel_size"] = triple("voxel_size", voxel_size)
    files = checked_files(volume, output, probability)
    options = {"tta": tta, "seamless": seamless}
    options["normalization"] = "volume" if normalize == "volume" else None
    image = open_volume(**source)
    from ..zoo.job import job_folder

    large = math.prod(image.shape) > 2**27
    if large or resume or workers or cluster or job_folder(output).exists():
        what = {"model": model, "engine": engine, "threshold": threshold, "resume": resume}
        job = {**what, **options, "probability": probability}
        share, center = by_blocks(files, source, job, workers, cluster)
        pixels, labels = image, open_volume(output)
    else:
        pixels, labels, share, center = in_one_go(files, image, model, engine, threshold, options)
    from ..report.plots import overlay

    picture = overlay(pixels, labels, files["picture"], center=center)
    print(f"Wrote {output} ({share:.1%} foreground) and {picture}")


def checked_files(volume, output, probability):
    """Return the files to write, or raise where one cannot be."""
    from ..data.formats import kind_of
    from ..data.writing import checked_output

    checked_output(output)
    kind = kind_of(output)
    stem = output.name[: -len(kind)]
    files = {"labels": output, "picture": output.with_name(f"{stem}_overlay.png")}
    files["probability"] = output.with_name(f"{stem}_probability{kind}") if probability else None
    if probability:
        checked_output(files["probability"])
    source = Path(str(volume).partition("::")[0]).resolve()
    slices = source.parent if "*" in source.name else source
    written = [path.resolve() for path in files.values() if path]
    if slices in (*written, output.resolve().parent):
        raise ValueError(
            "Invalid value for `output`. Expected another file, in another folder, than the "
            f"input. Received: {output}"
        )
    return files


def in_one_go(files, image, model, engine, threshold, options):
    """Segment slab by slab; return pixels, labels, the foreground's share and a voxel of it."""
    from rich.console import Console

    with Console().status("opening the model"), quiet():
        from ..zoo.segmenter import open_model

        segmenter = open_model(model, engine)
    from ..inference.write import write_labels
    from ..report.console import progress_bar

    with progress_bar("predicting") as on_tile:
        # Read once, and not again for the picture.
        pixels = image[...]
        slabs = segmenter.segment(pixels, threshold, on_tile=on_tile, **options)
        found = write_labels(slabs, image, files["labels"], files["probability"])
    return pixels, *found


def by_blocks(files, source, job, workers, cluster):
    """Segment block by block, resumably; return the foreground's share and a voxel of it."""
    from rich.console import Console

    with Console().status("opening the model"), quiet():
        from ..zoo.job import finish_job, run_job, start_job

        folder = start_job(files["labels"], source, **job)
    from ..report.console import progress_bar

    with progress_bar("predicting") as on_block:
        run_job(folder, workers=workers, cluster=cluster, on_block=on_block)
    with Console().status("writing"):
        return finish_job(folder, files["labels"], files["probability"])
