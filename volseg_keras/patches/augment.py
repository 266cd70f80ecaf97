"""The random changes of a patch and its labels, as drawn numbers; `transforms` applies them."""

from dataclasses import dataclass

import numpy as np

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
