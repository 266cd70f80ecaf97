"""Random flips, rotations, deformation and grey-level changes of a patch and its labels."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import ndimage

from ..volumes.labels import NOT_ANNOTATED

SPACING = 32
# Share of a change of the voxel size in which y and x differ; most voxels that a section shifts by.
ANISOTROPY, SHIFT = 0.15, 6
# Random numbers of a patch in the order in which they are drawn: coins from 0 to 1, amounts from -1
# to 1. A damaged section is either shifted or of another level. Add none: every patch of every seed
# would be another one. A new change draws from a generator of its own, as `stain` does.
COINS = (
    "flip z",
    "flip y",
    "flip x",
    "transpose",
    "elastic",
    "gamma",
    "noise",
    "blur",
    "shading",
    "inversion",
    "section",
    "thickness",
)
AMOUNTS = (
    "gain",
    "offset",
    "exponent",
    "blur",
    "noise",
    "scale z",
    "scale",
    "anisotropy",
    "level or shift y",
    "kind",
    "stride",
    "shift x",
)
# Standard deviation, in voxels, of the blur of the edge where stained objects end.
STAIN_EDGE = 1.5


@dataclass(frozen=True)
class Augment:
    """The range of the random changes of a patch; 0 or False switches one off.

    Amplitudes of grey levels are in standard deviations of the volume.

    Attributes:
        flips: flip every axis with probability 1/2.
        rotations: transpose y and x with probability 1/2 where the patch is square in them; with
            flips, all eight 90-degree rotations and reflections.
        elastic: probability of an elastic deformation.
        displacement: its standard deviation in voxels, drawn every 32 voxels.
        scale: the largest factor by which such a deformation makes voxels larger or smaller, drawn
            log-uniformly for z and for the plane.
        thickness: with probability 1/2 sections are left out, so that the rest are as far apart as
            a number of nm drawn log-uniformly up to this one; for 3D patches of volumes of known
            voxel size.
        contrast: the largest relative change of gain.
        brightness: the largest offset.
        gamma: the largest relative change of the exponent of the grey-level curve.
        noise: the largest standard deviation of white noise; the noisy patch is divided by
            sqrt(1 + noise**2), which restores a standard deviation of 1.
        blur: the largest standard deviation, in voxels, of a Gaussian blur.
        shading: standard deviation of an offset that varies smoothly, drawn every 32 voxels.
        probability: how often each of gamma, noise, blur and shading is applied.
        inversion: probability of inverted contrast.
        staining: the largest offset of the grey levels of labelled objects against what is around
            them, drawn for half of the patches and for each class: stains differ in how dark they
            make an organelle.
        sections: probability that one z section of a thick patch is missing, noisy or shifted.
        myelin: probability of a dark sheath, like the myelin around an axon, drawn over the patch
            and labelled background: tissue that a small training volume may lack.
    """

    flips: bool = True
    rotations: bool = True
    elastic: float = 0.0
    displacement: float = 3.0
    scale: float = 1.0
    thickness: float = 0.0
    contrast: float = 0.2
    brightness: float = 0.3
    gamma: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    shading: float = 0.0
    probability: float = 0.25
    inversion: float = 0.0
    staining: float = 0.0
    sections: float = 0.0
    myelin: float = 0.0


NONE = Augment(flips=False, rotations=False, contrast=0.0, brightness=0.0)


@dataclass(frozen=True)
class SectionDamage:
    """Damage of one section: a grey level instead of it, noise over it, or a shift (y, x)."""

    index: int
    kind: str
    level: float
    shift: tuple


@dataclass(frozen=True)
class Draw:
    """The random numbers of one patch; applied alike to image and labels.

    Attributes:
        flips: axes to flip.
        transpose: whether y and x are swapped.
        field: displacements `(axes, *control points)` in voxels, or None.
        stride: n, where every n-th is read.
        gain, offset, exponent, blur: of the grey levels; a negative gain inverts them.
        shading: offsets at the control points, or None.
        noise: seed and amplitude.
        staining: seed and amplitude of the offsets of the classes.
        section: a `SectionDamage`, or None.
        myelin: seed of a sheath, or None.
    """

    flips: tuple
    transpose: bool
    field: np.ndarray | None
    stride: int
    gain: float
    offset: float
    exponent: float
    blur: float
    shading: np.ndarray | None
    noise: tuple
    staining: tuple
    section: SectionDamage | None
    myelin: int | None

    @property
    def margin(self):
        """Voxels (z, y, x) needed around the patch, so that a deformation finds real context."""
        if self.field is None:
            return (0, 0, 0)
        return tuple(
            int(np.ceil(np.abs(axis).max())) + 1 if axis.any() else 0 for axis in self.field
        )


def draw(rng, shape, augment, voxel_size=None):
    """Draw the augmentation of a patch of `shape` (z, y, x) from a NumPy generator.

    The generator is read in the same order whatever is switched on, so that switching one change on
    or off leaves the others as they were.

    Args:
        rng: a NumPy generator.
        shape: `(z, y, x)` of the patch.
        augment: an `Augment`.
        voxel_size: `(z, y, x)` in nm of the volume, or None.
    """
    coin = dict(zip(COINS, rng.random(len(COINS)), strict=True))
    amount = dict(zip(AMOUNTS, rng.uniform(-1, 1, len(AMOUNTS)), strict=True))
    noise_seed, myelin_seed = (int(seed) for seed in rng.integers(2**63, size=2))
    # A slice of a volume is deformed and blurred in its plane only.
    spatial = [axis for axis, size in enumerate(shape) if size > 1]
    grid = [2 + (size - 1) // SPACING if size > 1 else 1 for size in shape]
    points = rng.standard_normal((4, *grid), np.float32)
    is_deformed = coin["elastic"] < augment.elastic
    is_thinned = augment.thickness and shape[0] > 1 and voxel_size and coin["thickness"] < 0.5
    is_damaged = coin["section"] < augment.sections and shape[0] >= SPACING
    gamma, noise, blur, shading = (
        coin[name] < augment.probability for name in ("gamma", "noise", "blur", "shading")
    )
    gain = 1 + augment.contrast * amount["gain"]
    return Draw(
        flips=tuple(a for a in spatial if augment.flips and coin[f"flip {'zyx'[a]}"] < 0.5),
        transpose=bool(augment.rotations and shape[1] == shape[2] and coin["transpose"] < 0.5),
        field=_deformation(augment, amount, points[:3], shape) if is_deformed else None,
        stride=_stride(augment.thickness / voxel_size[0], amount["stride"]) if is_thinned else 1,
        gain=-gain if coin["inversion"] < augment.inversion else gain,
        offset=augment.brightness * amount["offset"],
        exponent=(1 + augment.gamma) ** (amount["exponent"] * gamma),
        blur=float(augment.blur * abs(amount["blur"]) * blur),
        shading=augment.shading * points[3] if augment.shading and shading else None,
        noise=(noise_seed, float(augment.noise * abs(amount["noise"]) * noise)),
        staining=(noise_seed + 1, augment.staining * (noise_seed % 2)),
        section=_damage(noise_seed // 2 % shape[0], amount) if is_damaged else None,
        myelin=myelin_seed if rng.random() < augment.myelin else None,
    )


def _deformation(augment, amount, points, shape):
    """Return displacements `(axes, *control points)`: random ones, and a change of the scale."""
    plane, apart = amount["scale"], ANISOTROPY * amount["anisotropy"]
    exponents = amount["scale z"], plane + apart, plane - apart
    field = np.zeros_like(points)
    for axis, size in enumerate(shape):
        if size > 1:
            stretch = (augment.scale ** exponents[axis] - 1) * (size - 1) / 2
            ramp = np.linspace(-stretch, stretch, points.shape[1 + axis], dtype=np.float32)
            field[axis] = augment.displacement * points[axis]
            field[axis] += ramp.reshape([-1 if a == axis else 1 for a in range(3)])
    return field


def _stride(largest, amount):
    """Return a number of sections, log-uniform from 1 to the largest."""
    return round(max(1.0, largest) ** abs(amount))


def _damage(index, amount):
    """Return the `SectionDamage` of the section at an index."""
    kind = ("missing", "noisy", "shifted")[int(3 * abs(amount["kind"])) % 3]
    level = amount["level or shift y"]
    shift = round(SHIFT * level), round(SHIFT * amount["shift x"])
    return SectionDamage(index, kind, 3 * level, shift)


def move_voxels(array, drawn, order):
    """Deform, flip and transpose an array that has `drawn.margin` voxels around it.

    Args:
        array: the patch, (z, y, x) or (z, y, x, channels), with its margin.
        drawn: a `Draw`.
        order: 1 for images (linear), 0 for labels (nearest).
    """
    if drawn.field is not None:
        array = deform(array, drawn.field, drawn.margin, order)
    array = np.flip(array, drawn.flips)
    if drawn.section and drawn.section.kind == "shifted":
        array, index = array.copy(), drawn.section.index
        shift = drawn.section.shift + (0,) * (array.ndim - 3)
        array[index] = ndimage.shift(array[index], shift, order=0, mode="nearest")
    return array.swapaxes(1, 2) if drawn.transpose else array


def deform(array, field, margin, order):
    """Sample an array at displaced coordinates; the margin is cut off."""
    shape = [size - 2 * m for size, m in zip(array.shape, margin, strict=False)]
    coordinates = np.indices(shape, np.float32)
    for axis, displacement in enumerate(field):
        coordinates[axis] += smooth_field(displacement, shape) + margin[axis]
    sample = partial(ndimage.map_coordinates, coordinates=coordinates, order=order, mode="nearest")
    if array.ndim == 3:
        return sample(array)
    return np.stack([sample(array[..., c]) for c in range(array.shape[3])], axis=-1)


def smooth_field(displacement, shape):
    """Interpolate control points linearly, axis by axis, to every voxel of `shape`."""
    for axis, size in enumerate(shape):
        points = displacement.shape[axis]
        where = np.linspace(0, points - 1, size, dtype=np.float32)
        left = np.minimum(where.astype(int), max(points - 2, 0))
        right = np.minimum(left + 1, points - 1)
        weight = (where - left).reshape([-1 if a == axis else 1 for a in range(3)])
        low, high = displacement.take(left, axis), displacement.take(right, axis)
        displacement = low + weight * (high - low)
    return displacement


def stain(image, label, staining):
    """Return an image with the grey levels of labelled objects shifted; the shift's edge is soft.

    Several sections must all be annotated: otherwise a shift shows which of them are.

    Args:
        image: float32 (z, y, x, channels), standardised grey levels.
        label: (z, y, x) class ids; 0 and `NOT_ANNOTATED` are left as they are.
        staining: seed, and the largest offset in standard deviations.
    """
    seed, amplitude = staining
    if not amplitude or len(label) > 1 and (label == NOT_ANNOTATED).any():
        return image
    offsets = np.random.default_rng(seed).uniform(-amplitude, amplitude, 256).astype(np.float32)
    offsets[[0, NOT_ANNOTATED]] = 0
    sigma = [STAIN_EDGE if size > 1 else 0 for size in label.shape]
    return image + ndimage.gaussian_filter(offsets[label], sigma)[..., None]


def change_intensities(image, drawn):
    """Change the grey levels of a standardised float32 image, of one or several channels."""
    if drawn.exponent != 1:
        # Within 4 standard deviations of the mean, where nearly all grey levels lie.
        unit = np.clip(image / 8 + 0.5, 0, 1)
        image = 8 * (unit**drawn.exponent - 0.5**drawn.exponent)
    if drawn.blur:
        sigma = [drawn.blur if size > 1 else 0 for size in image.shape[:3]]
        image = ndimage.gaussian_filter(image, sigma, truncate=3, axes=(0, 1, 2))
    image = image * np.float32(drawn.gain) + np.float32(drawn.offset)
    if drawn.shading is not None:
        field = smooth_field(drawn.shading, image.shape[:3])
        image += field.reshape(*field.shape, *[1] * (image.ndim - 3))
    seed, amplitude = drawn.noise
    rng = np.random.default_rng(seed)
    if amplitude:
        image += np.float32(amplitude) * rng.standard_normal(image.shape, np.float32)
        image /= np.float32(np.hypot(1, amplitude))
    if drawn.section and drawn.section.kind != "shifted":
        index, level = drawn.section.index, np.float32(drawn.section.level)
        clean = image[index] if drawn.section.kind == "noisy" else level
        image[index] = clean + rng.standard_normal(image.shape[1:], np.float32)
    return image
