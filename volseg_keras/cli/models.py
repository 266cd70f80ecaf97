"""`volseg models`."""


def models():
    """Print the networks of Table 1 with their parameters, and the published models.

    Example: volseg models
    """
    from ..networks.variants import VARIANTS
    from ..pretrained.summaries import published_summaries
    from ..report.console import print_table

    rows = [(v.name, f"{v.parameters / 1e6:.2f}", v.description) for v in VARIANTS.values()]
    print_table(("network", "parameters (M)", "description"), rows)
    summaries = published_summaries()
    if summaries:
        rows = [
            (row.name, row.network, score_text(row.held_out), score_text(row.test), row.purpose)
            for row in summaries
        ]
        print_table(("published", "network", "held out", "test", "purpose"), rows)
        print("held out, test: foreground Jaccard index on data that the model was not trained on;")
        print("see the card of each model for its training and test data")
    for folder in sorted({str(row.folder.parent) for row in summaries}):
        print(f"Published models: {folder}")


def score_text(value):
    """Return a score as text."""
    return "" if value is None else f"{value:.3f}"
