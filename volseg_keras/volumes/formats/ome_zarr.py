"""Zarr arrays and OME-Zarr pyramids."""

from itertools import product

import numpy as np
from tifffile import natural_sorted

from ...errors import MAX_LISTED, listed
from ..axes import default_axes, named_axes
from ..geometry import geometry_of, in_nm
from .slabs import CHUNK, chunk_for_slabs, fill
from .source import Source, check_number, is_volume, pick, stored_limit

MINIMUM_SIDE = 64  # of the coarsest level of a pyramid
UNITS = {1: "nanometer", 1e3: "micrometer", 1e6: "millimeter", 0.1: "angstrom"}


def read_zarr(path, inside=None, level=0, series=None):
    """Return the `Source` of a Zarr array, or of a level of an OME-Zarr image (0.4, 0.5)."""
    import zarr

    from .zarr_folder import FolderStore

    name = (inside or "").strip("/")
    root = zarr.open(FolderStore(str(path)), mode="r")
    try:
        node = root[name] if name else root
    except (KeyError, AttributeError) as error:
        raise ValueError(f"there is no {name} in it, but {listed(contents(root))}") from error
    if is_volume(node):
        check_number("level", level, 1)
        check_number("series", series or 0, 1)
        source = level_of(root, name) or array_source(node)
    else:
        source = read_group(node, level, series)
    array = source.array
    array.store.largest = stored_limit(array.chunks, array.dtype, array.shards)
    check_codecs(array)
    return source


def array_source(array):
    """Return the `Source` of an array with its own metadata."""
    names = getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.asdict().get("_ARRAY_DIMENSIONS")
    axes = named_axes(names, array) if names else None
    return Source(axes or default_axes(array), array)


def level_of(root, name):
    """Return the `Source` of an array that is a level of an image of its group, or None."""
    around, _, own = name.rpartition("/")
    parent = (root[around] if around else root) if own else None
    for image in pyramids(parent) if parent is not None else ():
        for i, dataset in enumerate(image["datasets"]):
            if dataset["path"] == own:
                return image_source(parent, image, i)
    return None


def pyramids(group):
    """Return the multiscale images of a group, as OME-Zarr describes them."""
    attributes = group.attrs.asdict()
    return attributes.get("ome", attributes).get("multiscales") or ()


def contents(group, prefix="", depth=4, enough=MAX_LISTED):
    """Return the images and arrays of a group and its subgroups, by name.

    It stops where there are more than `enough`. Plates and the output of bioformats2raw have their
    images two or three groups deep.
    """
    found, members = {}, dict(group.members())
    for name in natural_sorted(members):
        node = members[name]
        if is_volume(node):
            found[prefix + name] = node
        elif hasattr(node, "members"):
            if pyramids(node):
                found[prefix + name] = node
            elif depth:
                found |= contents(node, f"{prefix}{name}/", depth - 1, enough)
        if len(found) > enough:
            break
    return found


def check_codecs(array):
    """Raise ValueError for an array whose chunks could run code when they are decoded."""
    codecs = [*(array.filters or ()), *array.compressors]
    if any(getattr(codec, "codec_id", None) == "pickle" for codec in codecs):
        raise ValueError("its chunks are Python objects")


def read_group(group, level, series):
    """Return the `Source` of a group's only image or array, or of number `series`."""
    if images := pyramids(group):
        check_number("series", series or 0, len(images))
        return image_source(group, images[series or 0], level)
    found = contents(group, enough=max(series or 0, MAX_LISTED))
    if series is not None:
        check_number("series", series, len(found), listed(found))
        node = list(found.values())[series]
    else:
        node = pick(found, None)
    if not is_volume(node):
        return read_group(node, level, None)
    check_number("level", level, 1)
    return array_source(node)


def image_source(group, image, level):
    """Return the `Source` of a level of an OME-Zarr image."""
    check_number("level", level, len(image["datasets"]))
    dataset = image["datasets"][level]
    array = group[dataset["path"]]
    axes = image.get("axes", list("tczyx")[-array.ndim :])
    names = [axis["name"] if isinstance(axis, dict) else axis for axis in axes]
    letters = named_axes(names, array) or default_axes(array)
    units = {a: x.get("unit") for a, x in zip(letters, axes, strict=True) if isinstance(x, dict)}
    scale, shift = np.ones(array.ndim), np.zeros(array.ndim)
    steps = [dataset, image]
    for step in [step for part in steps for step in part.get("coordinateTransformations") or ()]:
        scale, shift = scale * step.get("scale", 1), shift * step.get("scale", 1)
        shift = shift + step.get("translation", 0)
    sides, origin = dict(zip(letters, scale, strict=True)), dict(zip(letters, shift, strict=True))
    rows = [[values.get(a) for a in "ZYX"] for values in (sides, units)]
    return Source(letters, array, geometry_of(*rows, [origin.get(a, 0) for a in "ZYX"]))


def write_zarr(path, slabs, shape, dtype, geometry):
    """Write z slabs as an OME-Zarr 0.4 image with coarser levels of every second voxel."""
    fill(start_zarr(path, shape, dtype, chunk_for_slabs(shape, dtype)), slabs)
    finish_zarr(path, geometry)


def start_zarr(path, shape, dtype, chunk=CHUNK):
    """Create the finest level of an OME-Zarr image and return it, to be filled."""
    import zarr

    return zarr_array(zarr.open_group(path, mode="w", zarr_format=2), 0, shape, dtype, chunk)


def finish_zarr(path, geometry):
    """Add coarser levels of every second voxel, and metadata, to an image that is filled."""
    import zarr

    group = zarr.open_group(path, mode="r+")
    array, factors = group["0"], [(1, 1, 1)]
    while min(array.shape[1:]) >= 2 * MINIMUM_SIDE:
        finer, halves = array, [2 if n > 1 else 1 for n in array.shape]
        coarse = tuple(-(-n // half) for n, half in zip(finer.shape, halves, strict=True))
        array = zarr_array(group, len(factors), coarse, finer.dtype)
        for rows in array_blocks(coarse):
            pairs = zip(rows, halves, strict=True)
            wanted = tuple(slice(half * r.start, half * r.stop) for r, half in pairs)
            array[rows] = np.asarray(finer[wanted])[tuple(slice(None, None, h) for h in halves)]
        factors.append(tuple(f * half for f, half in zip(factors[-1], halves, strict=True)))
    group.attrs["multiscales"] = [multiscale(factors, geometry)]


def mark_labels(path):
    """Mark an image as labels for viewers (`image-label` of OME-Zarr 0.4)."""
    import zarr

    zarr.open_group(path, mode="r+").attrs["image-label"] = {"version": "0.4"}


def array_blocks(shape):
    """Yield blocks of whole chunks, small enough for memory, that cover an array."""
    steps = [CHUNK[0], 4 * CHUNK[1], 4 * CHUNK[2]]
    for corner in product(*[range(0, n, s) for n, s in zip(shape, steps, strict=True)]):
        yield tuple(slice(a, a + s) for a, s in zip(corner, steps, strict=True))


def zarr_array(group, level, shape, dtype, chunk=CHUNK):
    """Create a level of a pyramid."""
    chunks = tuple(min(c, n) for c, n in zip(chunk, shape, strict=True))
    options = {"chunks": chunks, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
    # A level that an interrupted run left unfinished is overwritten.
    return group.create_array(str(level), shape=shape, dtype=dtype, overwrite=True, **options)


def multiscale(factors, geometry):
    """Return the OME-Zarr 0.4 metadata of a pyramid at a `Geometry`, which may be None.

    Every level begins with the first voxel of the one before.

    Args:
        factors: how many times as large as the finest ones the voxels of each level are, (z, y, x).
        geometry: the `Geometry` of the finest level.
    """
    geometry = geometry and geometry.voxel_size and geometry.in_unit("nm", "um", "mm", "angstrom")
    unit = {"unit": UNITS[in_nm(geometry.unit)]} if geometry else {}
    sides, shift = geometry.sides if geometry else (1, 1, 1), []
    if geometry and geometry.is_straight and any(geometry.origin):
        shift = [{"type": "translation", "translation": list(geometry.origin[::-1])}]
    datasets = [
        {
            "path": str(i),
            "coordinateTransformations": [
                {"type": "scale", "scale": [f * s for f, s in zip(factor, sides, strict=True)]},
                *shift,
            ],
        }
        for i, factor in enumerate(factors)
    ]
    axes = [{"name": name, "type": "space", **unit} for name in "zyx"]
    return {"version": "0.4", "axes": axes, "datasets": datasets}
