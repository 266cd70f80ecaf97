"""Read and write files for napari, and convert volumes to and from its layers."""

import math
from pathlib import Path

import numpy as np

from ..datasets.phantom import annotated_phantom
from ..errors import require
from ..resources import free_memory
from ..volumes.formats.registry import format_suffix
from ..volumes.geometry import size_in_nm
from ..volumes.labels import are_labels, in_smallest_type
from ..volumes.paths import split_name
from ..volumes.volume import Volume, as_volume, open_volume
from ..volumes.writing import check_not_input, save_volume

# Attributes of a layer that say where its voxels lie.
ALIGNMENT = ("axis_labels", "scale", "units", "translate", "rotate", "shear", "affine")
SHARE = 1 / 4  # of the free memory that editable labels may take
RESULT = "volseg_keras result"  # in the metadata of a layer that the widget wrote


def get_reader(path):
    """Return the function that reads a file, or None if `open_volume` cannot read it."""
    file = split_name(path)[0] if isinstance(path, str | Path) else None
    return read if file and (format_suffix(file) or file.is_dir()) else None


def read(path):
    """Return the layer data of a file: an image, read when it is displayed, or labels."""
    volume = open_volume(path)
    kind = "labels" if are_labels(volume) else "image"
    options = {"name": Path(path).stem, "metadata": {"volume": volume}}
    options |= spatial_options(volume.voxel_size)
    return [(to_paint(volume) if kind == "labels" else volume, options, kind)]


def write_labels(path, data, options):
    """Write a labels layer, aligned with its image, in the smallest type that holds its ids."""
    size = size_in_nm(options["scale"], options["units"])
    like = options.get("metadata", {}).get("volume")
    if isinstance(like, Volume) and not are_labels(like):
        check_not_input([path], like.path)
    save_volume(path, in_smallest_type(as_volume(data)), voxel_size=size, like=like)
    return [path]


def sample():
    """Return synthetic tissue with four annotated sections."""
    rows = zip(annotated_phantom(), ("tissue", "annotation"), ("image", "labels"), strict=True)
    return [(data, {"name": name, **spatial_options((5, 5, 5))}, kind) for data, name, kind in rows]


def spatial_options(size):
    """Return options of a layer for a voxel size (z, y, x) in nm, or None."""
    return {"axis_labels": tuple("zyx")} | ({"scale": size, "units": 3 * ("nm",)} if size else {})


def volume_of(layer):
    """Return the `Volume` of a layer."""
    grey = not getattr(layer, "rgb", False)
    require(grey, "image", "grey levels (Layer > Split RGB gives them)", f"colours of {layer.name}")
    data = layer.data[0] if layer.multiscale else layer.data
    return as_volume(data, size_in_nm(layer.scale, layer.units), layer.source.path or layer.name)


def alignment_options(layer):
    """Return options that align a new layer with another; a 2D image is a single section."""
    if layer.ndim != 3:
        return {"metadata": layer.metadata, **spatial_options(size_in_nm(layer.scale, layer.units))}
    return {"metadata": layer.metadata} | {name: getattr(layer, name) for name in ALIGNMENT}


def mark_result(layer, name):
    """Mark a layer as a result of the widget, which may write to it again."""
    layer.metadata[RESULT] = layer.unique_id, name


def result_name(layer):
    """Return the name that `mark_result` gave to a layer; None also for a user's copy of it."""
    layer_id, name = layer.metadata.get(RESULT, (None, None))
    return name if layer_id == layer.unique_id else None


def add_volumes(viewer, volumes):
    """Add open volumes, a dict by name, to a viewer, which reads only displayed planes."""
    hidden = {"colormap": "magenta", "blending": "additive", "visible": False}
    for name, volume in volumes.items():
        options = {"name": name, "metadata": {"volume": volume}}
        options |= spatial_options(volume.voxel_size)
        if name == "labels":
            viewer.add_labels(to_paint(volume), **options)
        else:
            viewer.add_image(volume, **options, **(hidden if name == "probability" else {}))


def to_paint(volume):
    """Return the labels of a `Volume` in memory, so that they can be painted, unless too large."""
    size = math.prod(volume.shape) * volume.dtype.itemsize
    return np.array(volume) if size < SHARE * free_memory() else volume
