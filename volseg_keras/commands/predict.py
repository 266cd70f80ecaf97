"""`volseg predict`."""

import math
from pathlib import Path
from typing import Annotated

import typer

from .common import VolumeFile, quiet


def predict(
    volume: VolumeFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="Label volume to write.")],
    model: Annotated[
        str, typer.Option(help="Folder of a run, .keras, SavedModel or published name.")
    ] = "H",
    threshold: Annotated[
        float, typer.Option(help="Least foreground probability, for two classes.")
    ] = 0.5,
    probability: Annotated[
        bool, typer.Option("--probability", help="Also write NAME_probability.")
    ] = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over flips and transpositions: better, slower.")
    ] = False,
    engine: Annotated[str, typer.Option(help="auto, keras, openvino or onnxruntime.")] = "auto",
):
    """Segment a volume; writes class ids and a picture beside them.

    Example: volseg predict volume.tif --model runs/h -o labels.tif
    """
    from ..data.formats import kind_of
    from ..data.volumes import open_volume
    from ..data.writing import checked_output
    from ..report.plots import overlay

    checked_output(output)
    kind = kind_of(output)
    stem = output.name[: -len(kind)]
    probability_file = output.with_name(f"{stem}_probability{kind}")
    if probability:
        checked_output(probability_file)
    if not 0 < threshold < 1:
        raise ValueError(
            "Invalid value for `threshold`. Expected a number between 0 and 1. "
            f"Received: threshold={threshold}"
        )
    source = Path(str(volume).partition("::")[0]).resolve()
    slices = source.parent if "*" in source.name else source
    if slices in (output.resolve(), probability_file.resolve(), output.resolve().parent):
        raise ValueError(
            "Invalid value for `output`. Expected another file, in another folder, than the "
            f"input. Received: {output}"
        )
    image = open_volume(volume)
    from rich.console import Console

    with Console().status("opening the model"), quiet():
        from ..zoo.segmenter import open_model

        segmenter = open_model(model, engine)
    from ..inference.write import SMALL, write_labels
    from ..report.console import progress_bar

    with progress_bar("predicting") as on_tile:
        # What is small is read once, and not again for the picture.
        pixels = image[...] if math.prod(image.shape) < SMALL else image
        slabs = segmenter.segment(pixels, threshold, tta=tta, on_tile=on_tile)
        probability_file = probability_file if probability else None
        labels, share, center = write_labels(slabs, image, output, probability_file)
    picture = output.with_name(f"{stem}_overlay.png")
    overlay(pixels, labels, picture, center=center)
    print(f"Wrote {output} ({share:.1%} foreground) and {picture}")
