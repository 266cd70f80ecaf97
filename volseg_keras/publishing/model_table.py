"""The table and the figure of published models, from their metrics."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..files import atomic_path, read_json
from ..networks.variants import get_variant
from ..pretrained.summaries import AS_IT_IS, AVERAGED, total_of
from ..report.plots import save_figure

BEGIN, END = "<!-- models: written by `volseg publish` -->", "<!-- end of models -->"
HEAD = ("model", "network", "steps", "held out", "test volume", "Jaccard", "with `--tta`")


def published_metrics(folder):
    """Return the metrics.json of a folder's models by their names."""
    files = sorted(Path(folder).glob("*/metrics.json"))
    found = {file.parent.name: read_json(file) for file in files}
    return {name: metrics for name, metrics in found.items() if "test" in metrics}


def write_model_tables(folder):
    """Write the table of a folder's models between the marks of README.md in it and above it.

    Their scores under shifts are drawn in robustness.png, beside the first of these.

    Args:
        folder: of published models; files without the marks stay as they are.
    """
    folder = Path(folder)
    for file, links in (
        (folder / "README.md", ""),
        (folder.parent / "README.md", f"{folder.name}/"),
    ):
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if begin and end:
            with atomic_path(file) as part:
                text = f"{before}{BEGIN}\n{model_table(folder, links)}\n{END}{after}"
                part.write_text(text, encoding="utf-8")
            if file.parent == folder:
                draw_robustness(folder, folder / "robustness.png")


def model_table(folder, links=""):
    """Return the table of a folder's models as Markdown; a row for each volume scored on.

    Args:
        folder: of published models.
        links: what the addresses of their cards begin with.
    """
    rows = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for name, metrics in published_metrics(folder).items():
        tests = [metrics["test"], *metrics.get("other_tests", [])]
        rows += [_row(name, metrics, test, links) for test in tests]
    return "\n".join(rows)


def _row(name, metrics, test, links):
    # Those of earlier versions have no name.
    sections = test.get("sections", test["voxels"][0])
    volume = f"{test.get('name', 'EPFL, testing')}, {sections} sections"
    cells = (
        f"[{name}]({links}{name}/card.md)",
        get_variant(metrics["variant"]).name,
        f"{total_of(metrics, 'steps'):,}",
        f"{metrics['held_out_jaccard']:.3f}",
        volume,
        _jaccard(test["scores"][AS_IT_IS]),
        _jaccard(test["scores"][AVERAGED]),
    )
    return f"| {' | '.join(cells)} |"


def _jaccard(scores):
    return " / ".join(f"{row['jaccard']:.3f}" for row in scores["classes"][1:])


def draw_robustness(folder, path):
    """Draw the Jaccard index of a folder's models on changed copies of a test volume.

    Returns:
        The `Path` of the PNG.
    """
    tables = {name: m["test"]["shifts"] for name, m in published_metrics(folder).items()}
    names = list(dict.fromkeys(shift for table in tables.values() for shift in table))
    # Earlier versions have scores with two kinds of standardisation; the second is today's.
    values = np.array(
        [[np.atleast_1d(t.get(n, np.nan))[-1] for n in names] for t in tables.values()], float
    )
    figure = Figure(figsize=(2.5 + 0.55 * len(names), 2 + 0.35 * len(tables)), layout="constrained")
    ax = figure.subplots()
    ax.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if value < 0.6 else "black"
            ax.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    ax.set_yticks(range(len(tables)), tables, fontsize=9)
    ax.set_title("Foreground Jaccard index on changed copies of a test volume", fontsize=9)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return save_figure(figure, path)
