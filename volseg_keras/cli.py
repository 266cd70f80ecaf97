"""The `volseg` command: parse, call, print."""

import json
import math
import os
import sys
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

app = typer.Typer(
    help="Segment volumes with small convolutional networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VolumeFile = Annotated[Path, typer.Argument(help="Volume, axes z, y, x; FILE::NAME for HDF5.")]


@contextmanager
def quiet():
    """Keep what TensorFlow writes to standard error while it starts from the user's eyes."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def start_keras():
    """Import Keras and its backend without their greetings."""
    with quiet():
        import keras

        keras.ops.zeros(1)
    return keras


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="Training time.")] = 3.0,
):
    """Train model H on a phantom, segment another, score, export, reload, draw.

    Example: volseg demo -o demo
    """
    if not minutes > 0:
        raise ValueError(
            f"Invalid value for `minutes`. Expected a positive number. Received: minutes={minutes}"
        )
    start_keras()
    from .demo import run

    run(output, minutes)


@app.command()
def models():
    """Print the networks of Table 1 with their parameters.

    Example: volseg models
    """
    start_keras()
    from .nets.models import build_model
    from .nets.variants import VARIANTS
    from .report.console import print_table

    rows = [
        (name, f"{build_model(name).count_params() / 1e6:.2f}", row.description)
        for name, row in VARIANTS.items()
    ]
    print_table(("model", "parameters (M)", "network"), rows)


@app.command()
def train(
    image: VolumeFile,
    label: Annotated[Path, typer.Argument(help="Labels: class ids, or a mask of 0 and 255.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    model: Annotated[str, typer.Option(help="Network, see `volseg models`.")] = "H",
    recipe: Annotated[str, typer.Option(help="paper, fast or demo.")] = "fast",
    minutes: Annotated[float | None, typer.Option(help="Budget in minutes.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in steps.")] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(help="Part kept for validation, e.g. x:0:256."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in -o.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights and patches.")] = 0,
    all_gpus: Annotated[
        bool, typer.Option("--all-gpus", help="Share each step; every GPU takes a whole batch.")
    ] = False,
):
    """Train a network on a labelled volume.

    Example: volseg train image.tif label.tif --minutes 60 --hold-out x:0:256 -o runs/h
    """
    from .data.volumes import class_ids, open_volume
    from .nets.variants import get_variant

    variant = get_variant(model).name
    volume, labels = open_volume(image), class_ids(open_volume(label))
    keras = start_keras()
    from .inference.engines import on_gpu
    from .nets.models import build_model
    from .training.devices import data_parallel
    from .training.fit import fit

    keras.utils.set_random_seed(seed)
    if on_gpu():
        keras.config.set_dtype_policy("mixed_bfloat16")
    with data_parallel() if all_gpus else nullcontext():
        network = build_model(variant, num_classes=count_classes(labels))
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
        )
    score = summary["held_out_jaccard"]
    told = f", held-out Jaccard {score:.3f}" if score is not None else ""
    print(f"Trained {variant}: {summary['steps']} steps{told}. Model, history and curve: {output}")


@app.command()
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
    engine: Annotated[str, typer.Option(help="auto, keras, openvino or onnxruntime.")] = "auto",
):
    """Segment a volume; writes class ids and a picture beside them.

    Example: volseg predict volume.tif --model runs/h -o labels.tif
    """
    from .data.formats import kind_of
    from .data.volumes import open_volume
    from .data.writing import checked_output
    from .report.plots import overlay

    checked_output(output)
    kind = kind_of(output)
    stem = output.name[: -len(kind)]
    probability_file = output.with_name(f"{stem}_probability{kind}")
    if probability:
        checked_output(probability_file)
    if not 0 < threshold < 1:
        raise ValueError(
            "Invalid value for `threshold`. Expected a number between 0 and 1. "
            f"Received: threshold={threshold}"
        )
    source = Path(str(volume).partition("::")[0]).resolve()
    slices = source.parent if "*" in source.name else source
    if slices in (output.resolve(), probability_file.resolve(), output.resolve().parent):
        raise ValueError(
            "Invalid value for `output`. Expected another file, in another folder, than the "
            f"input. Received: {output}"
        )
    image = open_volume(volume)
    from rich.console import Console

    with Console().status("opening the model"), quiet():
        from .zoo.segmenter import open_model

        segmenter = open_model(model, engine)
    from .inference.write import SMALL, write_labels
    from .report.console import progress_bar

    with progress_bar("predicting") as on_tile:
        # What is small is read once, and not again for the picture.
        pixels = image[...] if math.prod(image.shape) < SMALL else image
        slabs = segmenter.segment(pixels, threshold, tta=tta, on_tile=on_tile)
        probability_file = probability_file if probability else None
        labels, share, center = write_labels(slabs, image, output, probability_file)
    picture = output.with_name(f"{stem}_overlay.png")
    overlay(pixels, labels, picture, center=center)
    print(f"Wrote {output} ({share:.1%} foreground) and {picture}")


@app.command()
def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Predicted labels.")],
    truth: Annotated[Path, typer.Argument(help="True labels.")],
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Also write the scores as JSON."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Grey levels; draws prediction and truth on them."),
    ] = None,
):
    """Score predicted labels: precision, recall, Jaccard per class, and VOC.

    Example: volseg evaluate labels.tif truth.tif --json scores.json --image volume.tif
    """
    from .data.volumes import class_ids, open_volume
    from .data.writing import writable_folder

    if json_file:
        writable_folder(json_file.parent)
    maps = [class_ids(open_volume(path)) for path in (truth, prediction)]
    grey = open_volume(image) if image else None
    if grey and grey.shape != maps[0].shape:
        raise ValueError(
            f"Invalid value for `image`. Expected shape {maps[0].shape} as of the labels. "
            f"Received: shape {grey.shape}"
        )
    picture = writable_folder(prediction.parent) / f"{prediction.stem}_scores.png"
    start_keras()
    from .nets.metrics import segmentation_scores
    from .report.console import print_table
    from .report.plots import overlay

    ignored = 255 if (maps[0] == 255).any() else None
    scores = segmentation_scores(*maps, num_classes=count_classes(*maps), ignore_class=ignored)
    rows = [
        (str(c), *(f"{100 * row[name]:.1f}" for name in ("precision", "recall", "jaccard")))
        for c, row in enumerate(scores["classes"])
    ]
    print_table(("class", "precision", "recall", "Jaccard"), rows)
    print(f"VOC {100 * scores['voc']:.1f}")
    if json_file:
        json_file.write_text(json.dumps(scores, indent=2) + "\n")
    if grey is not None:
        print(f"Wrote {overlay(grey, maps[1], picture, truth=maps[0])}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Folder of a run, .keras or published name.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
):
    """Write a model as a TensorFlow SavedModel.

    Example: volseg export runs/h -o h_savedmodel
    """
    start_keras()
    from .zoo.export import export_savedmodel, new_folder
    from .zoo.presets import load_pretrained

    new_folder(output)
    loaded = load_pretrained(model)
    with quiet():
        export_savedmodel(loaded, output)
    print(f"Wrote {output}")


def count_classes(*labels):
    """Return the number of classes of label maps in which 255 means "not annotated"."""
    present = [int(values[values != 255].max(initial=0)) for values in labels]
    return max(2, 1 + max(present))


def main():
    """Run the command; wrong input is one line and exit code 2."""
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"volseg: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
