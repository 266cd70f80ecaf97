"""The table of published models, written from their metrics."""

import json
from pathlib import Path

from ..files import whole
from ..networks.variants import get_variant

BEGIN, END = "<!-- models: written by `volseg publish` -->", "<!-- end of models -->"
HEAD = ("model", "network", "steps", "held out", "test volume", "Jaccard", "with `--tta`")


def write_model_tables(folder):
    """Write the table of a folder's models between the marks of README.md in it and above it.

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
            with whole(file) as part:
                text = f"{before}{BEGIN}\n{model_table(folder, links)}\n{END}{after}"
                part.write_text(text, encoding="utf-8")


def model_table(folder, links=""):
    """Return the table of a folder's models as Markdown; a row for each volume scored on.

    Args:
        folder: of published models.
        links: what the addresses of their cards begin with.
    """
    rows = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for file in sorted(Path(folder).glob("*/metrics.json")):
        metrics = json.loads(file.read_text(encoding="utf-8"))
        if "test" in metrics:
            tests = [metrics["test"], *metrics.get("other_tests", [])]
            rows += [_row(file.parent.name, metrics, test, links) for test in tests]
    return "\n".join(rows)


def _row(name, metrics, test, links):
    shape = " x ".join(map(str, test["voxels"]))
    cells = (
        f"[{name}]({links}{name}/card.md)",
        get_variant(metrics["variant"]).name,
        f"{metrics['steps']:,}",
        f"{metrics['held_out_jaccard']:.3f}",
        test.get("name", f"EPFL, {shape}"),
        _jaccard(test["scores"]["as it is"]),
        _jaccard(test["scores"]["averaged over flips"]),
    )
    return f"| {' | '.join(cells)} |"


def _jaccard(scores):
    return " / ".join(f"{row['jaccard']:.3f}" for row in scores["classes"][1:])
