"""The card of a published model, as Markdown for people and as facts for other programs."""

from pathlib import Path
from string import Template

import numpy as np

from ..networks.models import class_names, metadata
from ..networks.variants import get_variant
from ..pretrained.stored_facts import StoredFacts
from ..pretrained.summaries import AS_IT_IS, mean_jaccard, total_of
from .catalogue import DATASETS
from .zoo import ZOO

RETRAINED = " (measured before the held-out part was added to the training data)"
SMOOTHED = " Volumes noisier than the training data are smoothed first."
TEMPLATE = Path(__file__).with_name("card.md")
# For weights published with this package.
TERMS = {"license": "Apache-2.0", "authors": [{"name": "The volseg_keras maintainers"}]}
LICENCE = "The weights are under the licence of this package, Apache-2.0. Please cite the data."


def card_text(name, model, metrics, about="", row=None):
    """Return the model card as Markdown.

    Args:
        name: of the model.
        model: the Keras model.
        metrics: of its run, with `test` and `other_tests`.
        about: paragraphs on the data, instead of those of `row`.
        row: its `PublishedModel`, or None.
    """
    variant, model_metadata = get_variant(metrics["variant"]), metadata(model)
    stored = StoredFacts.from_json(metrics, name)
    constants, tests = model_metadata.normalization, [metrics["test"], *metrics["other_tests"]]
    names = row.classes if row else class_names(model_metadata.num_classes)
    several = "Mean foreground Jaccard index of all classes" if len(names) > 2 else ""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=name,
        purpose=f"{row.purpose} " if row else "",
        network=variant.description,
        parameters=f"{metrics['parameters']:,}",
        axes=f"({_axes(variant)})",
        spatial=_axes(variant),
        channels=model_metadata.channels,
        num_classes=model_metadata.num_classes,
        multiple=variant.reduction,
        voxels=_voxels(stored.voxel_size_range, variant.spatial_dims),
        averaging=_averaging(stored.defaults),
        denoising=SMOOTHED if variant.spatial_dims == 3 else "",
        mean=_numbers(constants.mean),
        deviation=_numbers(constants.standard_deviation),
        contrast=f"{constants.contrast:g}",
        classes=" / ".join(names),
        about=about.strip() or data_text(row),
        recipe=metrics["recipe"],
        start=f", from the weights of {metrics['from']}" if metrics.get("from") else "",
        steps=f"{total_of(metrics, 'steps'):,}",
        batch=f" of {metrics['batch']} patches" if metrics.get("batch") else "",
        minutes=f"{total_of(metrics, 'minutes'):.0f}",
        device=metrics.get("device", "a CPU"),
        hold_out=", ".join(metrics["held_out"]),
        held_out=f"{metrics['held_out_jaccard']:.3f}",
        retrained=RETRAINED if metrics.get("retrained") else "",
        statistics=_statistics(metrics),
        threshold=_threshold(stored.threshold, model_metadata.num_classes),
        command=_command(name, metrics, row) if row else "",
        scores="\n\n".join(map(_score_table, tests)),
        tested=metrics["test"]["name"],
        index=several or "Foreground Jaccard index",
        shifts=_shift_table(metrics["test"]["shifts"]),
    )


def data_text(row):
    """Return paragraphs about the data of a row: what it was trained, chosen and scored on."""
    held_out = [pair for pair in row.train if pair.hold_out]
    chosen = [f"{pair.name} ({pair.hold_out})" for pair in held_out]
    start = f", from the weights of {row.start}, whose data count too" if row.start else ""
    lines = [
        f"Trained on {_listed(pair.name for pair in row.train)}{start}.",
        f"Weights were selected on {_listed([*chosen, *(pair.name for pair in row.validate)])}.",
        f"Scored on {_listed(pair.name for pair in row.test)}.",
    ]
    without = sorted({str(c) for pair in row.train for c in pair.without})
    if without:
        lines.append(
            f"Class {', '.join(without)} of the labels counts as not annotated: replace it by 255 "
            "before `volseg evaluate`."
        )
    others = (pair.dataset for pair in (*row.validate, *row.test))
    for data in map(DATASETS.get, dict.fromkeys((*trained_on(row), *others))):
        cite = "; ".join(data.cite)
        lines.append(f"- {data.name}: {data.description} {data.terms} {cite}. <{data.source}>")
    return "\n".join(lines) + f"\n\nNo voxel of them is distributed here. {LICENCE}"


def trained_on(row):
    """Return the names of the datasets of a row and of the model it starts from, each once."""
    names = [pair.dataset for pair in row.train]
    return list(dict.fromkeys(names + (trained_on(ZOO[row.start]) if row.start else [])))


def facts_of(name, row, metrics):
    """Return the content of card.json, see `StoredFacts`."""
    dims = get_variant(row.network).spatial_dims
    data = [DATASETS[key] for key in trained_on(row)]
    test = metrics["test"]
    score = mean_jaccard(test["scores"][AS_IT_IS])
    return {
        "name": f"{name} (volseg_keras)",
        "description": f"{row.purpose} {get_variant(row.network).description}, "
        f"{metrics['parameters'] / 1e6:.2f} million parameters.",
        "tags": [f"{dims}d", "electron-microscopy", "segmentation", "tensorflow", "volseg_keras"],
        "classes": list(row.classes),
        **TERMS,
        "training_data": {
            "name": " and ".join(d.name for d in data),
            "description": " ".join(f"{d.description} {d.terms}" for d in data),
            "cite": [{"text": text, "url": d.source} for d in data for text in d.cite],
            "source": data[0].source,
        },
        "validation": f"Mean Jaccard index of the foreground at a threshold of 0.5: "
        f"{metrics['held_out_jaccard']:.3f} held out, {score:.3f} on {test['name']}.",
    }


def _axes(variant):
    return ", ".join("zyx"[-variant.spatial_dims :])


def _listed(names):
    return ", ".join(f"`{name}`" for name in names)


def _statistics(metrics):
    return ", with recalibrated batch statistics" * (metrics.get("statistics") == "recalibrated")


def _threshold(threshold, num_classes):
    if num_classes > 2:
        return ""
    return f"; the stored threshold is {threshold:.3f}"


def _command(name, metrics, row):
    steps = f" --steps {metrics['steps']}" if metrics["steps"] != row.steps else ""
    return f" To train it again:\n\n```\nvolseg reproduce {name} --data DATA{steps}\n```"


def _voxels(size_range, dims):
    sides = zip(*size_range or (), strict=True)
    texts = [f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}" for low, high in sides]
    return f" in voxels of {' x '.join(texts[-dims:])} nm" if texts else ""


def _averaging(defaults):
    over = [f"{defaults.views} views (flips and transpositions)"] if defaults.views > 1 else []
    over += (
        [f"neighbouring sections (`--smoothing {defaults.smoothing:g}`)"]
        if defaults.smoothing
        else []
    )
    if defaults.zooms != (1,):
        over.append(f"zooms (`--zooms {','.join(f'{zoom:g}' for zoom in defaults.zooms)}`)")
    return f", averages probabilities over {' and '.join(over)}" if over else ""


def _numbers(values):
    """Return one number, or one per channel, as text."""
    return ", ".join(f"{value:.1f}" for value in np.atleast_1d(values))


def _score_table(test):
    depth, height, width = test["voxels"]
    sections = test.get("sections", depth)
    part = f"{sections} annotated sections of " if sections < depth else ""
    shape = f"{part}{depth} x {height} x {width} voxels"
    head = ("precision", "recall", "Jaccard", "VOC")
    rows = (_score_row(view, scores) for view, scores in test["scores"].items())
    scale = test.get("scale", (1, 1, 1))
    rescaled = "" if set(scale) == {1} else f", rescaled by {', '.join(f'{s:g}' for s in scale)}"
    title = f"| {test['name']}, {shape}{rescaled} | {' | '.join(head)} |"
    return "\n".join((title, "|---" * 5 + "|", *rows))


def _score_row(view, scores):
    cells = (
        " / ".join(f"{100 * row[key]:.1f}" for row in scores["classes"])
        for key in ("precision", "recall", "jaccard")
    )
    return f"| {view} | {' | '.join(cells)} | {100 * scores['voc']:.1f} |"


def _shift_table(shifts):
    rows = (f"| {name} | {score:.3f} |" for name, score in shifts.items())
    return "\n".join(("| change | Jaccard |", "|---|---|", *rows))
