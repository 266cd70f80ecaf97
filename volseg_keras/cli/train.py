"""`volseg train`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from .common import VolumeOptions, parse_normalization, parse_numbers, takes_volume_options
from .terminal import start_keras

FEWEST_STEPS = 25  # fewer hardly change a network


@takes_volume_options
def train(
    volume_options: VolumeOptions,
    volumes: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE LABELS [IMAGE LABELS]...",
            help="Volumes, each followed by its labels: class ids, or a mask of two grey levels. "
            "Sections without labels are treated as unannotated, unless 255 marks unannotated "
            "voxels or --model is given.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    model: Annotated[
        str,
        typer.Option(
            help="Network to train from scratch: U-Net, A to H. Weights published under the same "
            "name are not used: that is --from. auto: choose a model to start from."
        ),
    ] = "auto",
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Published name, run or .keras file to start from, or scratch; default: the "
            "published model that scores best on the annotated sections.",
        ),
    ] = None,
    normalize: Annotated[
        str,
        typer.Option(
            help="volume: standardise each volume with its own mean and standard deviation; model: "
            "with the constants stored in the model of --from; or MEAN,STD, such as 128,30."
        ),
    ] = "volume",
    recipe: Annotated[
        str | None,
        typer.Option(help="fast, finetune or paper; by default finetune, from scratch fast."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Budget in minutes, with the scoring in between; choosing a start and a threshold "
            "takes a few more."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in steps.")] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Patches per step (per GPU with --all-gpus); default: the recipe's (fast 2; "
            "finetune 2, in 3D 4; paper 24, in 3D 3).",
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            help="Part of every volume to validate on: AXIS:START:STOP in voxels, at one end of "
            "the axis, e.g. x:0:256, or a section, z=7; repeat it to give each volume its own, or "
            "none. By default, without --model and --validate, one of three or more annotated "
            "sections is held out at first."
        ),
    ] = None,
    validate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="IMAGE LABELS", help="A volume to validate on and its labels; repeatable."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Share of patches that each volume gets, e.g. 2,1.")
    ] = None,
    self_train: Annotated[
        bool,
        typer.Option(
            "--self-train",
            help="Finally, also learn from confident predictions on unannotated sections; not "
            "with a section given by --hold-out.",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Resume the interrupted run in -o with the same options, or start a new one.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights and patches.")] = 0,
    all_gpus: Annotated[
        bool,
        typer.Option("--all-gpus", help="Use all GPUs for each step, a batch for each of them."),
    ] = False,
):
    """Train a network on labelled volumes; a few annotated sections are enough.

    By default, the published model that scores best on them is trained for ten more minutes.

    Example: volseg train stack.tif labels.tif -o run
    """
    from ..training.network_choice import check_network

    statistics = parse_normalization(normalize)
    check_network(model, start, self_train)
    shares = parse_numbers("weights", weights)
    trained = volume_options.open_labelled("volumes", volumes)
    validated = volume_options.open_labelled("validate", validate or [])
    start_keras()
    from ..pretrained.summaries import total_of
    from ..training.fit_by_name import fit_by_name
    from ..training.request import Request

    images, labels = map(list, zip(*trained, strict=True))
    request = Request(
        model=model,
        images=images,
        labels=labels,
        output=output,
        validation=validated,
        recipe=recipe,
        steps=steps,
        minutes=minutes,
        batch_size=batch_size,
        hold_out=hold_out[0] if hold_out and len(hold_out) == 1 else hold_out,
        weights=shares,
        resume=resume,
        seed=seed,
        start=start,
        normalization=statistics,
        self_train=int(self_train),
    )
    summary = fit_by_name(request, all_gpus=all_gpus)
    count = total_of(summary, "steps")
    print(
        f"Trained {summary['variant'].upper()}: {count} step{'s' * (count != 1)}"
        f"{held_out_text(summary)}. "
        f"Model, history and curve: {output}"
    )
    if count < FEWEST_STEPS and steps is None:
        print(
            "Too few steps to learn much: most of the time went into compiling. Train longer, for "
            "example --minutes 10, into a new -o"
        )
    if model == "auto":
        given = ["--model", str(output), *volume_options.as_arguments()]
        again = shlex.join(["volseg", "predict", str(volumes[0]), *given])
        print(f"Threshold {summary['threshold']:.3g}. Next: {again} --threshold auto -o FILE")


def held_out_text(summary):
    """Return the score of the held-out parts as text; if several, also that of each."""
    if summary["held_out_jaccard"] is None:
        return ""
    each = summary["held_out"]
    parts = ", ".join(f"{name} {value:.3f}" for name, value in each.items())
    more = f" ({parts})" if len(each) > 1 else ""
    return f", held-out Jaccard {summary['held_out_jaccard']:.3f}{more}"
