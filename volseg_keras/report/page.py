"""An HTML page that shows a volume and its segmentation, without network or server."""

import base64
import io
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from ..errors import require
from ..files import atomic_path
from ..volumes.dimensions import check_integers, check_shapes
from .planes import PLANES, shown_planes
from .plots import densest_plane, subsampled
from .slices import averaged, nearest, outline, read_planes, read_rows, slice_positions

# Bytes of all images of grey levels; with outlines a page stays below 25 MB.
BUDGET = 14e6
ROUNDING = 1e-5  # by which a probability may lie outside [0, 1]
# Reddish purple of Okabe and Ito, beside the orange and blue of the outlines.
PROBABILITY, LEVELS = (204, 121, 167), 16


def write_page(
    path,
    image,
    labels=None,
    *,
    truth=None,
    probability=None,
    title="Segmentation",
    facts=None,
    voxel_size=None,
    scores=None,
    figures=None,
    on_progress=None,
):
    """Write a page with a viewer of three planes, scores and figures.

    Array-likes are read once, slab by slab; a plane shows 64 slices of 768 x 768 pixels at most.

    Args:
        path: HTML file to write; missing folders are created.
        image: real-valued array-like `(z, y, x)`.
        labels: integer labels of the same shape, outlined; 0 is background. Or None.
        truth: reference labels like `labels`, or None.
        probability: probabilities of the same shape: floats from 0 to 1, or integers from 0 to the
            largest of their type. Or None.
        title: heading of the page.
        facts: names and values to print below it.
        voxel_size: sides (z, y, x) of a voxel in nm, or None.
        scores: result of `segmentation_scores`, or None.
        figures: captions and PNG files to add.
        on_progress: called with the number of planes done and their total.

    Returns:
        The `Path` of the page.

    Raises:
        ValueError: shapes differ, labels are not integers, or a probability is not in [0, 1].
    """
    check_shapes(image, labels=labels, truth=truth, probability=probability)
    check_integers(labels=labels, truth=truth)
    data = _viewer(image, labels, truth, probability, voxel_size, on_progress)
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    html = template.substitute(
        title=escape(title),
        facts=_facts(facts or {}),
        scores=_table(scores) if scores else "",
        figures="".join(_figure(*item) for item in (figures or {}).items()),
        data=json.dumps(data, separators=(",", ":")).replace("</", "<\\/"),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def _viewer(image, labels, truth, probability, voxel_size, on_progress):
    layers = {
        "probability": (probability, _to_bytes, averaged, _probability_pngs),
        "grey": (image, _grey_scale(image), averaged, _jpegs),
        "labels": (labels, _same, nearest, _outlines),
        "truth": (truth, _same, nearest, _outlines),
    }
    layers = {name: layer for name, layer in layers.items() if layer[0] is not None}
    slices = slice_positions(image.shape)
    shown = shown_planes(image.shape)
    read, drawn = len(read_rows(image.shape[0])), sum(len(slices[plane.cut]) for plane in shown)
    done, total = 0, len(layers) * (read + drawn)
    planes = {plane: _axes(plane) for plane in shown}
    start = [len(at) // 2 for at in slices]
    for layer, (volume, prepare, resample, encode) in layers.items():
        stacks = read_planes(volume, prepare, resample, _offset_progress(on_progress, done, total))
        done += read
        for plane in shown:
            stack = stacks[plane.name]
            planes[plane]["pixels"] = stack.shape[1:]
            planes[plane][layer] = encode(stack, _offset_progress(on_progress, done, total))
            done += len(stack)
            if layer == "labels":
                start[plane.cut] = densest_plane((stack > 0).sum((1, 2)))
    extent = np.multiply(image.shape, voxel_size or 1)
    return {
        "planes": list(planes.values()),
        "shape": dict(zip("zyx", image.shape, strict=True)),
        "extent": dict(zip("zyx", map(float, extent), strict=True)),
        "cuts": dict(zip("zyx", (at.tolist() for at in slices), strict=True)),
        "start": dict(zip("zyx", start, strict=True)),
        "unit": "nm" if voxel_size else "voxels",
        "layers": list(layers),
    }


def _axes(plane):
    axes = {"across": plane.across, "down": plane.down, "cut": plane.cut}
    return {"name": plane.name, **{key: "zyx"[axis] for key, axis in axes.items()}}


def _offset_progress(on_progress, before, total):
    """Return `on_progress` for a step that begins when `before` of `total` planes are done."""
    return lambda done, _: on_progress and on_progress(before + done, total)


def _grey_scale(image):
    """Return a function to uint8; its range is that of a few planes, without outliers."""
    few = [subsampled(np.asarray(image[int(z)])) for z in slice_positions(image.shape)[0][::13]]
    low, high = np.nanpercentile(np.stack(few).astype("float32"), (0.5, 99.5))
    scale = 255 / max(high - low, 1e-9)

    def prepare(block):
        grey = (block.astype("float32") - low) * scale
        return np.nan_to_num(grey).clip(0, 255).astype("uint8")

    return prepare


def _same(block):
    return block


def _to_bytes(block):
    if block.dtype.kind in "ui":
        block = block / np.iinfo(block.dtype).max
    block = block.astype("float32")
    low, high = block.min(initial=0), block.max(initial=0)
    good, received = low >= -ROUNDING and high <= 1 + ROUNDING, f"from {low:.3g} to {high:.3g}"
    require(good, "probability", "numbers from 0 to 1", received)
    return (255 * block.clip(0, 1)).round().astype("uint8")


def _jpegs(stack, on_progress):
    sample = stack[:: -(-len(stack) // 4)]
    for quality in (90, 80, 65, 50, 35):
        pictures = [_encoded(Image.fromarray(p), "JPEG", quality=quality) for p in sample]
        if np.mean([len(p) for p in pictures]) * len(stack) < BUDGET / len(PLANES):
            break
    return _encode_all(
        lambda p: _encoded(Image.fromarray(p), "JPEG", quality=quality), stack, on_progress
    )


def _probability_pngs(stack, on_progress):
    alpha = bytes(int(180 * level / (LEVELS - 1)) for level in range(LEVELS))

    def encode(plane):
        picture = Image.fromarray((plane // (256 // LEVELS)).astype("uint8"), "P")
        picture.putpalette(PROBABILITY * LEVELS)
        return _encoded(picture, "PNG", transparency=alpha, bits=4)

    return _encode_all(encode, stack, on_progress)


def _outlines(stack, on_progress):
    return _encode_all(outline, stack, on_progress)


def _encode_all(encode, stack, on_progress):
    pictures = []
    for plane in stack:
        pictures.append(encode(plane))
        on_progress(len(pictures), len(stack))
    return pictures


def _encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, optimize=True, **options)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _facts(facts):
    return "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in facts.items()
    )


def _table(scores):
    names = ("precision", "recall", "jaccard")
    rows = "".join(
        f'<tr><th scope="row">{"background" if c == 0 else f"class {c}"}</th>'
        + "".join(f"<td>{100 * row[name]:.1f}</td>" for name in names)
        + "</tr>"
        for c, row in enumerate(scores["classes"])
    )
    scored = scores.get("scored", 1)
    extent = "the whole volume" if scored == 1 else f"the {scored:.1%} of the voxels that count"
    return (
        '<section class="card"><h2>Scores</h2><table><thead><tr><td></td>'
        '<th scope="col">precision</th><th scope="col">recall</th><th scope="col">Jaccard</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>"
        f"<p>VOC <strong>{100 * scores['voc']:.1f}</strong>, the mean of the Jaccard indices. "
        f"All in percent, over {extent}.</p></section>"
    )


def _figure(caption, png):
    picture = base64.b64encode(Path(png).read_bytes()).decode("ascii")
    return (
        f'<section class="card figure"><h2>{escape(caption)}</h2>'
        f'<img src="data:image/png;base64,{picture}" alt="{escape(caption)}"></section>'
    )
