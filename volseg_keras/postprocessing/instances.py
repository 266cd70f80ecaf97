"""Instances of a probability volume: a watershed in slabs, the same as on the whole volume.

The height of a voxel is its probability times its distance to the background. Every voxel points
to its highest neighbour, and those that lead to the same summit are a basin; basins are merged over
the saddles between them, highest first, unless a narrow neck separates them. Height and pointers
depend only on a voxel's surroundings, so the result does not depend on how a volume is cut.
"""

from dataclasses import dataclass
from io import BytesIO
from itertools import product
from math import ceil, prod
from pathlib import Path
from tempfile import TemporaryFile

import cc3d
import numpy as np
from scipy import ndimage

from ..errors import require
from ..resources import free_memory
from ..volumes.formats.registry import FORMATS, format_suffix
from ..volumes.geometry import checked_size
from ..volumes.writing import create_volume
from .filters import CONNECTIVITY
from .watershed import Basins

# Where objects are split by default, and the minimum voxels of an instance.
NECK, MIN_SIZE = 0.5, 100
RADIUS = 32  # in smallest voxel sides: larger distances to the background are clipped
SLAB_VOXELS, BLOCK = 2**27, 512
BYTES = 200  # per voxel of a slab that is all foreground: twice the measured value
HEIGHT_BYTES = 16  # per voxel of which only the height is held


def instances(probability, threshold=0.5, *, voxel_size=None, neck=NECK, min_size=MIN_SIZE):
    """Split the foreground of a volume into instances by a watershed.

    Objects are voxels of at least `threshold` that are connected by faces. An object is split
    where its height, probability times distance to the background, falls below a share `neck`
    of the lower of the two summits on both sides. Distances above 32 voxels count as 32.
    Follows Zlateski and Seung, arXiv:1505.00249: steepest ascent, then single linkage of basins.

    Args:
        probability: array-like `(z, y, x)` of foreground probabilities, or booleans.
        threshold: minimum probability of the foreground.
        voxel_size: sides (z, y, x) of a voxel in nm; by default that of the volume, else a cube.
        neck: where objects are split, from 0 (nowhere) to 1 (between any two summits).
        min_size: smaller instances join the neighbour with the highest saddle, or are dropped.

    Returns:
        uint32 `(z, y, x)`: 0 for background, 1 to n for instances in order of their summits.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> ids = volseg_keras.instances(probability[..., 1], voxel_size=(5, 5, 5))
    """
    watershed = Watershed(threshold, neck, min_size)
    return np.concatenate(list(watershed.slabs(probability, BytesIO(), voxel_size)))


def write_instances(
    probability,
    output,
    threshold=0.5,
    *,
    voxel_size=None,
    neck=NECK,
    min_size=MIN_SIZE,
    on_progress=None,
):
    """Write the instances of a volume that may be larger than memory.

    Args:
        probability: a `Volume` or array-like, of which slabs are read.
        output: file to write, in a format of `create_volume` that has 32-bit integers.
        threshold: see `instances`.
        voxel_size: see `instances`; it is written too.
        neck: see `instances`.
        min_size: see `instances`.
        on_progress: called with the number of steps done and their total, two for each slab.

    Returns:
        The number of instances.

    Raises:
        ValueError: an argument is out of its range.
        OSError: the file cannot be written.
    """
    watershed = Watershed(threshold, neck, min_size)
    voxel_size = checked_size(voxel_size) or getattr(probability, "voxel_size", None)
    check_takes_ids(output)
    count, shape = 0, probability.shape
    with (
        create_volume(output, shape, np.uint32, voxel_size, like=probability, labels=True) as write,
        TemporaryFile(dir=Path(output).parent) as store,
    ):
        for slab in watershed.slabs(probability, store, voxel_size, on_progress):
            count = max(count, int(slab.max(initial=0)))
            write(slab)
    return count


def check_takes_ids(output):
    """Raise ValueError for a file format that has no 32-bit integers."""
    kind = format_suffix(Path(output))
    good = kind is None or FORMATS[kind].holds_32_bits
    require(good, "output", "a format that has 32-bit integers, such as .tif", output)


@dataclass(frozen=True)
class Watershed:
    """A watershed that splits the foreground into instances.

    Attributes:
        threshold: minimum probability of the foreground.
        neck: where objects are split, from 0 (nowhere) to 1 (between any two summits).
        min_size: smaller instances join the neighbour with the highest saddle, or are dropped.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> slabs = Watershed(neck=0.7).slabs(probability, BytesIO())
        >>> ids = np.concatenate(list(slabs))  # uint32 (z, y, x)
    """

    threshold: float = 0.5
    neck: float = NECK
    min_size: int = MIN_SIZE

    def __post_init__(self):
        """Check the numbers."""
        threshold, neck, min_size = self.threshold, self.neck, self.min_size
        require(0 < threshold <= 1, "threshold", "a number above 0, up to 1", f"{threshold=}")
        require(0 <= neck <= 1, "neck", "a number from 0 to 1", f"{neck=}")
        require(min_size >= 0, "min_size", "a number of voxels", f"{min_size=}")

    def slabs(self, probability, store, voxel_size=None, on_progress=None):
        """Yield the uint32 slabs of the instances; the volume is checked before any work.

        Args:
            probability: a `Volume` or array-like, of which slabs are read.
            store: a binary file for the basins, some bytes per voxel of the foreground.
            voxel_size: sides (z, y, x) of a voxel in nm; by default that of the volume, else a
                cube.
            on_progress: called with the number of steps done and their total, two for each slab.
        """
        sides = checked_size(voxel_size) or getattr(probability, "voxel_size", None)
        sides = sides or (1.0, 1.0, 1.0)
        check_probability(probability)
        reach = [ceil(RADIUS * min(sides) / side) for side in sides]
        depth, plane = probability.shape[0], prod(probability.shape[1:])
        planes = max(min(SLAB_VOXELS, free_memory() // BYTES) // plane, 1)
        cuts = [(z, min(z + planes, depth)) for z in range(0, depth, planes)]
        # Heights take little memory, but also the time of all planes within reach.
        thick = min(2 * reach[0], free_memory() // (HEIGHT_BYTES * plane)) // planes
        thick = planes * max(1, thick)
        on_progress = on_progress or (lambda done, total: None)
        basins = Basins(probability.shape[1:])
        thin = thin_heights(probability, planes, thick, self.threshold, sides, reach)
        for i, height in enumerate(thin):
            for found in basins.add(height):
                np.save(store, found)
            on_progress(i + 1, 2 * len(cuts))
        numbers = basins.instance_of_each_id(self.neck, self.min_size)
        store.seek(0)
        for i, (low, high) in enumerate(cuts):
            labels = np.zeros((high - low, *probability.shape[1:]), np.uint32)
            voxels, ids = np.load(store), np.load(store)
            labels.flat[voxels] = numbers[ids]
            yield labels
            on_progress(len(cuts) + i + 1, 2 * len(cuts))


def check_probability(probability):
    """Raise ValueError unless the argument is a volume of probabilities."""
    shape, dtype = tuple(probability.shape), np.dtype(probability.dtype)
    require(
        len(shape) == 3 and prod(shape) and dtype.kind in "fb",
        "probability",
        "a volume of floats",
        f"shape {shape}, dtype {dtype}",
    )


def thin_heights(probability, planes, thick, threshold, sides, reach):
    """Yield the `heights` of slabs of `planes`, computed for a multiple, `thick`, at a time."""
    for low in range(0, probability.shape[0], thick):
        high = min(low + thick, probability.shape[0])
        found = heights(probability, low, high, threshold, sides, reach)
        for z in range(0, high - low, planes):
            yield found[z : z + planes + 2]


def heights(probability, low, high, threshold, sides, reach):
    """Return the float32 heights of planes `low - 1` to `high`; outside the volume they are 0.

    Args:
        probability: `(z, y, x)` array-like.
        low: first plane of a slab.
        high: one past its last plane.
        threshold: minimum probability of the foreground.
        sides: (z, y, x) of a voxel.
        reach: (z, y, x) in voxels of the surroundings that a distance depends on.
    """
    start, stop = max(low - 1 - reach[0], 0), min(high + 1 + reach[0], probability.shape[0])
    first, last = max(low - 1, 0), min(high + 1, probability.shape[0])
    height = np.zeros((last - first, *probability.shape[1:]), np.float32)
    for y, x in product(*(range(0, size, BLOCK) for size in probability.shape[1:])):
        rows, columns = (
            slice(max(a - r, 0), a + BLOCK + r) for a, r in zip((y, x), reach[1:], strict=True)
        )
        values = np.asarray(probability[start:stop, rows, columns])
        top = values.max(initial=0)
        require(top <= 1, "probability", "numbers from 0 to 1", f"a maximum of {top:g}")
        mask, values = values >= threshold, values.astype(np.float32, copy=False)
        own = slice(first - start, last - start), slice(y - rows.start, None)
        own = (*own, slice(x - columns.start, None))
        found = np.where(mask[own], values[own] * distances(mask, sides)[own], 0)
        height[:, y : y + BLOCK, x : x + BLOCK] = found[:, :BLOCK, :BLOCK]
    return np.pad(height, ((first - (low - 1), high + 1 - last), (0, 0), (0, 0)))


def distances(mask, sides):
    """Return the distance of every voxel to the background, in nm, up to `RADIUS` voxels.

    Objects are taken one by one: the nearest voxel outside an object is never in another one,
    since a neighbour of that voxel would be nearer.
    """
    result = np.zeros(mask.shape, np.float32)
    labels = cc3d.connected_components(mask, connectivity=CONNECTIVITY)
    for i, box in enumerate(ndimage.find_objects(labels), 1):
        box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
        own = labels[box] == i
        if own.all():
            result[box] = np.inf
        else:
            result[box][own] = ndimage.distance_transform_edt(own, sides)[own]
    return np.minimum(result, RADIUS * min(sides), out=result)
