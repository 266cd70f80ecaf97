"""Random patches: number i is a pure function of (seed, i)."""

import math
from dataclasses import dataclass

import numpy as np

from ..errors import require
from ..resources import usable_cores
from ..volumes.dimensions import channels_of, check_shape
from ..volumes.intensity import Intensity, checked_normalization
from ..volumes.labels import NOT_ANNOTATED, class_ids
from ..volumes.volume import checked_finite
from .augment import Augment, draw, place, shade, stain
from .box import Box
from .class_ids import ClassIds, annotated_sections, foreground_voxels
from .myelin import add_sheath


@dataclass(frozen=True)
class Sample:
    """One patch: `image` float32 `(*spatial, channels)`, `label` uint8 `(*spatial)`."""

    image: np.ndarray
    label: np.ndarray


class Patches:
    """Patches by number, in batches.

    A subclass has `patch_shape` (z, y, x), `spatial_dims`, `channels`, and gives patch `index` as a
    `Sample` by `__getitem__`.

    Attributes:
        failure: the error that a patch of `tf_dataset` could not be read for, or None; TensorFlow
            raises one of its own.
    """

    failure = None

    def batch(self, step, batch_size):
        """Return images `(batch, *spatial, channels)` and labels `(batch, *spatial)` of a step."""
        samples = [self[step * batch_size + i] for i in range(batch_size)]
        return np.stack([s.image for s in samples]), np.stack([s.label for s in samples])

    def _watched_batch(self, step, batch_size):
        """Return what `batch` does, and note its error."""
        try:
            return self.batch(step, batch_size)
        except Exception as error:
            self.failure = error
            raise

    def tf_dataset(self, batch_size, *, start=0, steps=None, workers=None):
        """Return a `tf.data.Dataset` of batches, in the order of their number.

        Args:
            batch_size: patches a step.
            start: the first step.
            steps: number of steps; endless where None.
            workers: parallel calls; where None, one for each core that may be used, at most 16.

        tf.data's autotuner is switched off: its thread can keep `fit` from ending for a minute.
        """
        import tensorflow as tf

        stop = tf.int64.max if steps is None else start + steps
        shape = (batch_size, *self.patch_shape[-self.spatial_dims :])

        def load(step):
            image, label = tf.numpy_function(
                lambda i: self._watched_batch(int(i), batch_size), [step], [tf.float32, tf.uint8]
            )
            return tf.ensure_shape(image, (*shape, self.channels)), tf.ensure_shape(label, shape)

        dataset = tf.data.Dataset.range(start, stop)
        workers = workers or min(usable_cores(), 16)
        dataset = dataset.map(load, num_parallel_calls=workers).prefetch(2)
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.with_options(options)

    def py_dataset(self, batch_size, *, start=0, steps=None, **options):
        """Return a `keras.utils.PyDataset` of the same batches, for any backend.

        Args:
            batch_size: patches a step.
            start: the first step.
            steps: number of steps; endless where None.
            **options: `workers` and `max_queue_size` of `PyDataset`.
        """
        import keras

        patches = self

        class Batches(keras.utils.PyDataset):
            """Batches by number."""

            @property
            def num_batches(self):
                """Number of steps, None for an endless run."""
                return steps

            def __getitem__(self, index):
                """Return batch `start + index`."""
                return patches.batch(start + index, batch_size)

        return Batches(**options)


class PatchSampler(Patches):
    """Draw augmented patches of a labelled volume (paper, Sections 2.3 and 3).

    Patch `i` depends on `(seed, i)` alone, so a run repeats bit for bit with any number of workers
    and resumes at any step. A volume in a file is read patch by patch.

    Args:
        image: `(z, y, x)` or `(z, y, x, channels)` array-like of grey levels.
        label: `(z, y, x)` array-like of class ids; a mask of 0 and 255 is one of 0 and 1, unless
            255 is `ignore_class`.
        patch_shape: `(z, y, x)` in voxels, or `(y, x)` for slices of 2D networks.
        seed: integer seed.
        foreground_fraction: share of patches placed with a foreground voxel near their centre; the
            others lie anywhere, but contain an annotated section.
        jitter: how far from the centre, in voxels along each axis, that voxel may be.
        augment: an `Augment`; the default flips, rotates and changes gain and offset.
        normalization: "volume" to standardise grey levels with the mean and standard deviation of
            `image`; or `(mean, standard deviation)`, of several channels two sequences, or an
            `Intensity`; `(0, 1)` for a model that standardises grey levels itself.
        ignore_class: label of voxels without annotation.
        mirror: extend a volume smaller than a patch by mirroring it at its faces, instead of
            raising an error.
        voxel_size: `(z, y, x)` in nm, or None.

    Attributes:
        intensity: the `Intensity` in use.

    Raises:
        ValueError: shapes differ, the patch is larger than the volume, there is no foreground, or
            a number is out of range.

    Example:
        >>> sampler = volseg_keras.PatchSampler(image, label, (64, 128, 128), seed=0)
        >>> images, labels = sampler.batch(0, 2)  # (2, 64, 128, 128, 1) and (2, 64, 128, 128)
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
        normalization="volume",
        ignore_class=None,
        mirror=False,
        voxel_size=None,
    ):
        self.image = image
        self.channels = channels_of(image)
        lazy = isinstance(label, ClassIds)
        self.label = label if lazy else class_ids(label, mask=ignore_class != NOT_ANNOTATED)
        self.spatial_dims = len(patch_shape)
        self.patch_shape = (1,) * (3 - len(patch_shape)) + tuple(patch_shape)
        self.seed = seed
        self.foreground_fraction = foreground_fraction
        self.jitter = jitter
        self.augment = augment or Augment()
        self.voxel_size = voxel_size
        self._check(mirror)
        self.foreground = foreground_voxels(self.label, ignore_class)
        self.annotated = annotated_sections(self.label, ignore_class)
        found = checked_normalization(normalization)
        expected = "'volume' or (mean, standard deviation)"
        require(found != "model", "normalization", expected, "'model'")
        self.intensity = Intensity.of(image) if found == "volume" else found

    @property
    def normalization(self):
        """The pair `(mean, standard deviation)` in use."""
        return self.intensity.mean, self.intensity.deviation

    def _check(self, mirror):
        """Raise ValueError for arguments that do not fit each other."""
        check_shape(self.image, self.label)
        volume = tuple(self.label.shape)
        sizes = list(zip(self.patch_shape, volume, strict=False))
        fits = all(0 < patch and (mirror or patch <= n) for patch, n in sizes)
        require(
            self.spatial_dims in (2, 3) and fits,
            "patch_shape",
            f"two or three sizes within the volume's {volume}",
            f"patch_shape={self.patch_shape}",
        )
        seed, share, jitter = self.seed, self.foreground_fraction, self.jitter
        require(isinstance(seed, int | np.integer), "seed", "an integer", f"{seed=}")
        require(0 <= share <= 1, "foreground_fraction", "a number from 0 to 1", share)
        require(jitter >= 0, "jitter", "a number of voxels", f"{jitter=}")

    def __getitem__(self, index):
        """Return patch number `index` as a `Sample`."""
        key = np.array([int(self.seed) % 2**64, index], np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        drawn = draw(rng, self.patch_shape, self.augment, self.voxel_size)
        stride = (drawn.stride, 1, 1)
        box = Box(self.place(rng, stride), self.patch_shape, drawn.margin, stride)
        image = self.intensity.standardize(checked_finite(box.read(self.image)))
        image = place(image.reshape(*image.shape[:3], self.channels), drawn, order=1)
        label = place(box.read(self.label), drawn, order=0)
        image = stain(image, label, drawn.staining)
        if drawn.myelin is not None:
            image, label = np.array(image), np.array(label)
            add_sheath(image, label, drawn.myelin)
        image = shade(image, drawn)
        shape = self.patch_shape[-self.spatial_dims :]
        return Sample(
            np.ascontiguousarray(image, np.float32).reshape(*shape, self.channels),
            np.ascontiguousarray(label, np.uint8).reshape(shape),
        )

    def place(self, rng, stride):
        """Draw the corner of a patch; it lies outside a volume that is smaller than the patch."""
        volume, patch = np.array(self.label.shape), np.array(self.patch_shape)
        reach = (patch - 1) * stride + 1
        lowest = np.where(reach > volume, -(reach // 2), 0)
        highest = np.where(reach > volume, volume - reach + reach // 2, volume - reach)
        near = rng.random() < self.foreground_fraction
        corner = rng.integers(lowest, highest + 1)
        chosen = self.foreground[rng.integers(len(self.foreground))]
        shift = rng.integers(-self.jitter, self.jitter + 1, 3)
        if near:
            shift = np.clip(shift, -((patch - 1) // 2), patch // 2)
            centre = np.array(np.unravel_index(int(chosen), self.label.shape)) + shift
            corner = np.clip(centre - patch // 2 * stride, lowest, highest)
        if not self.sees(corner[0], reach[0], stride[0]):
            if near:
                section, wanted = int(chosen) // math.prod(self.label.shape[1:]), corner[0]
            else:
                section = self.annotated[rng.integers(len(self.annotated))]
                wanted = section - rng.integers(patch[0]) * stride[0]
            corner[0] = first_section(section, wanted, (lowest[0], highest[0]), patch[0], stride[0])
        return tuple(int(c) for c in corner)

    def sees(self, first, reach, stride):
        """Return whether a patch that begins at a section contains an annotated one."""
        ahead = self.annotated - first
        return bool(((ahead >= 0) & (ahead < reach) & (ahead % stride == 0)).any())


class PatchMix(Patches):
    """Patches of several volumes, shared out evenly or by weights.

    Args:
        samplers: `PatchSampler`s of one patch shape and as many channels.
        weights: shares of the patches, one a sampler; equal by default.
    """

    def __init__(self, samplers, weights=None):
        self.samplers = list(samplers)
        first = self.samplers[0]
        self.patch_shape, self.spatial_dims = first.patch_shape, first.spatial_dims
        self.channels = first.channels
        self.order = share_out([1] * len(self.samplers) if weights is None else weights)

    def __getitem__(self, index):
        """Return patch number `index` as a `Sample`."""
        return self.samplers[self.order[index % len(self.order)]][index]


def first_section(section, wanted, bounds, depth, stride):
    """Return where a patch of every `stride`-th section begins so that it contains a given one.

    Args:
        section: that it must contain.
        wanted: first section that it should begin at, or near.
        bounds: the lowest and highest first section.
        depth: of the patch, in sections.
        stride: distance between two of them.

    Example:
        >>> first_section(section=10, wanted=3, bounds=(0, 20), depth=4, stride=3)
        4
    """
    lowest, highest = bounds
    before = round((section - wanted) / stride)
    before = max(before, 0, math.ceil((section - highest) / stride))
    return section - min(before, int((section - lowest) / stride), depth - 1) * stride


def share_out(weights):
    """Return the order in which volumes take turns, each as often as its weight asks for.

    Example:
        >>> share_out([2, 1])
        [0, 1, 0]
    """
    ratios = np.array(weights, float) / min(weights)
    # The smallest integers of about these ratios.
    errors = [np.max(np.abs(np.rint(k * ratios) / (k * ratios) - 1)).round(9) for k in range(1, 33)]
    counts = np.rint(ratios * (1 + int(np.argmin(errors)))).astype(int)
    period, turns, had = counts.sum(), [], np.zeros(len(counts), int)
    for turn in range(1, period + 1):
        # The volume that lags furthest behind its share.
        turns.append(int(np.argmax(counts * turn - had * period)))
        had[turns[-1]] += 1
    return turns
