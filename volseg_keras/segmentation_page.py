"""A volume and what was found in it, as one HTML page with its scores and figures."""

import tempfile
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

from . import __version__
from .errors import require
from .evaluation import evaluate
from .progress import progress_bar
from .report.curve import training_curve
from .report.instance_sizes import instance_sizes, size_histogram
from .report.page import write_page
from .volumes.dimensions import check_integers, check_shapes, known_voxel_size
from .volumes.volume import Volume, with_whole_numbers


@dataclass(frozen=True)
class Layers:
    """Open volumes of one shape `(z, y, x)` that are shown together; all but the image may be None.

    Labels that are stored as floats without fractions become integers.

    Attributes:
        image: grey levels.
        labels: predicted labels; 0 is background.
        truth: true labels.
        probability: of the foreground: floats from 0 to 1, or the whole range of an integer type.
        instances: ids of instances; 0 is background.

    Raises:
        ValueError: shapes differ, labels, truth or instances are not integers, or a truth is given
            without labels.
    """

    image: Volume
    labels: Volume | None = None
    truth: Volume | None = None
    probability: Volume | None = None
    instances: Volume | None = None

    def __post_init__(self):
        """Check shapes and types."""
        check_shapes(
            self.image,
            labels=self.labels,
            probability=self.probability,
            truth=self.truth,
            instances=self.instances,
        )
        for name in ("labels", "truth", "instances"):
            if (volume := getattr(self, name)) is not None:
                object.__setattr__(self, name, with_whole_numbers(volume, name))
        check_integers(labels=self.labels, truth=self.truth, instances=self.instances)
        expected = "labels of the volume, to compare with the truth"
        require(self.truth is None or self.labels is not None, "labels", expected, "none")

    def by_name(self):
        """Return the volumes that are not None, a dict by name."""
        layers = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: volume for name, volume in layers.items() if volume is not None}


def write_segmentation_page(output, layers, history=None, skip_empty=False):
    """Write a page that shows a segmentation, with its scores if the truth is among the layers.

    Shows progress on standard error.

    Args:
        output: the HTML file; its folder is created.
        layers: the `Layers`.
        history: `history.csv` of a run, for its curve, or None.
        skip_empty: sections without any true label are not scored.

    Returns:
        The `Path` of the page, and lines for people on what was scored, a tuple of strings.

    Raises:
        ValueError: a probability lies outside 0 to 1, or the truth or the labels cannot be scored.

    Example:
        >>> layers = Layers(open_volume("volume.tif"), open_volume("labels.tif"))
        >>> path, notes = write_segmentation_page("page.html", layers)
    """
    image, labels, truth, scores, notes = layers.image, layers.labels, layers.truth, None, ()
    if truth is not None:
        result = evaluate(truth, labels, skip_empty=skip_empty)
        labels, truth = result.labels, result.true_foreground
        scores, notes = result.scores, result.notes
    with tempfile.TemporaryDirectory() as folder:
        voxel_size = known_voxel_size(image)
        figures = _draw_figures(Path(folder), history, layers.instances, voxel_size)
        with progress_bar("drawing") as on_progress:
            path = write_page(
                output,
                image,
                labels,
                truth=truth,
                probability=layers.probability,
                title=display_name(image),
                facts=_facts(layers),
                voxel_size=voxel_size,
                scores=scores,
                figures=figures,
                on_progress=on_progress,
            )
    return path, notes


def display_name(volume):
    """Return the name of a volume's file without its folder, as in "file.h5::/name"."""
    file, *inside = str(volume.path).split("::")
    return "::".join((Path(file).name, *inside))


def _facts(layers):
    """Return what the page says about its files, by name."""
    image = layers.image
    facts = {"Size (z, y, x)": " × ".join(map(str, image.shape)) + f" voxels, {image.dtype}"}
    if image.voxel_size:
        facts["Voxel"] = " × ".join(f"{side:g}" for side in image.voxel_size) + " nm"
    for name in ("labels", "probability", "truth", "instances"):
        if (volume := getattr(layers, name)) is not None:
            facts[name.capitalize()] = display_name(volume)
    return facts | {"Written": f"{date.today()} by volseg_keras {__version__}"}


def _draw_figures(folder, history, instances, voxel_size):
    """Draw a run's curve and the sizes of instances in a folder; returns files by caption."""
    figures = {}
    if history:
        figures["Training"] = training_curve(history, folder / "curve.png")
    if instances is not None:
        with progress_bar("counting") as on_progress:
            sizes = instance_sizes(instances, on_progress)
        figures["Sizes of instances"] = size_histogram(sizes, folder / "sizes.png", voxel_size)
    return figures
