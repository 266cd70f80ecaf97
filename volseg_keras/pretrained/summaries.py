"""Facts about the published models, read from their files without Keras."""

from dataclasses import dataclass
from pathlib import Path

from ..files import read_json
from ..networks.variants import find_variant
from .presets import METRICS, published

# Scores of a test volume in metrics.json: of labels without post-processing, and of averages over
# all flips and transpositions.
AS_IT_IS, AVERAGED = "as it is", "averaged over flips"


@dataclass(frozen=True)
class PublishedSummary:
    """A published model.

    Attributes:
        name: of its folder.
        network: name of its row of Table 1.
        purpose: a sentence on its use; "" if unknown.
        held_out: foreground Jaccard index on the held-out parts, None if unknown.
        test: the same on the test volume, without post-processing.
        folder: of its files.
    """

    name: str
    network: str
    purpose: str
    held_out: float | None
    test: float | None
    folder: Path


def published_summaries():
    """Return a `PublishedSummary` of every published model, by name."""
    return [_summary(file.parent) for _, file in sorted(published().items())]


def _summary(folder):
    metrics, card = (read_json(folder / name) for name in (METRICS, "card.json"))
    network = find_variant(metrics.get("variant", ""))
    return PublishedSummary(
        folder.name,
        network.name if network else "",
        card.get("description", "").partition(". ")[0],
        metrics.get("held_out_jaccard"),
        mean_jaccard(metrics["test"]["scores"][AS_IT_IS]) if "test" in metrics else None,
        folder,
    )


def total_of(metrics, name):
    """Return the "steps" or "minutes" of a run and its earlier parts, from metrics.json."""
    return metrics.get(f"total_{name}", metrics[name])


def mean_jaccard(scores):
    """Return the mean Jaccard index of all foreground classes of `segmentation_scores`.

    Unlike `scores.Confusion.foreground_jaccard`, it includes classes without a true voxel, since
    the scores in metrics.json do not say which these are.
    """
    foreground = [row["jaccard"] for row in scores["classes"][1:]]
    return sum(foreground) / len(foreground)
