"""Table 1 as CSV, Markdown and a figure, beside the paper's."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..files import atomic_path
from ..pretrained.summaries import AS_IT_IS, AVERAGED
from ..report.plots import DARK, PREDICTION, TRUTH, save_figure

MEASURES = (
    "precision, background",
    "precision, mitochondria",
    "recall, background",
    "recall, mitochondria",
    "Jaccard, background",
    "Jaccard, mitochondria",
    "VOC",
)
# Cheng & Varshney, Table 1, in per cent: in the order of MEASURES, on the original EPFL labels.
PAPER = {
    "U-Net": (99.3, 94.8, 99.7, 87.6, 99.0, 83.5, 91.2),
    "A": (99.5, 91.4, 99.5, 91.6, 99.1, 84.4, 91.7),
    "B": (99.5, 93.0, 99.6, 90.8, 99.1, 85.0, 92.0),
    "C": (99.6, 91.9, 99.5, 93.1, 99.2, 86.1, 92.6),
    "D": (99.6, 92.5, 99.6, 93.1, 99.2, 86.5, 92.8),
    "E": (99.7, 92.5, 99.6, 93.9, 99.3, 87.2, 93.2),
    "F": (99.6, 93.2, 99.6, 93.4, 99.3, 87.5, 93.4),
    "G": (99.7, 92.7, 99.6, 93.9, 99.3, 87.4, 93.3),
    "H": (99.6, 95.0, 99.7, 93.3, 99.4, 88.9, 94.2),
}


def write_tables(folder, table, title):
    """Write table.csv, table.md and table.png of the dicts of `table1.summary`."""
    folder = Path(folder)
    with (
        atomic_path(folder / "table.csv") as part,
        open(part, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    with atomic_path(folder / "table.md") as part:
        part.write_text(markdown(table, title), encoding="utf-8")
    figure(table, title, folder / "table.png")


def markdown(table, title):
    """Return the table beside the paper's."""
    head = ("network", "recipe", "post-processing", "runs", "parameters", "steps", "minutes")
    short = ("precision", "recall", "Jaccard", "VOC", "Jaccard, paper", "VOC, paper")
    lines = [
        title + ".",
        "",
        "Background / mitochondria in per cent, mean ± standard deviation over runs. The "
        "paper's figures are for the original labels of the EPFL volume and 30 000 steps.",
        "",
        f"| {' | '.join(head + short)} |",
        "|---" * len(head + short) + "|",
    ]
    for row in table:
        own = [str(row[name]) for name in head[:4]]
        own += [f"{row['parameters'] / 1e6:.2f} M", f"{row['steps']:,.0f}", f"{row['minutes']:.1f}"]
        scores = [score_text(row, MEASURES[i : i + 2]) for i in (0, 2, 4)] + [
            score_text(row, MEASURES[6:])
        ]
        paper = PAPER[row["network"]] if row["post-processing"] == AS_IT_IS else None
        beside = [f"{paper[4]} / {paper[5]}", f"{paper[6]}"] if paper else ["", ""]
        lines.append(f"| {' | '.join(own + scores + beside)} |")
    return "\n".join(lines) + "\n"


def score_text(row, names):
    """Return measures of a row as text, with their spread if there are several runs."""
    return " / ".join(
        f"{row[name]:.1f}" + (f" ± {row[f'{name} spread']:.1f}" if row["runs"] > 1 else "")
        for name in names
    )


def figure(table, title, path):
    """Draw the foreground Jaccard index of every network beside the paper's."""
    name = "Jaccard, mitochondria"
    rows = [row for row in table if row["post-processing"] == AS_IT_IS]
    best = {
        (row["network"], row["recipe"]): row[name]
        for row in table
        if row["post-processing"] == AVERAGED
    }
    drawn = Figure(figsize=(max(4.5, 1.6 + 0.75 * len(rows)), 3.6), layout="constrained")
    ax = drawn.subplots()
    x, width = np.arange(len(rows)), 0.27
    series = (
        ("paper (original labels)", "#bbbbbb", [PAPER[row["network"]][5] for row in rows], None),
        ("here", TRUTH, [row[name] for row in rows], [row[f"{name} spread"] for row in rows]),
        (
            "here, averaged over flips",
            PREDICTION,
            [best[row["network"], row["recipe"]] for row in rows],
            None,
        ),
    )
    for i, (label, color, values, spread) in enumerate(series):
        bars = ax.bar(x + (i - 1) * width, values, width, yerr=spread, color=color, label=label)
        ax.bar_label(bars, fmt="%.0f", fontsize=6, color=DARK, padding=1)
    one = len({row["recipe"] for row in rows}) == 1
    labels = [row["network"] if one else f"{row['network']}\n{row['recipe']}" for row in rows]
    ax.set_xticks(x, labels, fontsize=9)
    ax.set_ylabel("Foreground Jaccard (%)", fontsize=9)
    ax.tick_params(axis="y", labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_ylim(0, 100)
    ax.set_title(title, fontsize=8, loc="left")
    ax.legend(frameon=False, fontsize=7, ncols=3, loc="upper left", bbox_to_anchor=(0, -0.1))
    return save_figure(drawn, path)
