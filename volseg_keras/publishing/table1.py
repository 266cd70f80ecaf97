"""Reproduce Table 1: train its rows under one recipe and budget, and compare with the paper."""

from dataclasses import asdict, dataclass
from itertools import product

import numpy as np

from ..datasets.phantom import phantom
from ..files import read_json, writable_folder, write_json
from ..inference.open_model import open_model
from ..inference.options import PLAIN_PREDICTION
from ..networks.variants import VARIANTS, get_variant
from ..training.arguments import make_budget
from ..training.fit import fit
from ..training.recipes import get_recipe
from ..volumes.labels import digest
from .catalogue import EPFL_TABLE_1, EPFL_TEST
from .scoring import scores_by_view
from .table1_files import MEASURES, write_tables
from .zoo import ZOO
from .zoo_training import check_budget, find_files, open_pair, seeded_network

SCORES = "scores.json"
PHANTOMS = (64, 256, 256), (32, 128, 128)


@dataclass(frozen=True)
class BenchmarkVolumes:
    """Two labelled volumes.

    Attributes:
        name: what they are, for the title.
        train: `(image, label)`, arrays (z, y, x).
        test: the same, of the volume that is only scored on.
        hold_out: the part of `train` to validate on.
    """

    name: str
    train: tuple
    test: tuple
    hold_out: str


@dataclass(frozen=True)
class RunBudget:
    """The budget of every run of a table.

    Attributes:
        steps: in steps, or None.
        minutes: in minutes, or None; if both are None, each run takes as many patches as the
            published model did.
    """

    steps: int | None = None
    minutes: float | None = None

    def __str__(self):
        """Text for the title of the table."""
        text = ", ".join(f"{value:g} {name} a run" for name, value in self.to_json().items())
        return text or "each run sees as many patches as the published model did"

    def to_json(self):
        """Return what is given, as a dict."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def steps_of(self, row, recipe):
        """Return the steps of a run, None for a budget in minutes."""
        if self.to_json():
            return self.steps
        model, dims = ZOO[row], VARIANTS[row].spatial_dims
        seen = model.steps * (model.batch_size or get_recipe(model.recipe).batch[dims])
        return round(seen / get_recipe(recipe).batch[dims])


def load_data(folder):
    """Return the volumes of EPFL in a folder, or phantoms where it is None.

    Raises:
        ValueError: files are missing.
    """
    if folder is None:
        train, test = (phantom(shape, seed) for seed, shape in enumerate(PHANTOMS))
        return BenchmarkVolumes("phantoms", train, test, f"x:0:{PHANTOMS[0][2] // 8}")
    train, test = open_pair(EPFL_TABLE_1, folder), open_pair(EPFL_TEST, folder)
    name = " and ".join(file.name for file in find_files(EPFL_TEST.image, folder))
    return BenchmarkVolumes(name, train, test, EPFL_TABLE_1.hold_out)


def reproduce(output, rows, data, *, recipe="fast", seeds=1, steps=None, minutes=None, say=print):
    """Train every row with every seed; write table.md, table.csv and table.png.

    Finished runs in `output` are kept and a stopped one is resumed, so the same call again finishes
    an interrupted one. The tables are updated after each run, with all runs in `output`.

    Args:
        output: folder of the runs and the tables.
        rows: names of networks.
        data: a `BenchmarkVolumes`.
        recipe: name of a recipe.
        seeds: number of runs per row.
        steps: budget of a run; by default as many patches as the published models were trained
            on.
        minutes: the same in minutes, instead of `steps`.
        say: called with a line of progress.

    Returns:
        The list of dicts that table.csv holds.
    """
    rows = [get_variant(row).name for row in rows]
    make_budget(get_recipe(recipe), steps, minutes)
    output = writable_folder(output)
    budget = RunBudget(steps, minutes)
    check_budget(output, {"data": data.name, "sha256": labels_digest(data), **budget.to_json()})
    jobs = list(product(range(seeds), rows))
    for i, (seed, row) in enumerate(jobs, 1):
        folder = output / f"{row}_{recipe}_{seed}"
        say(f"{i} of {len(jobs)}: {row}, recipe {recipe}, seed {seed}")
        run_row(folder, row, recipe, seed, data, budget)
        table = summary(finished_results(output))
        write_tables(output, table, title(data, budget))
    return table


def labels_digest(data):
    """Return a hash of both label maps, since files of the same name may hold other labels."""
    return digest((data.train[1], data.test[1]))


def title(data, budget):
    """Return one line about the data and the budget."""
    return f"Test volume {data.name}; {budget}"


def run_row(folder, row, recipe, seed, data, budget):
    """Train and score one row, or resume that, unless it is finished."""
    if (folder / SCORES).is_file():
        return
    metrics = fit(
        seeded_network(row, seed),
        *data.train,
        output=folder,
        resume=folder.exists(),
        seed=seed,
        recipe=recipe,
        steps=budget.steps_of(row, recipe),
        minutes=budget.minutes,
        hold_out=[data.hold_out],  # as of the rows of the zoo
    )
    # Table 1 is about networks alone.
    scores = scores_by_view(open_model(folder), *data.test, metrics["threshold"], PLAIN_PREDICTION)
    write_json(folder / SCORES, {"row": row, **metrics, "scores": scores}, indent=2)


def finished_results(output):
    """Return the results of all runs in a folder, in the order of the paper's Table 1."""
    results = [read_json(file) for file in sorted(output.glob(f"*/{SCORES}"))]
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
