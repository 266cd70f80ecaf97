"""Slices of a volume in three planes, small enough for a page."""

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours

from .planes import PLANES

SLICES, SIDE, SLAB = 64, 768, 2**25


def positions(size, most):
    """Return the middles of at most `most` equal parts of an axis, as voxel indices."""
    count = min(size, most)
    return ((np.arange(count) + 0.5) * size / count).astype(int)


def read_rows(depth):
    """Return the z planes that are read: at most `SIDE`, evenly spaced."""
    step = -(-depth // SIDE)
    return np.arange(step // 2, depth, step)


def slice_positions(shape):
    """Return the positions of the slices along z, y and x; those along z are among `read_rows`."""
    rows = read_rows(shape[0])
    return [rows[positions(len(rows), SLICES)], *(positions(n, SLICES) for n in shape[1:])]


def averaged(block, size):
    """Resample the last axis of uint8 voxels to `size`, without aliasing."""
    if block.shape[-1] == size or not block.size:
        return block[..., :size]
    flat = Image.fromarray(np.ascontiguousarray(block).reshape(-1, block.shape[-1]))
    small = flat.resize((size, flat.height), Image.Resampling.LANCZOS)
    return np.asarray(small).reshape(*block.shape[:-1], size)


def nearest(block, size):
    """Resample the last axis of labels to `size`."""
    return block[..., positions(block.shape[-1], size)]


def read_planes(volume, prepare, resample, on_progress=None):
    """Read the slices of a volume in one pass over z.

    Args:
        volume: array-like `(z, y, x)`, read in slabs of at most `SLAB` voxels.
        prepare: function applied to a block of voxels before it is resampled.
        resample: `averaged` or `nearest`.
        on_progress: called with the number of z planes read and their total.

    Returns:
        A dict from the name of each of `PLANES` to an array `(slice, down, across)` of at most
        `SLICES` slices of at most `SIDE` pixels per side.
    """
    shape = volume.shape
    rows, (z, y, x) = read_rows(shape[0]), slice_positions(shape)
    height, width = (min(n, SIDE) for n in shape[1:])
    step = int(rows[1] - rows[0]) if len(rows) > 1 else 1
    parts = {plane.name: [] for plane in PLANES}
    depth = max(1, SLAB // (step * shape[1] * shape[2]))
    for i in range(0, len(rows), depth):
        few = rows[i : i + depth]
        block = np.asarray(volume[int(few[0]) : int(few[-1]) + 1 : step])
        whole = resample(prepare(block[np.isin(few, z)]), width).swapaxes(1, 2)
        parts["xy"].append(resample(whole, height).swapaxes(1, 2))
        parts["xz"].append(resample(prepare(block[:, y]), width))
        parts["yz"].append(resample(prepare(block[:, :, x]).swapaxes(1, 2), height))
        if on_progress:
            on_progress(i + len(few), len(rows))
    xy, xz, yz = map(np.concatenate, parts.values())
    return {"xy": xy, "xz": xz.swapaxes(0, 1), "yz": yz.transpose(1, 2, 0)}


def outline(plane):
    """Trace every label above 0 as the path of an SVG, in half pixels.

    Args:
        plane: labels `(down, across)`.

    Returns:
        The `d` attribute of a path; its view box has two units per pixel.
    """
    plane = np.where(plane > 0, plane, 0)
    _, index = np.unique(np.append(np.zeros(1, plane.dtype), plane), return_inverse=True)
    index = index[1:].reshape(plane.shape)
    lines = []
    for label, (rows, columns) in enumerate(ndimage.find_objects(index), 1):
        mask = np.pad(index[rows, columns] == label, 1)
        corner = np.array([rows.start, columns.start]) - 0.5
        for line in find_contours(mask, 0.5):
            points = 2 * (approximate_polygon(line, 0.4) + corner)
            lines.append(_path(points[:-1, ::-1].round().astype(int)))
    return "".join(lines)


def _path(points):
    steps = np.diff(points, axis=0).ravel()
    first = "{} {}".format(*points[0])
    return f"M{first}l{' '.join(map(str, steps))}z" if len(steps) else ""
