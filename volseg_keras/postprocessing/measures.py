"""Measurements of instances: volume, surface, position and shape, one row per instance."""

import warnings

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from ..errors import require
from ..volumes.geometry import checked_size
from .filters import touches_border
from .instance_ids import compact_large_ids

AXES = "zyx"
COLUMNS = (
    "id",
    "class",
    "voxels",
    "volume_um3",
    "surface_um2",
    *(f"centroid_{axis}_voxels" for axis in AXES),
    *(f"box_{axis}_{end}_voxels" for axis in AXES for end in ("start", "stop")),
    "elongation",
    "touches_border",
)
# Marching cubes follow the steps between voxels, so the surface of a sphere is 9 % too large; after
# smoothing by a Gaussian of this many voxels it is 1 % for a radius of 8 voxels or more. Long sides
# of voxels make higher steps, which are smoothed along the shorter sides.
SMOOTHING = 0.7
MIN_SHARE = 0.8  # of an object that must be left by smoothing


def measure(labels, voxel_size, *, classes=None, on_progress=None):
    """Measure every instance of a label map.

    Args:
        labels: `(z, y, x)` instance ids, 0 being background.
        voxel_size: sides (z, y, x) of a voxel in nm.
        classes: `(z, y, x)` class ids, for the column `class`; 1 by default.
        on_progress: called with the number of objects done and their total.

    Returns:
        A list of dicts with the keys `COLUMNS`, in order of the ids. Among them are

        - `volume_um3`, and `surface_um2` by marching cubes, closed at the border of the volume,
          without thin processes of large objects;
        - the centroid in voxels, 0 being the centre of the first one;
        - the bounding box in voxels, `stop` being one past the last;
        - `elongation`, the ratio of the longest to the shortest principal axis;
        - `touches_border`, whether the object may continue outside the volume.

    Raises:
        ValueError: labels are not a volume of integers, or `voxel_size` is not three sides.

    Example:
        >>> rows = volseg_keras.measure(ids, (5, 5, 5))
        >>> volumes = [row["volume_um3"] for row in rows]
    """
    labels, sides = np.asarray(labels), checked_size(voxel_size)
    require(
        labels.ndim == 3 and labels.dtype.kind in "iub" and labels.min(initial=0) >= 0,
        "labels",
        "instance ids with axes (z, y, x)",
        f"shape {labels.shape}, dtype {labels.dtype}",
    )
    require(sides, "voxel_size", "(z, y, x) in nm", "None")
    labels, ids = compact_large_ids(labels)
    boxes = ndimage.find_objects(labels)
    found = [(i, box) for i, box in enumerate(boxes, 1) if box]
    first = int(len(labels) == 1)  # a single section has neither border nor shape along z
    rows = []
    for i, box in found:
        own = labels[box] == i
        row = {"id": int(i if ids is None else ids[i]), "class": 1}
        row |= shape_descriptors(own, box, sides, first)
        row["touches_border"] = touches_border(box[first:], labels.shape[first:])
        if classes is not None:
            row["class"] = int(classes[box][own][0])
        rows.append({name: row[name] for name in COLUMNS})
        if on_progress:
            on_progress(len(rows), len(found))
    return rows


def warn_of_assumed_thickness(volume):
    """Warn if the thickness of a `Volume` of one section may be a default, its pixel size."""
    thickness, height, _ = volume.voxel_size
    if len(volume) == 1 and thickness == height:
        warnings.warn(
            f"the section is taken to be {thickness:g} nm thick, as high as a pixel; volumes and "
            "surfaces are wrong otherwise: --voxel-size",
            stacklevel=2,
        )


def shape_descriptors(own, box, sides, first=0):
    """Return volume, surface, position and elongation of one object.

    Args:
        own: mask of its box.
        box: three slices.
        sides: of a voxel.
        first: first axis that counts for the principal axes.
    """
    count, center, spread = moments(own)
    sides = np.array(sides)
    # A voxel is a box, not a point.
    spread = spread * np.outer(sides, sides) + np.diag(sides**2) / 12
    axes = np.sqrt(np.linalg.eigvalsh(spread[first:, first:]))
    return {
        "voxels": count,
        "volume_um3": count * sides.prod() / 1e9,
        "surface_um2": surface(own, sides) / 1e6,
        **{f"centroid_{a}_voxels": c + s.start for a, c, s in zip(AXES, center, box, strict=True)},
        **{f"box_{a}_start_voxels": s.start for a, s in zip(AXES, box, strict=True)},
        **{f"box_{a}_stop_voxels": s.stop for a, s in zip(AXES, box, strict=True)},
        "elongation": axes[-1] / axes[0],
    }


def moments(own):
    """Return the number of voxels of a mask, their mean (z, y, x) and their covariance."""
    middle = np.array(own.shape) / 2
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for z, plane in enumerate(own):
        y, x = np.nonzero(plane)
        where = np.stack([np.full(len(y), z), y, x]) - middle[:, None]
        count += len(y)
        total += where.sum(axis=1)
        products += where @ where.T
    mean = total / count
    return count, mean + middle, products / count - np.outer(mean, mean)


def surface(own, sides):
    """Return the area of an object's surface in the square of the unit of `sides`."""
    sigma = SMOOTHING * np.sqrt(max(sides) / np.asarray(sides))
    mask = np.pad(own, [(n, n) for n in np.ceil(4 * sigma).astype(int)]).astype(np.float32)
    smooth = ndimage.gaussian_filter(mask, sigma)
    # Smoothing would remove specks, and objects that are one section thick.
    mask = smooth if np.count_nonzero(smooth > 0.5) >= MIN_SHARE * np.count_nonzero(own) else mask
    vertices, faces, _, _ = marching_cubes(mask, 0.5, spacing=tuple(sides))
    return float(mesh_surface_area(vertices, faces))
