"""From what a network predicts to what is asked for: filtered, parted in instances, cleaned."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from ..postprocessing.instances import check_takes_ids, instance_slabs
from ..postprocessing.labels import fill_holes, median, remove_small
from ..volumes.source import free_memory
from .write import write_labels

SLAB_VOXELS = 2**25
# Least voxels of an instance, as of `instances`.
MIN_SIZE = 100
# Of a voxel, while a volume is cleaned as a whole; measured.
BYTES = {np.uint8: 10, np.uint32: 16}


@dataclass(frozen=True)
class Finish:
    """What is done with a prediction, in this order.

    The median and the instances take slabs; the rest takes the whole volume in memory.

    Attributes:
        median: side in voxels of the median filter, odd, 1 for none; of the probability for
            `instances`, else of the labels, which for two classes is the same.
        instances: part the foreground in instances, see `inference.instances`.
        fill_holes: see `inference.cleanup`.
        min_size: least voxels of a connected component, or of an instance before its holes are
            filled; by default 100 of an instance, else 1.

    Raises:
        ValueError: a number is out of its range.
    """

    median: int = 1
    instances: bool = False
    fill_holes: bool = False
    min_size: int | None = None

    def __post_init__(self):
        """Check the numbers."""
        for name, good, expected in (
            ("median", self.median >= 1 and self.median % 2 == 1, "an odd number of voxels"),
            ("min_size", self.min_size is None or self.min_size >= 1, "a positive number"),
        ):
            if not good:
                value = getattr(self, name)
                raise ValueError(
                    f"Invalid value for `{name}`. Expected {expected}. Received: {name}={value}"
                )

    @property
    def whole(self):
        """Whether the whole volume is needed in memory."""
        return self.fill_holes or bool(self.min_size and not self.instances)

    @property
    def needed(self):
        """Whether there is anything to do."""
        return self.median > 1 or self.instances or self.whole

    @property
    def dtype(self):
        """Type of the labels."""
        return np.uint32 if self.instances else np.uint8

    def check(self, shape, output):
        """Raise ValueError for a file that takes no ids; warn of a volume larger than memory."""
        if self.instances:
            check_takes_ids(output)
        takes, free = BYTES[self.dtype] * prod(shape), free_memory()
        if self.whole and takes > free:
            warnings.warn(
                f"filling holes and dropping small objects will take {takes / 2**30:.0f} GiB of "
                f"memory, of which {free / 2**30:.0f} GiB are free",
                stacklevel=2,
            )


class Filtered:
    """A volume whose planes are filtered by the median as they are read.

    Args:
        volume: `(z, y, x)` array-like of probabilities or class ids.
        size: side of the neighbourhood, odd.
    """

    def __init__(self, volume, size):
        self.volume, self.size = volume, size
        self.shape, self.dtype = tuple(volume.shape), np.dtype(volume.dtype)
        self.voxel_size = getattr(volume, "voxel_size", None)

    def __getitem__(self, planes):
        """Return filtered planes, of a slice."""
        low, high, _ = planes.indices(self.shape[0])
        start = max(low - self.size // 2, 0)
        values = np.asarray(self.volume[start : high + self.size // 2])
        return (median(values, self.size) if self.size > 1 else values)[low - start : high - start]

    def slabs(self, on_slab=None):
        """Yield all planes in slabs; `on_slab` is called with slabs done and their total."""
        planes = max(SLAB_VOXELS // prod(self.shape[1:]), self.size)
        starts = range(0, self.shape[0], planes)
        for i, z in enumerate(starts):
            yield self[z : z + planes]
            if on_slab:
                on_slab(i + 1, len(starts))


def clean_labels(labels, *, median=1, fill_holes=False, min_size=None):
    """Clean a label map: median filter, then holes, then small components.

    Args:
        labels: `(z, y, x)` class ids of 8 bits.
        median: side in voxels of the median filter, odd, 1 for none: every voxel gets the label
            of most of its neighbours.
        fill_holes: give background that is cut off from the volume's border, and meets one label
            only, that label.
        min_size: least voxels of a connected component (by faces) of a label that stays.

    Returns:
        uint8 `(z, y, x)`.

    Raises:
        ValueError: an argument is out of its range.
    """
    labels = np.asarray(labels)
    if labels.ndim != 3 or labels.dtype not in (np.uint8, bool):
        raise ValueError(
            "Invalid value for `labels`. Expected class ids of 8 bits with axes (z, y, x). "
            f"Received: shape {labels.shape}, dtype {labels.dtype}"
        )
    finish = Finish(median=median, fill_holes=fill_holes, min_size=min_size)
    return gathered(finished(labels.view(np.uint8), None, finish), labels.shape, np.uint8)


def finished(labels, probability, finish, threshold=0.5, voxel_size=None, store=None, on_slab=None):
    """Yield the slabs of what is asked for; one slab where the whole volume is needed.

    Args:
        labels: `(z, y, x)` array-like of class ids; not read for instances.
        probability: `(z, y, x)` array-like of the foreground's; only read for instances.
        finish: a `Finish`.
        threshold: least probability of the foreground of instances.
        voxel_size: sides (z, y, x) of a voxel in nm, or None.
        store: binary file for the basins of instances; memory by default.
        on_slab: called with steps done and their total, or None.
    """
    if finish.instances:
        slabs = instance_slabs(
            Filtered(probability, finish.median),
            store or BytesIO(),
            threshold,
            voxel_size,
            neck=0.5,
            min_voxels=finish.min_size or MIN_SIZE,
            planes=None,
            on_slab=on_slab,
        )
    else:
        slabs = Filtered(labels, finish.median).slabs(on_slab)
    if not finish.whole:
        yield from slabs
        return
    result = gathered(slabs, labels.shape, finish.dtype)
    if finish.fill_holes:
        result = fill_holes(result)
    if finish.min_size and not finish.instances:
        result = remove_small(result, finish.min_size)
    yield result


def gathered(slabs, shape, dtype):
    """Return slabs as one array."""
    result, z = np.empty(shape, dtype), 0
    for slab in slabs:
        result[z : z + len(slab)] = slab
        z += len(slab)
    return result


def write_finished(labels, probability, image, output, finish, threshold, on_slab=None):
    """Write what is asked for; arguments of `finished`, returns as `write_labels`.

    Args:
        labels: see `finished`.
        probability: see `finished`.
        image: of the volume's shape and voxel size.
        output: file to write.
        finish: see `finished`.
        threshold: see `finished`.
        on_slab: see `finished`.
    """
    with TemporaryFile(dir=Path(output).parent) as store:
        slabs = finished(labels, probability, finish, threshold, image.voxel_size, store, on_slab)
        pairs = ((slab, None) for slab in slabs)
        return write_labels(pairs, image, output, None, finish.dtype)
