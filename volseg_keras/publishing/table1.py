"""Reproduce Table 1: train its rows under one recipe and budget, and compare with the paper."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.epfl import find_pairs
from ..datasets.phantom import phantom
from ..errors import invalid, require
from ..files import read_json, write_json
from ..inference.open_model import open_model
from ..networks.variants import VARIANTS, get_variant
from ..pretrained.zoo import DATASETS, ZOO
from ..training.arguments import make_budget
from ..training.recipes import get_recipe
from ..training.validation import PLAIN
from ..volumes.labels import class_ids, digest
from ..volumes.volume import as_volume
from ..volumes.writing import writable_folder
from .robustness import post_processed
from .table1_files import MEASURES, write_tables
from .zoo_training import read_parts, train_network

SCORES = "scores.json"
PHANTOMS = (64, 256, 256), (32, 128, 128)
FOLDERS, PARTS = (".", "lucchi_pp"), ("training", "testing")


@dataclass(frozen=True)
class Data:
    """Two labelled volumes.

    Attributes:
        name: what they are, for the title.
        train: `(image, label)`, arrays (z, y, x).
        test: the same, of the volume that is only scored on.
    """

    name: str
    train: tuple
    test: tuple


def load_data(folder):
    """Return the volumes of a folder, or phantoms where it is None.

    The folder, or its subfolder lucchi_pp, holds training.tif, training_groundtruth.tif and
    testing*.tif, testing_groundtruth*.tif.

    Raises:
        ValueError: files are missing.
    """
    if folder is None:
        train, test = (phantom(shape, seed) for seed, shape in enumerate(PHANTOMS))
        return Data("phantoms", train, test)
    for sub in FOLDERS:
        found = [find_pairs(Path(folder) / sub, part)[0] for part in PARTS]
        if all(found):
            train, test = map(joined, found)
            return Data(" and ".join(image.name for image, _ in found[1]), train, test)
    missing = [path.name for part in PARTS for path in find_pairs(folder, part)[1]]
    files = "training.tif, training_groundtruth.tif, testing*.tif and testing_groundtruth*.tif"
    raise invalid("data", f"a folder with {files}", f"{folder} without {missing[0]}")


def joined(pairs):
    """Return image and labels of a volume that may come in parts along z."""
    images, labels = zip(*pairs, strict=True)
    size, name = DATASETS["epfl"].voxel_size, images[0].name
    return as_volume(read_parts(images), size, name), class_ids(read_parts(labels))


def reproduce(output, rows, data, *, recipes=("fast",), seeds=1, say=print, **budget):
    """Train every row with every recipe and seed; write table.md, table.csv and table.png.

    Finished runs in `output` are kept and a stopped one is resumed, so the same call again finishes
    an interrupted one. The tables are updated after each run, with all runs in `output`.

    Args:
        output: folder of the runs and the tables.
        rows: names of networks.
        data: a `Data`.
        recipes: names of recipes.
        seeds: how many runs a row gets.
        say: called with a line of progress.
        **budget: `steps` or `minutes` of a run; by default as many patches as the published models
            were trained on.

    Returns:
        The list of dicts that table.csv holds.
    """
    rows = [get_variant(row).name for row in rows]
    for recipe in recipes:
        make_budget(get_recipe(recipe), budget.get("steps"), budget.get("minutes"))
    output = writable_folder(output)
    budget = {key: value for key, value in budget.items() if value is not None}
    check_budget(output, {"data": data.name, "sha256": labels_digest(data), **budget})
    jobs = [(r, recipe, seed) for seed in range(seeds) for recipe in recipes for r in rows]
    for i, (row, recipe, seed) in enumerate(jobs, 1):
        folder = output / f"{row}_{recipe}_{seed}"
        say(f"{i} of {len(jobs)}: {row}, recipe {recipe}, seed {seed}")
        run_row(folder, row, recipe, seed, data, budget)
        table = summary(finished(output))
        write_tables(output, table, title(data, budget))
    return table


def check_budget(output, given):
    """Raise ValueError if a folder holds runs of another budget or other data."""
    file = output / "budget.json"
    found = read_json(file)
    expected = f"a new folder, or one of {given}"
    require(found in ({}, given), "output", expected, f"{output} of {found}")
    write_json(file, given)


def labels_digest(data):
    """Return a hash of both label maps, since files of the same name may hold other labels."""
    return digest(data.train[1], data.test[1])


def title(data, budget):
    """Return one line about the data and the budget."""
    text = ", ".join(f"{value:g} {name} a run" for name, value in budget.items())
    return f"Test volume {data.name}; {text or 'as many patches a run as of the published model'}"


def run_row(folder, row, recipe, seed, data, budget):
    """Train and score one row, or resume that, unless it is finished."""
    if (folder / SCORES).is_file():
        return
    about = train_network(
        row,
        [data.train],
        folder,
        seed=seed,
        recipe=recipe,
        hold_out=f"x:0:{data.train[0].shape[2] // 8}",
        **(budget or {"steps": default_steps(row, recipe)}),
    )
    # Table 1 is about networks alone.
    scores = post_processed(open_model(folder), *data.test, about["threshold"], PLAIN)
    write_json(folder / SCORES, {"row": row, **about, "scores": scores}, indent=2)


def default_steps(row, recipe):
    """Return the steps in which a recipe takes as many patches as the published model has seen."""
    model, dims = ZOO[row], VARIANTS[row].spatial_dims
    seen = model.steps * get_recipe(model.recipe).batch[dims]
    return round(seen / get_recipe(recipe).batch[dims])


def finished(output):
    """Return the results of all runs in a folder, in the order of the paper's Table 1."""
    results = [
        json.loads(file.read_text(encoding="utf-8")) for file in sorted(output.glob(f"*/{SCORES}"))
    ]
    return sorted(results, key=lambda result: list(VARIANTS).index(result["row"]))


def summary(results):
    """Return mean and standard deviation over seeds, a dict for each network, recipe and view."""
    groups = {}
    for result in results:
        for view, scores in result["scores"].items():
            key = result["row"], result["recipe"], view
            groups.setdefault(key, []).append((result, measures(scores)))
    table = []
    for (row, recipe, view), runs in groups.items():
        values = np.array([value for _, value in runs])
        mean, spread = values.mean(0), values.std(0, ddof=min(1, len(runs) - 1))
        line = {"network": row, "recipe": recipe, "post-processing": view, "runs": len(runs)}
        for name in ("parameters", "steps", "minutes"):
            line[name] = round(float(np.mean([result[name] for result, _ in runs])), 1)
        for name, m, s in zip(MEASURES, mean, spread, strict=True):
            line[name], line[f"{name} spread"] = round(float(m), 2), round(float(s), 2)
        table.append(line)
    return table


def measures(scores):
    """Return the values of `MEASURES` in per cent."""
    keys = ("precision", "recall", "jaccard")
    per_class = [100 * row[key] for key in keys for row in scores["classes"][:2]]
    return [*per_class, 100 * scores["voc"]]
