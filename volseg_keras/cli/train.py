"""`volseg train`."""

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
    VolumeOptions,
    VoxelSize,
    count_classes,
    normalization,
    numbers,
    start_keras,
)


def train(
    volumes: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE LABELS [IMAGE LABELS]...",
            help="Volumes, each followed by its labels: class ids, or a mask of two grey levels.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Network of `volseg models`, from scratch and by `fast`; auto looks for a start."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Published name, run or .keras whose weights to start from, or scratch; by "
            "default the published model that does best on the annotated sections.",
        ),
    ] = None,
    normalize: Annotated[
        str,
        typer.Option(
            help="Standardise by the statistics of each volume, with --from the constants of the "
            "model, or MEAN,STD."
        ),
    ] = "volume",
    recipe: Annotated[
        str | None,
        typer.Option(help="fast, finetune or paper; by default finetune from weights, else fast."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget in minutes.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in steps.")] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            help="Part kept for validation, e.g. x:0:256, or z=7 for a section, of every volume; "
            "or, given once for each volume, of that one, none for none. Without --model, one of "
            "three or more annotated sections is kept at first."
        ),
    ] = None,
    validate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="IMAGE LABELS", help="A volume to validate on, with its labels; repeatable."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Shares of the patches, one a volume, e.g. 2,1.")
    ] = None,
    self_train: Annotated[
        bool,
        typer.Option(
            "--self-train",
            help="In the end also learn from what the network is sure of on other sections.",
        ),
    ] = False,
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
    """Train a network on labelled volumes, of which a few annotated sections are enough.

    Looks which published model does best on them, and trains that for ten minutes.

    Example: volseg train stack.tif labels.tif -o run
    """
    statistics = normalization(normalize)
    model = None if model == "auto" else model
    check_network(start, model, self_train)
    shares = numbers("weights", weights)
    given = VolumeOptions(axes, time, channel, level, series, voxel_size)
    trained = opened_pairs("volumes", volumes, given)
    validated = opened_pairs("validate", validate or [], given)
    keras = start_keras()
    from ..inference.engines import on_gpu
    from ..networks.models import build_model
    from ..training.devices import data_parallel
    from ..training.fit import fit
    from ..training.volumes import known_ids, with_class_ids

    (images, labels), validated = with_class_ids(trained), with_class_ids(validated)
    keras.utils.set_random_seed(seed)
    if on_gpu():
        keras.config.set_dtype_policy("mixed_bfloat16")
    with data_parallel() if all_gpus else nullcontext():
        classes = count_classes(*map(known_ids, labels))
        network = build_model(model, num_classes=classes) if model else "auto"
        summary = fit(
            network,
            images,
            labels,
            output=output,
            recipe=recipe,
            steps=steps,
            minutes=minutes,
            hold_out=hold_out[0] if hold_out and len(hold_out) == 1 else hold_out,
            validation=zip(*validated, strict=True),
            weights=shares,
            resume=resume,
            seed=seed,
            start=start,
            normalization=statistics,
            self_train=int(self_train),
        )
    print(
        f"Trained {summary['variant'].upper()}: {summary['steps']} steps{held_out_text(summary)}. "
        f"Model, history and curve: {output}"
    )
    if not model:
        again = f"volseg predict {volumes[0]} --model {output} --threshold auto -o FILE"
        print(f"Threshold {summary['threshold']:.3g}. Next: {again}")


def check_network(start, model, self_train):
    """Raise ValueError unless there is a network to start from, or one of that name."""
    from ..networks.variants import get_variant
    from ..pretrained.presets import model_file

    if start and model:
        raise ValueError(
            "Invalid value for `model`. Expected none with `from`, which tells the network. "
            f"Received: model={model}, from={start}"
        )
    if self_train and model:
        raise ValueError(
            f"Invalid value for `self_train`. Expected no `model` beside it. Received: {model}"
        )
    if start and start != "scratch":
        model_file(start)
    if model:
        get_variant(model)


def opened_pairs(name, files, given):
    """Return open `(image, labels)` of files in turn, or raise ValueError for an odd number.

    Args:
        name: of the argument.
        files: an image, its labels, and so on.
        given: a `VolumeOptions`.
    """
    if len(files) % 2:
        raise ValueError(
            f"Invalid value for `{name}`. Expected each image followed by its labels. "
            f"Received: {len(files)} files"
        )
    pairs = zip(files[::2], files[1::2], strict=True)
    return [tuple(given.open_all(image=image, label=label).values()) for image, label in pairs]


def held_out_text(summary):
    """Return the score of the held-out parts as text, of several each one's too."""
    if summary["held_out_jaccard"] is None:
        return ""
    each = summary["held_out"]
    parts = ", ".join(f"{name} {value:.3f}" for name, value in each.items())
    more = f" ({parts})" if len(each) > 1 else ""
    return f", held-out Jaccard {summary['held_out_jaccard']:.3f}{more}"
