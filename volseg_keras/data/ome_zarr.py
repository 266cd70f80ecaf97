"""Zarr arrays and OME-Zarr pyramids."""

from itertools import product

import numpy as np

from .source import Source, default_axes, is_volume, nanometres, pick, stored_limit

MINIMUM_SIDE = 64  # of the coarsest level of a pyramid
CHUNK = (64, 128, 128)


def read_zarr(path, inside=None, level=0):
    """Return the `Source` of a Zarr array, or of a level of an OME-Zarr image (0.4, 0.5)."""
    import zarr

    from .folder_store import FolderStore

    node = zarr.open(FolderStore(str(path)), mode="r", path=inside and inside.strip("/"))
    source = Source(default_axes(node), node) if is_volume(node) else read_group(node, level)
    array = source.array
    array.store.largest = stored_limit(array.shards or array.chunks, array.dtype)
    check_codecs(array)
    return source


def check_codecs(array):
    """Raise ValueError for an array whose chunks would run code when they are decoded."""
    codecs = [*(array.filters or ()), *array.compressors]
    if any(getattr(codec, "codec_id", None) == "pickle" for codec in codecs):
        raise ValueError("its chunks are Python objects")


def read_group(node, level):
    """Return the `Source` of a group's only array, or of a level of an OME-Zarr image."""
    attributes = node.attrs.asdict()
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales:
        found = {name: array for name, array in node.arrays() if is_volume(array)}
        return Source(default_axes(array := pick(found, None)), array)
    image = scales[0]
    if not 0 <= level < len(image["datasets"]):
        raise ValueError(f"it has levels 0 to {len(image['datasets']) - 1}, not {level}")
    dataset = image["datasets"][level]
    array = node[dataset["path"]]
    axes = image.get("axes", list("tczyx")[-array.ndim :])
    names = [axis["name"] if isinstance(axis, dict) else axis for axis in axes]
    units = {axis["name"]: axis.get("unit") for axis in axes if isinstance(axis, dict)}
    scale = np.ones(array.ndim)
    for step in dataset.get("coordinateTransformations", []) + image.get(
        "coordinateTransformations", []
    ):
        scale = scale * step.get("scale", 1)
    sides = dict(zip(names, scale, strict=True))
    size = nanometres([sides.get(a) for a in "zyx"], [units.get(a) for a in "zyx"])
    return Source("".join(names).upper(), array, size)


def write_zarr(path, slabs, shape, dtype, size):
    """Write z slabs as an OME-Zarr 0.4 image with coarser levels of every second voxel."""
    fill(start_zarr(path, shape, dtype), slabs)
    finish_zarr(path, size)


def start_zarr(path, shape, dtype):
    """Create the finest level of an OME-Zarr image and return it, to be filled."""
    import zarr

    return zarr_array(zarr.open_group(path, mode="w", zarr_format=2), 0, shape, dtype)


def finish_zarr(path, size):
    """Add coarser levels of every second voxel, and metadata, to an image that is filled."""
    import zarr

    group = zarr.open_group(path, mode="r+")
    array, levels = group["0"], [1]
    while min(array.shape[1:]) >= 2 * MINIMUM_SIDE:
        finer, coarse = array, tuple(-(-n // 2) for n in array.shape)
        array = zarr_array(group, len(levels), coarse, finer.dtype)
        for rows in array_blocks(coarse):
            wanted = tuple(slice(2 * r.start, 2 * r.stop) for r in rows)
            array[rows] = np.asarray(finer[wanted])[::2, ::2, ::2]
        levels.append(2 * levels[-1])
    group.attrs["multiscales"] = [multiscale(levels, size)]


def mark_labels(path):
    """Tell viewers that an image's voxels are labels (`image-label` of OME-Zarr 0.4)."""
    import zarr

    zarr.open_group(path, mode="r+").attrs["image-label"] = {"version": "0.4"}


def array_blocks(shape):
    """Yield blocks of whole chunks, small enough for memory, that cover an array."""
    steps = [CHUNK[0], 8 * CHUNK[1], 8 * CHUNK[2]]
    for corner in product(*[range(0, n, s) for n, s in zip(shape, steps, strict=True)]):
        yield tuple(slice(a, a + s) for a, s in zip(corner, steps, strict=True))


def zarr_array(group, level, shape, dtype):
    """Create a level of a pyramid."""
    chunks = tuple(min(c, n) for c, n in zip(CHUNK, shape, strict=True))
    options = {"chunks": chunks, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
    # A level that an interrupted run left unfinished is written anew.
    return group.create_array(str(level), shape=shape, dtype=dtype, overwrite=True, **options)


def multiscale(levels, size):
    """Return the OME-Zarr 0.4 metadata of a pyramid."""
    unit = {"unit": "nanometer"} if size else {}
    datasets = [
        {
            "path": str(i),
            "coordinateTransformations": [
                {"type": "scale", "scale": [level * s for s in size or (1, 1, 1)]}
            ],
        }
        for i, level in enumerate(levels)
    ]
    axes = [{"name": name, "type": "space", **unit} for name in "zyx"]
    return {"version": "0.4", "axes": axes, "datasets": datasets}


def fill(array, slabs):
    """Write z slabs one after the other, whole chunks at a time."""
    z, waiting = 0, []
    for slab in slabs:
        waiting.append(slab)
        ready = sum(map(len, waiting)) // CHUNK[0] * CHUNK[0]
        if ready:
            block = np.concatenate(waiting)
            array[z : z + ready] = block[:ready]
            z, waiting = z + ready, [block[ready:]]
    rest = np.concatenate(waiting)
    array[z : z + len(rest)] = rest
