"""The steps after prediction: median filter, instances, clean-up."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from math import prod
from numbers import Integral
from tempfile import TemporaryFile

import numpy as np

from ..errors import require
from ..resources import free_memory
from .filters import fill_holes, median, remove_small
from .instances import MIN_SIZE, Watershed, check_takes_ids

SLAB_VOXELS = 2**25
# Per voxel, while a volume is cleaned as a whole; measured.
BYTES = {np.uint8: 10, np.uint32: 16}
PLANE_BYTES = 60  # per voxel of a plane, while instances are found; measured


@dataclass(frozen=True)
class PostProcessing:
    """The steps applied to a prediction, in this order.

    Median and instances work in slabs, the others on the whole volume in memory.

    Attributes:
        median: side in voxels of the median filter, odd, 1 for none; it is applied to the
            probability for `instances`, else to the labels, which is the same for two classes.
        instances: split the foreground into instances, see `postprocessing.instances`.
        fill_holes: see `postprocessing.filters`.
        min_size: minimum voxels of a connected component, or of an instance before its holes are
            filled; by default 100 for instances, else 1.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> steps = PostProcessing(median=3, min_size=500)
        >>> cleaned = np.concatenate(list(steps.slabs(labels, None)))  # uint8 (z, y, x)
    """

    median: int = 1
    instances: bool = False
    fill_holes: bool = False
    min_size: int | None = None

    def __post_init__(self):
        """Check the numbers."""
        median, min_size = self.median, self.min_size
        good = isinstance(median, Integral) and median >= 1 and median % 2 == 1
        require(good, "median", "an odd number of voxels", f"{median=}")
        good = min_size is None or isinstance(min_size, Integral) and min_size >= 1
        require(good, "min_size", "a positive number of voxels", f"{min_size=}")

    @property
    def takes_whole_volume(self):
        """Whether the whole volume is needed in memory."""
        return self.fill_holes or bool(self.min_size and not self.instances)

    @property
    def is_needed(self):
        """Whether there is anything to do."""
        return self.median > 1 or self.instances or self.takes_whole_volume

    @property
    def dtype(self):
        """Type of the labels."""
        return np.uint32 if self.instances else np.uint8

    def check_output(self, shape, output):
        """Raise ValueError for a format without 32-bit ids; warn if memory will not suffice."""
        if self.instances:
            check_takes_ids(output)
        work, takes, free = "filling holes and dropping small objects", 0, free_memory()
        if self.takes_whole_volume:
            takes = BYTES[self.dtype] * prod(shape)
        elif self.instances:  # works in slabs, of a plane or more
            work, takes = "finding instances", PLANE_BYTES * prod(shape[1:])
        if takes > free:
            warnings.warn(
                f"{work} will take {takes / 2**30:.0f} GiB of memory, of which "
                f"{free / 2**30:.0f} GiB are free",
                stacklevel=2,
            )

    def slabs(
        self,
        labels,
        probability,
        threshold=0.5,
        voxel_size=None,
        on_progress=None,
        folder=None,
    ):
        """Yield the result in slabs, or in one if the whole volume is needed.

        Args:
            labels: `(z, y, x)` array-like of class ids; not read for instances.
            probability: `(z, y, x)` array-like of the foreground; only read for instances.
            threshold: minimum probability of the foreground of instances.
            voxel_size: sides (z, y, x) of a voxel in nm, or None.
            on_progress: called with the number of steps done and their total, or None.
            folder: for a temporary file of the basins of instances; in memory by default.
        """
        with TemporaryFile(dir=folder) if folder else BytesIO() as basins:
            if self.instances:
                watershed = Watershed(threshold, min_size=self.min_size or MIN_SIZE)
                filtered = MedianFiltered(probability, self.median)
                slabs = watershed.slabs(filtered, basins, voxel_size, on_progress)
            else:
                slabs = MedianFiltered(labels, self.median).slabs(on_progress)
            if not self.takes_whole_volume:
                yield from slabs
                return
            result = _gather(slabs, labels.shape, self.dtype)
        if self.fill_holes:
            result = fill_holes(result)
        if self.min_size and not self.instances:
            result = remove_small(result, self.min_size)
        yield result


class MedianFiltered:
    """A volume whose planes are filtered by the median as they are read.

    Args:
        volume: `(z, y, x)` array-like of probabilities or class ids.
        size: side of the neighbourhood, odd.
    """

    def __init__(self, volume, size):
        self.volume, self.size = volume, size
        self.shape, self.dtype = tuple(volume.shape), np.dtype(volume.dtype)
        self.voxel_size = getattr(volume, "voxel_size", None)

    def __getitem__(self, key):
        """Return a filtered block; `key` is a slice of planes, or one slice per axis."""
        key, wide, own = key if isinstance(key, tuple) else (key,), [], []
        for span, size in zip(key, self.shape, strict=False):
            low, high, _ = span.indices(size)
            start = max(low - self.size // 2, 0)
            wide.append(slice(start, high + self.size // 2))
            own.append(slice(low - start, high - start))
        values = np.asarray(self.volume[tuple(wide)])
        return (median(values, self.size) if self.size > 1 else values)[tuple(own)]

    def slabs(self, on_progress=None):
        """Yield all planes in slabs; `on_progress` is called with slabs done and total."""
        planes = max(SLAB_VOXELS // prod(self.shape[1:]), self.size)
        starts = range(0, self.shape[0], planes)
        for i, z in enumerate(starts):
            yield self[z : z + planes]
            if on_progress:
                on_progress(i + 1, len(starts))


def clean_labels(labels, *, median=1, fill_holes=False, min_size=None):
    """Clean a label map: median filter, then holes, then small components.

    Args:
        labels: `(z, y, x)` 8-bit class ids.
        median: side in voxels of the median filter, odd, 1 for none: every voxel gets the label
            of most of its neighbours.
        fill_holes: fill background that touches only one label, and not the volume's border, with
            that label.
        min_size: minimum voxels of a connected component (by faces) that is kept.

    Returns:
        uint8 `(z, y, x)`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> cleaned = volseg_keras.clean_labels(labels, median=3, min_size=500)
    """
    labels = np.asarray(labels)
    require(
        labels.ndim == 3 and labels.dtype in (np.uint8, bool),
        "labels",
        "class ids of 8 bits with axes (z, y, x)",
        f"shape {labels.shape}, dtype {labels.dtype}",
    )
    steps = PostProcessing(median=median, fill_holes=fill_holes, min_size=min_size)
    return _gather(steps.slabs(labels.view(np.uint8), None), labels.shape, np.uint8)


def _gather(slabs, shape, dtype):
    """Join slabs in one array."""
    result, z = np.empty(shape, dtype), 0
    for slab in slabs:
        result[z : z + len(slab)] = slab
        z += len(slab)
    return result
