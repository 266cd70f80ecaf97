"""Folders of slices."""

import re
import struct
import warnings
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import tifffile

from ...errors import listed, require
from .source import Source, stored_limit
from .tiff_checks import choose_series
from .tiff_geometry import read_geometry

IMAGES = (".png", ".tif", ".tiff")
PNG = b"\x89PNG\r\n\x1a\n"
PALETTE = 3  # colour type of PNG


def find_slices(path):
    """Return the images of a folder or a pattern, without hidden files.

    macOS puts a hidden "._" file beside every file on other file systems.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a folder holds images of several kinds.
    """
    folder, pattern = (path.parent, path.name) if "*" in path.name else (path, "*")
    found = [
        file
        for file in folder.glob(re.sub(r"[\[?]", r"[\g<0>]", pattern))
        if file.is_file() and file.suffix.lower() in IMAGES and not file.name.startswith(".")
    ]
    require(found, "path", f"images {', '.join(IMAGES)}", path, FileNotFoundError)
    kinds = sorted({file.suffix.lower().replace("tiff", "tif") for file in found})
    expected = f'images of one kind, as "{folder}/*{kinds[0]}"'
    require(len(kinds) == 1, "path", expected, f"{path} with {' and '.join(kinds)}")
    return found


def holds_slices(folder):
    """Return whether a folder has three images or more whose names differ in a number alone."""
    images = (file for file in folder.glob("*.*") if file.suffix.lower() in IMAGES)
    patterns = Counter("#".join(name_parts(image)[::2]) for image in images)
    return any(count >= 3 and "#" in pattern for pattern, count in patterns.items())


def read_slices(paths):
    """Return the `Source` of images of one size, in the order of the numbers in their names."""
    import zarr

    paths = sorted((str(path) for path in paths), key=lambda path: (name_parts(path), path))
    warn_of_names(paths)
    warn_of_gaps(paths)
    is_tiff = paths[0].lower().endswith((".tif", ".tiff"))
    read = read_page if is_tiff else read_png
    first, plane = read(paths[0])

    def alike(path):
        try:
            image, _ = read(path)
        except Exception as error:
            raise ValueError(f"{path}: {error}") from error
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            raise ValueError(
                f"{path} is {image.shape} {image.dtype}, not {first.shape} {first.dtype} "
                f"as {paths[0]}"
            )
        return image

    sequence = tifffile.FileSequence(alike, paths)
    array = zarr.open(sequence.aszarr(axestiled={}), mode="r")
    return Source(f"Z{plane}", array, plane_geometry(paths[0]) if is_tiff else None)


def plane_geometry(path):
    """Return the `Geometry` of a slice, or None."""
    with tifffile.TiffFile(path) as tif:
        return read_geometry(tif, 0)


def name_parts(path):
    """Return the texts and numbers of a file's name in turn, by which files are ordered.

    Without its end, so that "scan.png" comes before "scan1.png", as Windows numbers copies.
    """
    parts = re.split(r"(\d+)", Path(path).stem.lower())
    parts[1::2] = map(int, parts[1::2])
    return parts


def warn_of_names(paths):
    """Warn of slices whose names differ in more than numbers, which may be several volumes."""
    first, *others = ("#".join(name_parts(p)[::2]) + Path(p).suffix.lower() for p in paths)
    patterns = sorted({*others, *([first] if "#" in first else [])})
    if len(patterns) > 1:
        names = [Path(path).name for path in (paths[0], paths[-1])]
        warnings.warn(
            f"slices are named in several ways, {listed(patterns)}: they are read as one volume, "
            f'from {names[0]} to {names[1]}; a pattern such as "*_mask.png" takes some of them',
            stacklevel=2,
        )


def warn_of_gaps(paths):
    """Warn of missing slices, if names are alike but for one number."""
    parts = [name_parts(path) for path in paths]
    texts = {tuple(part[::2]) for part in parts}
    if len(parts) < 3 or len(texts) > 1:
        return
    columns = list(zip(*(part[1::2] for part in parts), strict=True))
    running = [column for column in columns if len(set(column)) > 1]
    if len(running) != 1:
        return
    steps = np.diff(running[0])
    step = int(np.median(steps))
    gaps = [
        f"{running[0][i]} and {running[0][i + 1]}" for i in np.flatnonzero(steps > max(step, 1))
    ]
    if step > 0 and gaps:
        warnings.warn(
            f"slices are missing between {listed(gaps)}; the others are treated as neighbours",
            stacklevel=2,
        )


def read_page(path):
    """Return the image of a TIFF file and its axes.

    Raises:
        ValueError: it has several sections.
    """
    with tifffile.TiffFile(path, is_ome=False) as tif:
        choose_series(tif)
        stored_limit(tif.series[0].shape, tif.series[0].dtype)
        image, axes = tif.asarray(), tif.series[0].axes
    kept = [(n, a) for n, a in zip(image.shape, axes, strict=True) if n > 1 or a in "YX"]
    axes = "".join(a for _, a in kept)
    if not set(axes) <= set("CYXS"):
        raise ValueError(f"{path} is not a single image, but {axes} of shape {image.shape}")
    return image.reshape([n for n, _ in kept]), axes


def read_png(path):
    """Return the image of a PNG file and its axes, unless it declares absurd sizes.

    For a palette of greys it returns grey levels; for colours, as in label images, their indices.
    """
    import imagecodecs

    with open(path, "rb") as file:
        data = file.read()
    if not data.startswith(PNG):
        raise ValueError("it is not a PNG")
    stored_limit(struct.unpack_from(">2I", data, 16), np.dtype("u2" if data[24] > 8 else "u1"))
    if data[25] != PALETTE:
        image = imagecodecs.png_decode(data)
        return image, "YXS"[: image.ndim]
    from PIL import Image

    with Image.open(BytesIO(data)) as image:
        colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        numbers = np.asarray(image)
    grey = (colours == colours[:, :1]).all() and len(colours) > numbers.max(initial=0)
    return colours[:, 0][numbers] if grey else numbers, "YX"
