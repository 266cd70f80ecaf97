"""`volseg predict`."""

from dataclasses import asdict
from pathlib import Path
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
    display,
    normalization,
)

MOST = 0.5  # share of the foreground above which something is wrong


def predict(
    volume: VolumeFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="Label volume to write.")],
    model: Annotated[
        list[str],
        typer.Option(
            help="Folder of a run, .keras, SavedModel or published name; several are averaged. "
            "auto chooses by the size of the voxels."
        ),
    ] = ("auto",),
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
        bool | None,
        typer.Option(
            "--rescale/--no-rescale",
            help="Show the model voxels of the size it was trained on. [default: where the sizes "
            "are known and differ by more than a quarter]",
            show_default=False,
        ),
    ] = None,
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

    Example: volseg predict volume.tif -o labels.tif
    """
    from ..inference.job import Job, ModelChoice, SourceVolume
    from ..inference.options import PredictionOptions
    from ..inference.runner import segment_file
    from ..postprocessing.pipeline import PostProcessing

    volume_options = VolumeOptions(axes, time, channel, level, series, voxel_size)
    job = Job(
        SourceVolume(str(volume), **asdict(volume_options)),
        output,
        ModelChoice(model, engine),
        threshold,
        PredictionOptions(tta, seamless, normalization(normalize)),
        rescale,
        PostProcessing(median, instances, fill_holes, min_size),
        probability,
        resume,
        workers,
        cluster,
    )
    found, picture = segment_file(job, display())
    count = f", {found.highest} instances" if instances else ""
    print(f"Wrote {output} ({found.share:.1%} foreground{count}) and {picture}")
    if found.share > MOST:
        print(
            f"{found.share:.0%} of the volume is foreground, which is more than organelles fill: "
            "look at the picture; invert a volume whose organelles are bright, or train the model "
            "on a few sections of yours (volseg train)"
        )
