"""Write the folder of a published model: every form of it, its scores and its card."""

import json
import shutil
import tempfile
from pathlib import Path
from string import Template

import numpy as np

from ..export.export_model import export_savedmodel
from ..files import write_json
from ..inference.open_model import open_model
from ..networks.models import class_names, metadata
from ..networks.variants import get_variant
from ..patches.sampler import check_shape
from ..pretrained.checksums import NAME as SUMS
from ..pretrained.checksums import write_checksums
from ..pretrained.presets import load_pretrained, model_card
from .robustness import post_processed, under_shifts

CARD = Path(__file__).with_name("card.md")


def publish(run, output, image, truth, *, about, on_step=None):
    """Write a published model, which replaces an earlier one of the same name.

    `output` receives model.keras; a SavedModel, with test_input.npy and the test_output.npy that
    both give for it; the run's history.csv, curve.png and, where it has one, card.json;
    metrics.json with all scores, card.md and SHA256SUMS.

    Args:
        run: folder of a run of `fit`.
        output: folder to write, named as the model.
        image: `(z, y, x)` uint8 test volume.
        truth: `(z, y, x)` its class ids.
        about: paragraphs on the data for the card.
        on_step: called with what is being done, the steps of it done, and their total.

    Returns:
        The dict that is written to metrics.json.

    Raises:
        ValueError: the run held no part out or is of no network of `build_model`, the image is not
            uint8, or shapes differ.
        FileExistsError: `output` is a folder, but not of a published model.
    """
    run, output = Path(run), Path(output).resolve()
    watch = on_step or (lambda *_: None)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    check(run, metrics, image, truth)
    check_output(output)
    model, segmenter = load_pretrained(run), open_model(run)
    metrics["test"] = {
        "voxels": list(image.shape),
        "scores": post_processed(
            segmenter,
            image,
            truth,
            metrics["threshold"],
            on_view=lambda *done: watch("scoring", *done),
        ),
        "shifts": under_shifts(
            segmenter, image, truth, on_view=lambda *done: watch("shifts", *done)
        ),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as work:
        part = Path(work) / output.name
        write_files(model, run, part, metrics, about)
        shutil.rmtree(output, ignore_errors=True)
        part.replace(output)
    return metrics


def check(run, metrics, image, truth):
    """Raise ValueError for a run or a volume of which the card could not tell what it must."""
    get_variant(metrics["variant"])
    if metrics["held_out_jaccard"] is None:
        raise ValueError(
            f"Invalid value for `run`. Expected one that held a part out. Received: {run}"
        )
    if image.dtype != np.uint8:
        raise ValueError(
            "Invalid value for `image`. Expected grey levels of 8 bits, whose shifts are scored. "
            f"Received: dtype {image.dtype}"
        )
    check_shape(image, truth)


def check_output(output):
    """Raise FileExistsError for a folder that is not an earlier published model."""
    if output.exists() and not (output / SUMS).is_file() and any(output.iterdir()):
        raise FileExistsError(
            "Invalid value for `output`. Expected a new folder, or one of a published model. "
            f"Received: {output} without {SUMS}"
        )


def write_files(model, run, folder, metrics, about):
    """Write all files of a published model to a new folder."""
    export_savedmodel(model, folder, model_card(run))
    for name in ("model.keras", "history.csv", "curve.png", "card.json"):
        if (run / name).is_file():
            shutil.copy(run / name, folder)
    write_json(folder / "metrics.json", metrics, indent=2)
    (folder / "card.md").write_text(card(folder.name, model, metrics, about), encoding="utf-8")
    write_checksums(folder)


def card(name, model, metrics, about):
    """Return the model card as Markdown."""
    row, facts = get_variant(metrics["variant"]), metadata(model)
    constants, test = facts["normalization"], metrics["test"]
    return Template(CARD.read_text(encoding="utf-8")).substitute(
        name=name,
        network=row.description,
        parameters=f"{metrics['parameters']:,}",
        axes="(z, y, x)" if row.spatial_dims == 3 else "(y, x)",
        mean=numbers(constants["mean"]),
        deviation=numbers(constants["standard_deviation"]),
        contrast=f"{constants['contrast']:g}",
        classes=" / ".join(class_names(facts["num_classes"])),
        about=about.strip(),
        recipe=metrics["recipe"],
        start=f", from the weights of {metrics['from']}" if metrics.get("from") else "",
        steps=f"{metrics['steps']:,}",
        minutes=f"{metrics['minutes']:.0f}",
        device=metrics.get("device", "a CPU"),
        hold_out=", ".join(metrics["held_out"]),
        held_out=f"{metrics['held_out_jaccard']:.3f}",
        statistics=", with recalibrated batch statistics"
        if metrics["statistics"] == "recalibrated"
        else "",
        threshold=f", and best at a threshold of {metrics['threshold']:.3f}"
        if facts["num_classes"] == 2
        else "",
        shape=" x ".join(map(str, test["voxels"])),
        scores="\n".join(score_row(view, scores) for view, scores in test["scores"].items()),
        shifts=shift_table(test["shifts"]),
    )


def numbers(values):
    """Return one number, or one a channel, as text."""
    return ", ".join(f"{value:.1f}" for value in np.atleast_1d(values))


def score_row(view, scores):
    """Return a row of the table of scores."""
    cells = (
        " / ".join(f"{100 * row[key]:.1f}" for row in scores["classes"])
        for key in ("precision", "recall", "jaccard")
    )
    return f"| {view} | {' | '.join(cells)} | {100 * scores['voc']:.1f} |"


def shift_table(shifts):
    """Return the table of scores under shifts as Markdown."""
    rows = (f"| {name} | {score:.3f} |" for name, score in shifts.items())
    return "\n".join(("| change | Jaccard |", "|---|---|", *rows))
