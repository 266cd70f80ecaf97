"""Random patches: number i is a pure function of (seed, i)."""

import math
from dataclasses import dataclass

import numpy as np

from .augment import Augment, draw, place, shade
from .distractors import add_sheath
from .volumes import NOT_ANNOTATED, checked_finite, class_ids

# Of the grey levels' statistics: shares beyond which levels are cut off, and voxels of a sample.
PERCENTILES, SAMPLED = (0.001, 0.999), 2**22


@dataclass(frozen=True)
class Sample:
    """One patch: `image` float32 `(*spatial, channels)`, `label` uint8 `(*spatial)`."""

    image: np.ndarray
    label: np.ndarray


class PatchSampler:
    """Draw augmented patches of a labelled volume (paper, Section 4).

    Patch `i` depends on `(seed, i)` alone, so a run repeats bit for bit with any number of workers
    and resumes at any step.

    Args:
        image: `(z, y, x)` or `(z, y, x, channels)` array-like of grey levels.
        label: `(z, y, x)` array-like of class ids; a mask of 0 and 255 is one of 0 and 1, unless
            255 is `ignore_class`.
        patch_shape: `(z, y, x)` in voxels, or `(y, x)` for slices of 2D networks.
        seed: integer seed.
        foreground_fraction: share of patches placed with a foreground voxel near their centre; the
            others lie anywhere.
        jitter: how far from the centre, in voxels along each axis, that voxel may be.
        augment: an `Augment`; the default flips, rotates and changes gain and offset.
        normalization: `(mean, standard deviation)` that grey levels are standardised by, of several
            channels two sequences; those of `image` by default; `(0, 1)` for a model that
            standardises grey levels itself.
        ignore_class: label of voxels without annotation.

    Attributes:
        normalization: the pair in use.

    Raises:
        ValueError: shapes differ, the patch is larger than the volume, there is no foreground, or
            a number is out of range.
    """

    def __init__(
        self,
        image,
        label,
        patch_shape,
        seed=0,
        *,
        foreground_fraction=0.8,
        jitter=16,
        augment=None,
        normalization=None,
        ignore_class=None,
    ):
        self.image = image
        self.channels = channels_of(image)
        self.label = class_ids(label, mask=ignore_class != NOT_ANNOTATED)
        self.spatial_dims = len(patch_shape)
        self.patch_shape = (1,) * (3 - len(patch_shape)) + tuple(patch_shape)
        self.seed = seed
        self.foreground_fraction = foreground_fraction
        self.jitter = jitter
        self.augment = augment or Augment()
        self.check()
        self.foreground = foreground_voxels(self.label, ignore_class)
        own = normalization is not None
        self.normalization = normalization if own else grey_statistics(image)

    def check(self):
        """Raise ValueError for arguments that do not fit each other."""
        check_shape(self.image, self.label)
        volume = tuple(self.label.shape)
        sizes = list(zip(self.patch_shape, volume, strict=False))
        if self.spatial_dims not in (2, 3) or any(not 0 < p <= n for p, n in sizes):
            raise ValueError(
                "Invalid value for `patch_shape`. Expected two or three sizes within the volume's "
                f"{volume}. Received: patch_shape={self.patch_shape}"
            )
        if not isinstance(self.seed, int | np.integer):
            raise ValueError(
                f"Invalid value for `seed`. Expected an integer. Received: seed={self.seed!r}"
            )
        if not 0 <= self.foreground_fraction <= 1:
            raise ValueError(
                "Invalid value for `foreground_fraction`. Expected a number from 0 to 1. "
                f"Received: foreground_fraction={self.foreground_fraction}"
            )
        if not self.jitter >= 0:
            raise ValueError(
                "Invalid value for `jitter`. Expected a number of voxels. "
                f"Received: jitter={self.jitter}"
            )

    def __getitem__(self, index):
        """Return patch number `index` as a `Sample`."""
        key = np.array([int(self.seed) % 2**64, index], np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        start = self.place(rng)
        drawn = draw(rng, self.patch_shape, self.augment)
        box = Box(start, self.patch_shape, drawn.margin)
        image = place(self.standardised(box), drawn, order=1)
        label = place(box.read(self.label), drawn, order=0)
        if drawn.sheath is not None:
            image, label = np.array(image), np.array(label)
            add_sheath(image, label, drawn.sheath)
        image = shade(image, drawn)
        shape = self.patch_shape[-self.spatial_dims :]
        return Sample(
            np.ascontiguousarray(image, np.float32).reshape(*shape, self.channels),
            np.ascontiguousarray(label, np.uint8).reshape(shape),
        )

    def standardised(self, box):
        """Return the float32 image `(z, y, x, channels)` of a box, standardised."""
        mean, deviation = (np.float32(x) for x in self.normalization)
        block = box.read(self.image).astype(np.float32)
        return (block.reshape(*block.shape[:3], self.channels) - mean) / deviation

    def place(self, rng):
        """Draw the corner of a patch."""
        volume, patch = np.array(self.label.shape), np.array(self.patch_shape)
        near = rng.random() < self.foreground_fraction
        corner = rng.integers(0, volume - patch + 1)
        chosen = self.foreground[rng.integers(len(self.foreground))]
        shift = rng.integers(-self.jitter, self.jitter + 1, 3)
        if near:
            shift = np.clip(shift, -((patch - 1) // 2), patch // 2)
            centre = np.array(np.unravel_index(int(chosen), self.label.shape)) + shift
            corner = np.clip(centre - patch // 2, 0, volume - patch)
        return tuple(int(c) for c in corner)

    def batch(self, step, batch_size):
        """Return images `(batch, *spatial, channels)` and labels `(batch, *spatial)` of a step."""
        samples = [self[step * batch_size + i] for i in range(batch_size)]
        return np.stack([s.image for s in samples]), np.stack([s.label for s in samples])

    def tf_dataset(self, batch_size, *, start=0, steps=None, workers=None):
        """Return a `tf.data.Dataset` of batches, in the order of their number.

        Args:
            batch_size: patches a step.
            start: the first step.
            steps: number of steps; endless where None.
            workers: parallel calls; TensorFlow chooses where None.
        """
        import tensorflow as tf

        stop = tf.int64.max if steps is None else start + steps
        shape = (batch_size, *self.patch_shape[-self.spatial_dims :])

        def load(step):
            image, label = tf.numpy_function(
                lambda i: self.batch(int(i), batch_size), [step], [tf.float32, tf.uint8]
            )
            return tf.ensure_shape(image, (*shape, self.channels)), tf.ensure_shape(label, shape)

        dataset = tf.data.Dataset.range(start, stop)
        dataset = dataset.map(load, num_parallel_calls=workers or tf.data.AUTOTUNE)
        return dataset.prefetch(tf.data.AUTOTUNE)

    def py_dataset(self, batch_size, *, start=0, steps=None, **options):
        """Return a `keras.utils.PyDataset` of the same batches, for any backend.

        Args:
            batch_size: patches a step.
            start: the first step.
            steps: number of steps; endless where None.
            **options: `workers` and `max_queue_size` of `PyDataset`.
        """
        import keras

        sampler = self

        class Patches(keras.utils.PyDataset):
            """Batches of the sampler by number."""

            @property
            def num_batches(self):
                """Number of steps, None for an endless run."""
                return steps

            def __getitem__(self, index):
                """Return batch `start + index`."""
                return sampler.batch(start + index, batch_size)

        return Patches(**options)


@dataclass(frozen=True)
class Box:
    """A block of a volume with a margin; what lies outside the volume is reflected.

    Attributes:
        start: corner (z, y, x) of the block without its margin.
        shape: sizes of the block without its margin.
        margin: voxels added on both sides of axes of more than one voxel.
    """

    start: tuple
    shape: tuple
    margin: int = 0

    def read(self, volume):
        """Return the block of a `(z, y, x)` or `(z, y, x, channels)` array as a NumPy array."""
        slices, pads = [], []
        for start, size, length in zip(self.start, self.shape, volume.shape, strict=False):
            margin = self.margin if size > 1 else 0
            low, high = start - margin, start + size + margin
            slices.append(slice(max(low, 0), min(high, length)))
            pads.append((max(-low, 0), max(high - length, 0)))
        block = np.asarray(volume[tuple(slices)])
        pads += [(0, 0)] * (block.ndim - 3)
        return np.pad(block, pads, mode="reflect") if np.any(pads) else block


def channels_of(image):
    """Return how many channels an image `(z, y, x)` or `(z, y, x, channels)` has."""
    return image.shape[3] if len(image.shape) == 4 else 1


def check_shape(image, label):
    """Raise ValueError unless labels are of the shape (z, y, x) of an image."""
    if len(image.shape) not in (3, 4) or tuple(image.shape[:3]) != tuple(label.shape):
        raise ValueError(
            "Invalid value for `label`. Expected the shape (z, y, x) of `image`, "
            f"{tuple(image.shape)}. Received: shape {tuple(label.shape)}"
        )


def foreground_voxels(label, ignore_class=None):
    """Return flat indices of the voxels that are neither background nor unannotated."""
    flat = np.asarray(label).ravel()
    mask = flat > 0
    if ignore_class is not None:
        mask &= flat != ignore_class
    found = np.flatnonzero(mask)
    if not len(found):
        raise ValueError(
            "Invalid value for `label`. Expected at least one foreground voxel. Received: none"
        )
    return found.astype(np.uint32) if flat.size < 2**32 else found


def grey_statistics(image):
    """Return mean and standard deviation of the grey levels, in one pass through the volume.

    Of an image `(z, y, x, channels)` both are tuples, of a number a channel.

    Levels are cut off at their 0.1 and 99.9 percentiles first, so that a few dead or saturated
    voxels change nothing. Exact for integers of up to 16 bits; of others every n-th voxel counts,
    about four million in all.

    Raises:
        ValueError: the volume is constant or holds values that are not finite.
    """
    if len(image.shape) == 4:
        each = (grey_statistics(image[..., channel]) for channel in range(image.shape[3]))
        return tuple(zip(*each, strict=True))
    levels, counts = grey_levels(image)
    rank = counts.cumsum() / counts.sum()
    low, high = (levels[np.searchsorted(rank, share)] for share in PERCENTILES)
    levels = np.clip(levels, low, high)
    mean = np.average(levels, weights=counts)
    deviation = np.sqrt(np.average(np.square(levels - mean), weights=counts))
    if not deviation > 1e-6 * abs(mean):
        raise ValueError(
            "Invalid value for `image`. Expected grey levels that vary. "
            f"Received: mean {mean:.6g}, standard deviation {deviation:.6g}"
        )
    return float(mean), float(deviation)


def grey_levels(image):
    """Return rising float64 grey levels of a volume or its sample, and how often each occurs."""
    dtype, (depth, *plane) = image.dtype, image.shape
    planes = max(1, 2**26 // math.prod(plane))
    slabs = (checked_finite(np.asarray(image[z : z + planes])) for z in range(0, depth, planes))
    if dtype.kind not in "uib" or dtype.itemsize > 2:
        step = 1 + depth * math.prod(plane) // SAMPLED
        levels = np.sort(np.concatenate([slab.ravel()[::step] for slab in slabs]))
        return levels.astype(np.float64), np.ones(len(levels))
    lowest = np.iinfo(dtype).min if dtype.kind == "i" else 0
    counts = np.zeros(2 ** (8 * dtype.itemsize))
    for slab in slabs:
        for values in slab:
            index = np.subtract(values.ravel(), lowest, dtype=np.int64)
            counts += np.bincount(index, minlength=len(counts))
    return np.arange(len(counts)) + float(lowest), counts
