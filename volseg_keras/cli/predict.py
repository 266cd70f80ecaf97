"""`volseg predict`."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..inference.engines.names import ENGINES
from .common import (
    VolumeFile,
    VolumeOptions,
    parse_normalization,
    parse_numbers,
    takes_volume_options,
)
from .terminal import display

SUSPICIOUS_FOREGROUND = 0.5  # a larger share is likely to be a mistake

EngineName = StrEnum("EngineName", list(ENGINES))


@takes_volume_options
def predict(
    volume_options: VolumeOptions,
    volume: VolumeFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="Label volume to write.")],
    model: Annotated[
        list[str],
        typer.Option(
            help="Folder of a run, .keras, SavedModel or published name; repeat it to average "
            "several. auto averages mito-2d and mito-3d (fewer than 8 sections: mito-2d alone)."
        ),
    ] = ("auto",),
    threshold: Annotated[
        str,
        typer.Option(
            help="Minimum foreground probability, for two classes; auto: the value stored with the "
            "model."
        ),
    ] = "0.5",
    instances: Annotated[
        bool,
        typer.Option("--instances", help="Write 32-bit instance ids instead of class ids."),
    ] = False,
    median: Annotated[
        int, typer.Option(help="Side of a median filter in voxels, odd; 1 for none.")
    ] = 1,
    fill_holes: Annotated[
        bool,
        typer.Option(
            "--fill-holes", help="Fill holes; needs 10 bytes of RAM per voxel, 16 with --instances."
        ),
    ] = False,
    min_size: Annotated[
        int | None,
        typer.Option(
            help="Remove connected components of fewer voxels; needs memory like --fill-holes. "
            "With --instances: merge smaller instances with a neighbour, or drop them (default: "
            "100), without extra memory."
        ),
    ] = None,
    probability: Annotated[
        bool, typer.Option("--probability", help="Also write NAME_probability.")
    ] = False,
    tta: Annotated[
        bool | None,
        typer.Option(
            "--tta/--no-tta",
            help="Average over all flips and transpositions, at 16 (2D: 8) times the cost, or over "
            "none; default: the number of views stored with the model.",
            show_default=False,
        ),
    ] = None,
    seamless: Annotated[
        bool,
        typer.Option(
            "--seamless",
            help="Give tiles enough context that no seams show, at two to four times the cost.",
        ),
    ] = False,
    normalize: Annotated[
        str | None,
        typer.Option(
            help="volume: standardise with the mean and standard deviation of the volume; model: "
            "with the constants stored in the model; or MEAN,STD, such as 128,30; by default as "
            "the model was trained.",
            show_default=False,
        ),
    ] = None,
    rescale: Annotated[
        bool | None,
        typer.Option(
            "--rescale/--no-rescale",
            help="Rescale the volume to the voxel size that the model was trained at; by default "
            "if the sizes are known and differ by more than a quarter, at most fourfold.",
            show_default=False,
        ),
    ] = None,
    smoothing: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="2D models: average predictions over neighbouring sections by a Gaussian of this "
            "standard deviation in pixels, divided by the measured section thickness; 0: off; "
            "default: the value stored with the model.",
            show_default=False,
        ),
    ] = None,
    zooms: Annotated[
        str | None,
        typer.Option(
            help="2D models: average predictions at several zooms, such as 1,0.75, which takes "
            "about twice as long; 1: off; default: the value stored with the model.",
            show_default=False,
        ),
    ] = None,
    denoise: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Smooth the image first, by a Gaussian of this standard deviation in pixels; 0: "
            "off; default: only for 3D models, if the image is noisier than their training data.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted prediction.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the work (Dask).")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler that shares the work, e.g. tcp://host:8786."
        ),
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="Inference library; auto: OpenVINO on a CPU, Keras on a GPU. onnxruntime needs "
            "the extra onnx."
        ),
    ] = EngineName.auto,
    view: Annotated[bool, typer.Option("--view", help="Open the result in a viewer.")] = False,
):
    """Segment a volume; write class ids, or instance ids, and a picture next to them.

    Example: volseg predict volume.tif -o labels.tif
    """
    from ..inference.jobs.file_segmentation import segment_file
    from ..inference.jobs.job import Job, RequestedModels, SourceVolume
    from ..inference.options import PredictionOptions
    from ..postprocessing.pipeline import PostProcessing

    job = Job(
        SourceVolume(str(volume), **asdict(volume_options)),
        output,
        RequestedModels(model, engine.value),
        threshold=threshold,
        prediction=PredictionOptions(
            tta=tta,
            seamless=seamless,
            normalization=parse_normalization(normalize),
            smoothing=smoothing,
            zooms=parse_numbers("zooms", zooms),
            denoise=denoise,
        ),
        rescale=rescale,
        postprocessing=PostProcessing(median, instances, fill_holes, min_size),
        probability=probability,
        resume=resume,
        workers=workers,
        cluster=cluster,
    )
    found, files = segment_file(job, display())
    count = f", {found.highest} instances" if instances else ""
    print(f"Wrote {output} ({found.share:.1%} foreground{count}) and {files.picture}")
    if found.share > SUSPICIOUS_FOREGROUND and (instances or found.highest == 1):
        print(
            f"{found.share:.0%} of the volume is foreground, more than organelles usually fill: "
            "check the picture. Invert the volume if organelles are bright, or train the model on "
            "a few annotated sections of your own (volseg train)"
        )
    if view:
        written = {"labels": files.labels, "probability": files.probability}
        from ..napari_plugin.viewer import show_written

        show_written(volume, written, asdict(volume_options))
