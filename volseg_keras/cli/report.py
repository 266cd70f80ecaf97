"""`volseg report`."""

import tempfile
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .common import (
    SkipEmpty,
    VolumeFile,
    VolumeOptions,
    takes_volume_options,
)

Labels = Annotated[Path, typer.Option(help="Labels of the volume, outlined.")]
Probability = Annotated[
    Path | None, typer.Option(help="Probability volume, shown as an optional overlay.")
]


@takes_volume_options
def report(
    volume_options: VolumeOptions,
    volume: VolumeFile,
    labels: Labels,
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML page to write.")],
    probability: Probability = None,
    truth: Annotated[
        Path | None, typer.Option(help="True labels: outlined too, and scores are printed.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of a run, for its curve.")] = None,
    instances: Annotated[
        Path | None, typer.Option(help="Instance ids, for a histogram of their sizes.")
    ] = None,
    skip_empty: SkipEmpty = False,
):
    """Write one HTML page that shows a segmentation, to send or to archive.

    Example: volseg report volume.tif --labels labels.tif --truth truth.tif -o report.html
    """
    from ..volumes.writing import writable_folder

    history = run and run / "history.csv"
    good = not history or history.is_file()
    require(good, "run", "a folder with history.csv", run)
    good = output.suffix.lower() in (".html", ".htm") and not output.is_dir()
    require(good, "output", "a file .html", output)
    layers = open_layers(volume, labels, probability, truth, instances, volume_options)
    writable_folder(output.parent)
    print(f"Wrote {page(output, layers, history, skip_empty)}")


def open_layers(
    image, labels=None, probability=None, truth=None, instances=None, volume_options=None
):
    """Open the files that are not None, by name; see `checked_layers`."""
    paths = {"image": image, "labels": labels, "probability": probability}
    paths |= {"truth": truth, "instances": instances}
    return checked_layers((volume_options or VolumeOptions()).open_all(**paths))


def checked_layers(layers):
    """Return open volumes by name, labels as integers, or raise ValueError unless shapes agree."""
    from ..report.plots import check_integers, check_shapes
    from ..volumes.volume import with_whole_numbers

    check_shapes(layers["image"], **layers)
    names = ("labels", "truth", "instances")
    layers |= {name: with_whole_numbers(layers[name], name) for name in names if name in layers}
    check_integers(**{name: layers.get(name) for name in names})
    return layers


def page(output, layers, history=None, skip_empty=False):
    """Write the page of opened volumes and of a run's history; returns its path."""
    from ..evaluation import evaluate
    from ..report.console import progress_bar
    from ..report.page import write_page

    image, text, scores = layers["image"], facts(layers), None
    if "truth" in layers:
        result = evaluate(layers["truth"], layers["labels"], skip_empty=skip_empty)
        print(*result.notes, sep="\n", end="\n" * bool(result.notes))
        scores, layers["truth"], layers["labels"] = (
            result.scores,
            result.true_foreground,
            result.labels,
        )
    shown = {name: layers[name] for name in ("labels", "truth", "probability") if name in layers}
    with tempfile.TemporaryDirectory() as folder:
        drawn = figures(Path(folder), history, layers.get("instances"), image.voxel_size)
        with progress_bar("drawing") as on_progress:
            return write_page(
                output,
                image,
                **shown,
                title=name_of(image),
                facts=text,
                voxel_size=image.voxel_size,
                scores=scores,
                figures=drawn,
                on_progress=on_progress,
            )


def name_of(volume):
    """Return a volume's file without its folder, as in "file.h5::/name"."""
    file, *inside = str(volume.path).split("::")
    return "::".join((Path(file).name, *inside))


def facts(layers):
    """Return the page's facts about its files, by name."""
    from .. import __version__

    image = layers["image"]
    found = {"Size (z, y, x)": " × ".join(map(str, image.shape)) + f" voxels, {image.dtype}"}
    if image.voxel_size:
        found["Voxel"] = " × ".join(f"{side:g}" for side in image.voxel_size) + " nm"
    others = {name: layer for name, layer in layers.items() if name != "image"}
    found |= {name.capitalize(): name_of(layer) for name, layer in others.items()}
    return found | {"Written": f"{date.today()} by volseg_keras {__version__}"}


def figures(folder, history, instances, voxel_size):
    """Draw a run's curve and the sizes of instances in a folder; returns captions and files."""
    from ..report.console import progress_bar
    from ..report.curve import training_curve
    from ..report.instance_sizes import instance_sizes, size_histogram

    drawn = {}
    if history:
        drawn["Training"] = training_curve(history, folder / "curve.png")
    if instances is not None:
        with progress_bar("counting") as on_progress:
            sizes = instance_sizes(instances, on_progress)
        drawn["Sizes of instances"] = size_histogram(sizes, folder / "sizes.png", voxel_size)
    return drawn
