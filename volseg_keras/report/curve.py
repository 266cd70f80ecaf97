"""Training curves as PNG files."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..errors import invalid, require
from .plots import BLUE, DARK, save_figure, style_axes

SETTLED = 0.8  # share of the steps after which the best weights are kept, see `fit`
COLUMNS = ("step", "seconds", "loss", "jaccard", "learning_rate", "val_jaccard")


def training_curve(history, path):
    """Draw loss, Jaccard index and learning rate over the steps of a training run.

    Args:
        history: path of a `history.csv` with the columns `step`, `seconds` (since the start),
            `loss`, `jaccard`, `learning_rate` and `val_jaccard`; an empty field is a gap. Earlier
            parts of the training, in the folder `parts` beside it, are drawn first.
        path: PNG file to write; missing folders are created.

    Returns:
        The `Path` of the PNG.

    Raises:
        ValueError: the history has no rows.
    """
    parts = [_read_history(file) for file in _parts(Path(history))]
    data = _joined(parts)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    marker = "." if len(data["step"]) == 1 else None
    axes[0].plot(data["step"], data["loss"], color=DARK, lw=1, marker=marker)
    axes[1].plot(
        data["step"],
        data["jaccard"],
        color="#9ecae1",
        lw=1,
        marker=marker,
        label="training patches",
    )
    _held_out(axes[1], data["step"], data["val_jaccard"], *_kept_row(parts))
    axes[2].plot(data["step"], data["learning_rate"], color=DARK, lw=1, marker=marker)
    for end in np.cumsum([part["step"][-1] for part in parts])[:-1]:
        for ax in axes:
            ax.axvline(end, color=DARK, lw=0.8, ls=":")
    for ax, label in zip(axes, ("Loss", "Foreground Jaccard", "Learning rate"), strict=True):
        style_axes(ax, label)
    axes[1].set_ylim(0, 1.02)
    axes[1].legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, frameon=False, fontsize=8)
    axes[2].ticklabel_format(axis="y", scilimits=(-2, 2))
    axes[2].yaxis.get_offset_text().set_fontsize(8)
    axes[2].set_ylim(bottom=0)
    axes[2].set_xlabel("Step", fontsize=9)
    axes[0].set_title(
        f"{data['step'][-1]:,.0f} steps in {data['seconds'][-1] / 60:,.1f} minutes",
        fontsize=10,
        loc="left",
    )
    return save_figure(figure, path)


def _parts(history):
    """Return the history files of a training run in order, without a copy of one of its parts."""
    found = history.parent.glob("parts/*/history.csv")
    numbered = [part for part in found if part.parent.name.isdecimal()]
    parts = sorted(numbered, key=lambda part: int(part.parent.name))
    copied = any(part.read_bytes() == history.read_bytes() for part in parts)
    return parts if copied else [*parts, history]


def _joined(parts):
    """Concatenate histories; steps and seconds continue where the previous part ended."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
    for name in ("step", "seconds"):
        ends = np.cumsum([0.0, *(part[name][-1] for part in parts)])[:-1]
        joined[name] += np.repeat(ends, [len(part[name]) for part in parts])
    return joined


def _kept_row(parts):
    """Return the row of the joined parts whose weights were kept, and a word for it.

    It is the best one of the last fifth of the steps, or of all if training was stopped before its
    end, which is scored. None if nothing was held out. Later parts, without a score, begin with
    these weights.
    """
    scored = [i for i, part in enumerate(parts) if np.isfinite(part["val_jaccard"]).any()]
    if not scored:
        return None, ""
    steps, values = (parts[scored[-1]][name] for name in ("step", "val_jaccard"))
    if np.isfinite(values[-1]):
        values = np.where(steps >= SETTLED * steps[-1], values, np.nan)
    row = sum(len(part["step"]) for part in parts[: scored[-1]]) + int(np.nanargmax(values))
    return row, "kept" if parts[scored[-1]] is parts[-1] else "trained further:"


def _read_history(history):
    with open(history, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    require(rows, "history", "at least one row", history)
    try:
        return {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in COLUMNS}
    except ValueError as error:
        expected = f"{', '.join(COLUMNS)} as numbers"
        raise invalid("history", expected, f"{history} ({error})") from error


def _held_out(ax, steps, values, kept, word):
    """Draw held-out scores, of which there may be none, and mark that of the kept weights."""
    if kept is None:
        return
    known = np.isfinite(values)
    ax.plot(steps[known], values[known], "o-", color=BLUE, ms=4, lw=0.8, label="held-out volume")
    side = "right" if steps[kept] > steps.mean() else "left"
    ax.plot(steps[kept], values[kept], "o", color=BLUE, ms=8, mfc="none")
    ax.annotate(
        f"{word} {values[kept]:.3f}",
        (steps[kept], values[kept]),
        color=BLUE,
        fontsize=9,
        xytext=(0, 9 if values[kept] < 0.9 else -22),
        textcoords="offset points",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        ha=side,
    )
