"""`volseg train`, `volseg demo`, `volseg models`."""

from contextlib import nullcontext
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
    count_classes,
    normalization,
    start_keras,
)


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = Path("demo"),
    train: Annotated[bool, typer.Option("--train", help="Train on another phantom first.")] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Training time, of --train. [default: 3]")
    ] = None,
):
    """Segment a phantom by the published model H, score, export, reload, draw.

    Example: volseg demo -o demo
    """
    if minutes is not None and not (train and minutes > 0):
        raise ValueError(
            "Invalid value for `minutes`. Expected a positive number, and --train. "
            f"Received: minutes={minutes}, train={train}"
        )
    start_keras()
    from ..demo import run

    run(output, (minutes or 3.0) if train else None)


def models():
    """Print the networks of Table 1 with their parameters.

    Example: volseg models
    """
    start_keras()
    from ..nets.models import build_model
    from ..nets.variants import VARIANTS
    from ..report.console import print_table

    rows = [
        (name, f"{build_model(name).count_params() / 1e6:.2f}", row.description)
        for name, row in VARIANTS.items()
    ]
    print_table(("model", "parameters (M)", "network"), rows)


def train(
    image: VolumeFile,
    label: Annotated[Path, typer.Argument(help="Labels: class ids, or a mask of two grey levels.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    model: Annotated[
        str | None, typer.Option(help="Network, see `volseg models`; H by default.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Published name, run or .keras whose weights to start from."),
    ] = None,
    normalize: Annotated[
        str, typer.Option(help="With --from: grey levels by the statistics of model or volume.")
    ] = "model",
    recipe: Annotated[
        str, typer.Option(help="paper, fast, long, rigid, finetune, sheaths, robust or demo.")
    ] = "fast",
    minutes: Annotated[float | None, typer.Option(help="Budget in minutes.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in steps.")] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(help="Part kept for validation, e.g. x:0:256."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in -o, if one began.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights and patches.")] = 0,
    all_gpus: Annotated[
        bool, typer.Option("--all-gpus", help="Share each step; every GPU takes a whole batch.")
    ] = False,
    axes: Axes = None,
    time: Time = None,
    channel: Channel = None,
    level: Level = 0,
    series: Series = None,
    voxel_size: VoxelSize = None,
):
    """Train a network on a labelled volume.

    Example: volseg train image.tif label.tif --minutes 60 --hold-out x:0:256 -o runs/h
    """
    from ..data.labels import class_ids
    from ..nets.variants import get_variant
    from ..zoo.presets import load_pretrained, model_file

    statistics = normalization(normalize)
    if start and model:
        raise ValueError(
            "Invalid value for `model`. Expected none with `from`, which tells the network. "
            f"Received: model={model}, from={start}"
        )
    if start:
        model_file(start)
    else:
        get_variant(model := model or "H")
    told = VolumeOptions(axes, time, channel, level, series, voxel_size)
    opened = told.open_all(image=image, label=label)
    volume, labels = opened["image"], class_ids(opened["label"])
    keras = start_keras()
    from ..inference.engines import on_gpu
    from ..nets.models import at_policy, build_model
    from ..training.devices import data_parallel
    from ..training.fit import fit

    keras.utils.set_random_seed(seed)
    if on_gpu():
        keras.config.set_dtype_policy("mixed_bfloat16")
    with data_parallel() if all_gpus else nullcontext():
        network = (
            at_policy(load_pretrained(start))
            if start
            else build_model(model, num_classes=count_classes(labels))
        )
        summary = fit(
            network,
            volume,
            labels,
            output=output,
            recipe=recipe,
            steps=steps,
            minutes=minutes,
            hold_out=hold_out,
            resume=resume,
            seed=seed,
            start=start,
            normalization=statistics,
        )
    score = summary["held_out_jaccard"]
    told = f", held-out Jaccard {score:.3f}" if score is not None else ""
    name = network.name.upper()
    print(f"Trained {name}: {summary['steps']} steps{told}. Model, history and curve: {output}")
