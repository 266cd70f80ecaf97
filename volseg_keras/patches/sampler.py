"""Random patches: number i is a pure function of (seed, i)."""

import math

import numpy as np

from ..errors import require
from ..volumes.class_ids import ArrayClassIds, ClassIds
from ..volumes.dimensions import channels_of, check_shape
from ..volumes.intensity import IntensityStatistics, checked_normalization
from ..volumes.labels import NOT_ANNOTATED, class_ids
from ..volumes.volume import checked_finite
from .augment import Augment, draw
from .batches import Patches, Sample
from .box import Box
from .myelin import add_sheath
from .transforms import change_intensities, move_voxels, stain


class PatchSampler(Patches):
    """Draw augmented patches of a labelled volume (paper, Sections 2.3 and 3).

    Patch `i` depends on `(seed, i)` alone, so a run repeats bit for bit with any number of workers
    and resumes at any step. A volume in a file is read patch by patch.

    Args:
        image: `(z, y, x)` or `(z, y, x, channels)` array-like of grey levels.
        label: `(z, y, x)` array-like of class ids; a mask of 0 and 255 is one of 0 and 1, unless
            255 is `ignore_class`. Or `ClassIds`.
        patch_shape: `(z, y, x)` in voxels, or `(y, x)` for slices of 2D networks.
        seed: integer seed.
        foreground_fraction: share of patches placed with a foreground voxel near their centre; the
            others lie anywhere, but contain an annotated section.
        jitter: how far from the centre, in voxels along each axis, that voxel may be.
        augment: an `Augment`; the default flips, rotates and changes gain and offset.
        normalization: "volume" to standardise grey levels with the mean and standard deviation of
            `image`; or `(mean, standard deviation)`, of several channels two sequences, or an
            `IntensityStatistics`; `(0, 1)` for a model that standardises grey levels itself.
        ignore_class: label of voxels without annotation.
        mirror: extend a volume smaller than a patch by mirroring it at its faces, instead of
            raising an error.
        voxel_size: `(z, y, x)` in nm, or None.

    Attributes:
        intensity: the `IntensityStatistics` in use.

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
        if not isinstance(label, ClassIds):
            label = ArrayClassIds(class_ids(label, allow_mask=ignore_class != NOT_ANNOTATED))
        self.label = label
        self.spatial_dims = len(patch_shape)
        self.patch_shape = (1,) * (3 - len(patch_shape)) + tuple(patch_shape)
        self.seed = seed
        self.foreground_fraction = foreground_fraction
        self.jitter = jitter
        self.augment = augment or Augment()
        self.voxel_size = voxel_size
        self._check(mirror)
        self.foreground = self.label.foreground_voxels(ignore_class)
        self.annotated = self.label.annotated_sections(ignore_class)
        found = checked_normalization(normalization)
        expected = "'volume' or (mean, standard deviation)"
        require(found != "model", "normalization", expected, "'model'")
        self.intensity = IntensityStatistics.of(image) if found == "volume" else found

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
        box = Box(self.draw_corner(rng, stride), self.patch_shape, drawn.margin, stride)
        image = self.intensity.standardize(checked_finite(box.read(self.image)))
        image = move_voxels(image.reshape(*image.shape[:3], self.channels), drawn, order=1)
        label = move_voxels(box.read(self.label), drawn, order=0)
        image = stain(image, label, drawn.staining)
        if drawn.myelin is not None:
            image, label = np.array(image), np.array(label)
            add_sheath(image, label, drawn.myelin)
        image = change_intensities(image, drawn)
        shape = self.patch_shape[-self.spatial_dims :]
        return Sample(
            np.ascontiguousarray(image, np.float32).reshape(*shape, self.channels),
            np.ascontiguousarray(label, np.uint8).reshape(shape),
        )

    def draw_corner(self, rng, stride):
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
