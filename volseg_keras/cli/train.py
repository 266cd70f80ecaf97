"""`volseg train`."""

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .common import (
    VolumeOptions,
    normalization,
    numbers,
    start_keras,
    takes_volume_options,
)


@takes_volume_options
def train(
    volume_options: VolumeOptions,
    volumes: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE LABELS [IMAGE LABELS]...",
            help="Volumes, each followed by its labels: class ids, or a mask of two grey levels. "
            "Empty sections count as not annotated, unless 255 marks what is not, or --model is "
            "given.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Network to train from scratch: U-Net, A to H. Weights published under the same "
            "name are not used: that is --from. auto: choose a model to start from."
        ),
    ] = None,
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
            help="Standardise with the statistics of each volume, with the constants of the model "
            "of --from, or with MEAN,STD."
        ),
    ] = "volume",
    recipe: Annotated[
        str | None,
        typer.Option(help="fast, finetune or paper; by default finetune, from scratch fast."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Budget in minutes of training; choosing a start and scoring take a few more."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in steps.")] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Patches a step, by default 2 or, of thin 3D patches, 4; more on a GPU."
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            help="Part of every volume to validate on: AXIS:START:STOP in voxels, at one end of "
            "the axis, e.g. x:0:256, or a section, z=7; repeat it to give each volume its own, or "
            "none. Without --model, one of three or more annotated sections is held out at first."
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
            help="Finally, also learn from confident predictions on unannotated sections.",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the interrupted training in -o, or start it; repeat its options.",
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
    statistics = normalization(normalize)
    model = None if model == "auto" else model
    check_network(start, model, self_train)
    shares = numbers("weights", weights)
    trained = opened_pairs("volumes", volumes, volume_options)
    validated = opened_pairs("validate", validate or [], volume_options)
    start_keras()
    import keras

    from ..networks.models import build_model
    from ..training.arguments import check_run, make_budget
    from ..training.checkpoint import CHECKPOINT
    from ..training.devices import data_parallel
    from ..training.fit import fit
    from ..training.labelled_volumes import with_class_ids
    from ..training.recipes import get_recipe
    from ..volumes.labels import count_classes

    make_budget(get_recipe(recipe or "fast"), steps, minutes)
    if not resume:
        check_run(output / CHECKPOINT, resume)
    (images, labels), validated = with_class_ids(trained), with_class_ids(validated)
    keras.utils.set_random_seed(seed)
    with data_parallel() if all_gpus else nullcontext():
        network = "auto"
        if model:
            classes = count_classes(*(label.present for label in labels))
            network = build_model(model, num_classes=classes)
        summary = fit(
            network,
            images,
            labels,
            output=output,
            recipe=recipe,
            steps=steps,
            minutes=minutes,
            batch_size=batch_size,
            hold_out=hold_out[0] if hold_out and len(hold_out) == 1 else hold_out,
            validation=zip(*validated, strict=True),
            weights=shares,
            resume=resume,
            seed=seed,
            start=start,
            normalization=statistics,
            self_train=int(self_train),
        )
    count = summary.get("total_steps", summary["steps"])
    print(
        f"Trained {summary['variant'].upper()}: {count} steps{held_out_text(summary)}. "
        f"Model, history and curve: {output}"
    )
    if not model:
        given = ["--model", str(output), *volume_options.as_arguments()]
        given += [] if normalize == "volume" else ["--normalize", constants(summary)]
        again = shlex.join(["volseg", "predict", str(volumes[0]), *given])
        print(f"Threshold {summary['threshold']:.3g}. Next: {again} --threshold auto -o FILE")


def constants(summary):
    """Return --normalize for what a network was trained with; "model" for several channels."""
    pair = summary["normalization"].values()
    single = not any(isinstance(value, list | tuple) for value in pair)
    return ",".join(f"{value:.6g}" for value in pair) if single else "model"


def check_network(start, model, self_train):
    """Raise ValueError unless the network, or the model to start from, exists."""
    from ..networks.variants import get_variant
    from ..pretrained.presets import model_file

    expected = "none with --from, which determines the network"
    require(not (start and model), "model", expected, f"model={model}, from={start}")
    require(not (self_train and model), "self_train", "no --model with it", model)
    if start and start != "scratch":
        model_file(start)
    if model:
        get_variant(model)


def opened_pairs(name, files, volume_options):
    """Return open `(image, labels)` of files in turn.

    Args:
        name: of the argument.
        files: an image, its labels, and so on.
        volume_options: how to read them.

    Raises:
        ValueError: the number of files is odd, or labels have another shape than their image.
    """
    expected = "each image followed by its labels"
    require(len(files) % 2 == 0, name, expected, f"{len(files)} files")
    pairs = zip(files[::2], files[1::2], strict=True)
    opened = []
    for image, label in pairs:
        pair = volume_options.open_all(image=image, label=label)
        shape, found = pair["image"].shape[:3], pair["label"].shape
        expected = f"labels of the shape (z, y, x) of {image}, {shape}"
        require(found == shape, name, expected, f"{label} of shape {found}")
        opened.append((pair["image"], pair["label"]))
    return opened


def held_out_text(summary):
    """Return the score of the held-out parts as text; if several, also that of each."""
    if summary["held_out_jaccard"] is None:
        return ""
    each = summary["held_out"]
    parts = ", ".join(f"{name} {value:.3f}" for name, value in each.items())
    more = f" ({parts})" if len(each) > 1 else ""
    return f", held-out Jaccard {summary['held_out_jaccard']:.3f}{more}"
