"""Facts about the published models, read from their files without Keras."""

from dataclasses import dataclass
from pathlib import Path

from ..files import read_json
from ..networks.variants import find_variant
from .presets import published


@dataclass(frozen=True)
class PublishedSummary:
    """A published model.

    Attributes:
        name: of its folder.
        network: name of its row of Table 1.
        trained_on: name of its training data; "" if unknown.
        held_out: foreground Jaccard index on the held-out parts, None if unknown.
        test: the same on the test volume, without post-processing.
        folder: of its files.
    """

    name: str
    network: str
    trained_on: str
    held_out: float | None
    test: float | None
    folder: Path


def published_summaries():
    """Return a `PublishedSummary` of every published model, by name."""
    return [_summary(file.parent) for _, file in sorted(published().items())]


def _summary(folder):
    metrics, card = (read_json(folder / name) for name in ("metrics.json", "card.json"))
    scores = metrics.get("test", {}).get("scores", {}).get("as it is", {})
    network = find_variant(metrics.get("variant", ""))
    foreground = [row["jaccard"] for row in scores.get("classes", ())[1:]]
    return PublishedSummary(
        folder.name,
        network.name if network else "",
        card.get("training_data", {}).get("name", ""),
        metrics.get("held_out_jaccard"),
        sum(foreground) / len(foreground) if foreground else None,
        folder,
    )
