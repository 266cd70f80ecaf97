"""Sizes of instances."""

import math
from collections import Counter

import numpy as np
from matplotlib.figure import Figure

from ..volumes.dimensions import check_integers
from .plots import BLUE, DARK, save_figure, style_axes

VOXELS = 2**26  # read at a time, or a plane if that is larger


def instance_sizes(instances, on_progress=None):
    """Count the voxels of every instance, reading a few planes at a time.

    Args:
        instances: integer array-like `(z, y, x)`; 0 is background.
        on_progress: called with the number of planes done and their total.

    Returns:
        Voxels of each instance, an integer array in no particular order.

    Raises:
        ValueError: the voxels are not integers.
    """
    check_integers(instances=instances)
    sizes, (depth, *plane) = Counter(), instances.shape
    planes = max(1, VOXELS // math.prod(plane))
    for z in range(0, depth, planes):
        ids, counts = np.unique(np.asarray(instances[z : z + planes]), return_counts=True)
        sizes.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        if on_progress:
            on_progress(min(z + planes, depth), depth)
    del sizes[0]
    return np.array(list(sizes.values()), int)


def size_histogram(sizes, path, voxel_size=None):
    """Draw a histogram of instance sizes on a logarithmic axis.

    Args:
        sizes: voxels of each instance.
        path: PNG file to write; missing folders are created.
        voxel_size: sides (z, y, x) of a voxel in nm; sizes are then in cubic micrometres.

    Returns:
        The `Path` of the PNG.
    """
    factor, unit = (np.prod(voxel_size) / 1e9, "µm³") if voxel_size else (1, "voxels")
    volumes = np.asarray(sizes) * factor
    figure = Figure(figsize=(7, 4), layout="constrained")
    ax = figure.subplots()
    ax.set_title(f"{len(volumes):,} instances", fontsize=10, loc="left")
    if len(volumes):
        low, high = volumes.min() / 1.2, volumes.max() * 1.2
        bins = np.geomspace(low, high, int(np.clip(2 * len(volumes) ** 0.5, 5, 40)))
        ax.hist(volumes, bins=bins, color="#9ecae1", edgecolor=BLUE, lw=0.6)
        middle = np.median(volumes)
        ax.axvline(middle, color=DARK, lw=1, ls="--", label=f"median {middle:.3g} {unit}")
        ax.legend(frameon=False, fontsize=8)
        ax.set_xscale("log")
    style_axes(ax, "Instances")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel(f"Volume ({unit})", fontsize=9)
    return save_figure(figure, path)
