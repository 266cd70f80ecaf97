"""Where a volume lies in space: the sides and directions of its voxels, its origin and unit."""

from dataclasses import dataclass, replace

import numpy as np

from ..errors import require

NANOMETRES = {
    "pm": 1e-3,
    "picometer": 1e-3,
    "nm": 1,
    "nanometer": 1,
    "nanometre": 1,
    "a": 0.1,
    "å": 0.1,
    "angstrom": 0.1,
    "um": 1e3,
    "µm": 1e3,
    "μm": 1e3,
    "\\u00b5m": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "centimetre": 1e7,
    "inch": 2.54e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
}
# Names that every format can hold, by length in nm.
PLAIN = {1e-3: "pm", 0.1: "angstrom", 1: "nm", 1e3: "um", 1e6: "mm", 1e7: "cm", 1e9: "m"}
RAS = "right-anterior-superior"
# Signs of x, y and z that convert the coordinates of a space of NRRD to those of NIfTI.
LPS, LAS = "left-posterior-superior", "left-anterior-superior"
SIGNS = {RAS: (1, 1, 1), LPS: (-1, -1, 1), LAS: (-1, 1, 1)}
SHORT = {"RAS": RAS, "LPS": LPS, "LAS": LAS}


def in_nm(unit):
    """Return the length of a unit in nm, or None for an unknown name."""
    name = str(unit).strip().strip('"').lower()
    return NANOMETRES.get(name) or NANOMETRES.get(name.rstrip("s")) if unit else None


def ascii_unit(unit):
    """Return the name of a unit in ASCII, None where it has none."""
    return unit if unit and str(unit).isascii() else PLAIN.get(in_nm(unit))


def size_in_nm(sides, units):
    """Return a voxel size (z, y, x) in nm, or None where a unit is not known.

    Args:
        sides: of a voxel along its axes, of which the last three count; along (y, x) of a single
            image, which is taken to be as thick as a pixel is high.
        units: of each, by name or as an object whose text is its name.
    """
    sizes = [side * (in_nm(unit) or 0) for side, unit in zip(sides, units, strict=True)][-3:]
    sizes = sizes[:1] * (3 - len(sizes)) + sizes
    return tuple(map(float, sizes)) if all(sizes) else None


@dataclass(frozen=True)
class MrcConvention:
    """What programs go by when they read the origin of an MRC file.

    Attributes:
        version: `nversion`.
        flags: IMOD's, None for a file of another program.
        mirrored: whether the origin has the opposite sign, as IMOD had it before MRC2014.
    """

    version: int
    flags: int | None = None
    mirrored: bool = False


@dataclass(frozen=True)
class Geometry:
    """Where a volume lies in space, in the terms of its file, so that others can be aligned.

    Attributes:
        steps: for the axes z, y and x the vector (x, y, z) from a voxel to the next one along it;
            NaN if unknown.
        origin: (x, y, z) of the first voxel.
        unit: of both, as the file spells it; None if unknown.
        space: what x, y and z are, in the terms of NRRD; None if they are just the axes.
        given_voxel_size: sides (z, y, x) in nm that a user gave for a file without a unit.
        codes: `qform_code` and `sform_code` of NIfTI.
        start: `nzstart`, `nystart` and `nxstart` of MRC.
        mrc: how the origin of an MRC file is to be read, None if that is unknown.
    """

    steps: tuple
    origin: tuple = (0.0, 0.0, 0.0)
    unit: str | None = None
    space: str | None = None
    given_voxel_size: tuple | None = None
    codes: tuple | None = None
    start: tuple = (0, 0, 0)
    mrc: MrcConvention | None = None

    @classmethod
    def straight(cls, sides, unit="nm", origin=(0.0, 0.0, 0.0), **others):
        """Return the geometry of axes along x, y and z, from sides (z, y, x) or None."""
        sides = [float("nan") if side is None else float(side) for side in sides]
        steps = np.where(np.eye(3)[::-1] > 0, np.array(sides)[:, None], 0.0)
        return cls(as_tuples(steps), tuple(map(float, origin)), unit, **others)

    @property
    def sides(self):
        """Lengths (z, y, x) of a voxel in `unit`, NaN if unknown."""
        return tuple(np.linalg.norm(np.array(self.steps), axis=1).tolist())

    @property
    def voxel_size(self):
        """Sides (z, y, x) of a voxel in nm, or None if one is unknown."""
        scale, sides = in_nm(self.unit), np.array(self.sides)
        good = np.isfinite(sides).all() and (sides > 0).all()
        return self.given_voxel_size or (
            tuple((sides * scale).tolist()) if scale and good else None
        )

    @property
    def is_straight(self):
        """Whether every axis runs along its own coordinate, upwards."""
        steps = np.array(self.steps)[::-1]
        known = np.nan_to_num(steps)
        off = np.abs(known - np.diag(np.diag(known))).max()
        return bool(off <= 1e-6 * np.abs(known).max() and (np.diag(known) >= 0).all())

    def of_one_section(self):
        """Return the same with a section, if its thickness is unknown, as thick as pixels high."""
        thick, high, _ = self.sides
        if not np.isnan(thick) or np.isnan(high):
            return self
        return replace(self, steps=((0.0, 0.0, high), *self.steps[1:]))

    def in_unit(self, *units):
        """Return the same in the first of some units, unless in one of them; None if unknown."""
        own = in_nm(self.unit)
        if self.given_voxel_size and not own:
            own = float(np.mean(np.divide(self.given_voxel_size, self.sides)))
        if not own:
            return None
        for unit in units:
            if own == in_nm(unit):
                return self if in_nm(self.unit) else replace(self, unit=unit)
        return self.scaled(own / in_nm(units[0]), units[0])

    def with_implied_unit(self, *units):
        """Return the same with the unit, of some, in which a given voxel size has these sides."""
        if not self.given_voxel_size or in_nm(self.unit):
            return self
        ratios = np.divide(self.given_voxel_size, self.sides)
        implied = (unit for unit in units if np.allclose(ratios, in_nm(unit), rtol=1e-4))
        return replace(self, unit=next(implied, self.unit))

    def scaled(self, factor, unit):
        """Return the same in another unit, `factor` of which make one of this."""
        steps, origin = np.array(self.steps) * factor, np.array(self.origin) * factor
        return replace(self, steps=as_tuples(steps), origin=tuple(origin.tolist()), unit=unit)

    def in_space(self, space):
        """Return the same in the coordinates of another space, if both are known."""
        if self.space not in SIGNS or space not in SIGNS:
            return self
        signs = np.array(SIGNS[self.space]) * SIGNS[space]
        steps, origin = np.array(self.steps) * signs, np.array(self.origin) * signs
        return replace(self, steps=as_tuples(steps), origin=tuple(origin.tolist()), space=space)

    def resized(self, voxel_size):
        """Return the same with sides (z, y, x) in nm that a user gave.

        If these only add the unit, no number changes, so that programs without units still align
        both.
        """
        scale, sides = in_nm(self.unit), np.array(self.sides)
        known, size = np.isfinite(sides) & (sides > 0), np.array(voxel_size)
        ratios = size[known] / sides[known]
        if scale and known.any() and np.allclose(ratios, scale, rtol=1e-4):
            sides = size / scale
        elif not scale and known.all() and np.allclose(ratios, ratios[0], rtol=1e-4):
            return replace(self, given_voxel_size=tuple(voxel_size))
        else:
            sides, known = size, np.zeros(3, bool)
        steps = np.array(self.steps)
        for axis in np.flatnonzero(~known):
            length = np.linalg.norm(steps[axis])
            along = steps[axis] / length if 0 < length < np.inf else np.eye(3)[2 - axis]
            steps[axis] = along * sides[axis]
        if known.any():
            return replace(self, steps=as_tuples(steps))
        origin = tuple((np.array(self.origin) * (scale or 0)).tolist())
        return replace(self, steps=as_tuples(steps), origin=origin, unit="nm")

    def renamed(self, old, new):
        """Return the geometry of axes that a user renamed, such as "ZYX" to "XYZ"."""
        order = {a: a for a in "ZYX"}
        pairs = zip(old, new, strict=True)
        order |= {b: a for a, b in pairs if a in "ZYX" and b in "ZYX"}
        which = ["ZYX".index(order[a]) for a in "ZYX"]
        steps, start = [self.steps[i] for i in which], [self.start[i] for i in which]
        named_only = self.space is None and self.codes is None and self.is_straight
        if named_only and sorted(which) == [0, 1, 2]:  # x, y and z only name the axes
            sides, origin = self.sides, self.origin[::-1]
            origin = [origin[i] for i in which][::-1]
            named = Geometry.straight([sides[i] for i in which], self.unit, origin)
            return replace(self, steps=named.steps, origin=named.origin, start=tuple(start))
        return replace(self, steps=tuple(steps), start=tuple(start))


def as_tuples(steps):
    """Return a matrix as tuples of numbers."""
    return tuple(map(tuple, np.asarray(steps, float).tolist()))


def geometry_of(sizes, units, origin=None, **others):
    """Return the `Geometry` of sides (z, y, x) with a unit each, None if no side is known.

    Args:
        sizes: numbers or texts; those that are not positive numbers are unknown.
        units: names or None.
        origin: (z, y, x) in the same units, or None.
        **others: of `Geometry`.
    """
    sides = [positive(size) for size in sizes]
    if not any(sides):
        return None
    origin = [float(value) for value in origin or (0, 0, 0)]
    if len({str(unit) for unit in units}) == 1:
        unit = units[0] or None
    else:
        scales = [in_nm(unit) for unit in units]
        sides = [s * u if s and u else None for s, u in zip(sides, scales, strict=True)]
        origin = [o * (u or 0) for o, u in zip(origin, scales, strict=True)]
        unit = "nm"
    return Geometry.straight(sides, unit, origin[::-1], **others)


def checked_size(voxel_size):
    """Return a voxel size (z, y, x) as floats, or None; raise ValueError for anything else."""
    if voxel_size is None:
        return None
    size = np.ravel(voxel_size)
    good = size.shape == (3,) and size.dtype.kind in "uif" and np.isfinite(size).all()
    expected = "three positive numbers (z, y, x) in nm"
    require(good and (size > 0).all(), "voxel_size", expected, f"{voxel_size=}")
    return tuple(size.astype(float).tolist())


def with_voxel_size(geometry, size):
    """Return a `Geometry`, or None, with sides (z, y, x) in nm that a user gave, if any."""
    if not size:
        return geometry
    return geometry.resized(size) if geometry else Geometry.straight(size)


def positive(size):
    """Return a size as a number, or None."""
    try:
        number = float(size)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


def difference_text(one, other):
    """Return how the geometry of two open volumes differs, None if not or if unknown."""
    sizes = [getattr(volume, "voxel_size", None) for volume in (one, other)]
    if all(sizes) and not np.allclose(*sizes, rtol=0.01):
        texts = [" x ".join(f"{side:.4g}" for side in size) for size in sizes]
        return f"its voxels are {texts[1]} nm, not {texts[0]} nm"
    geometries = [getattr(volume, "geometry", None) for volume in (one, other)]
    if not all(geometries) or not all(geometry.voxel_size for geometry in geometries):
        return None
    corners = [np.array(geometry.in_unit("nm").in_space(RAS).origin) for geometry in geometries]
    known = all(geometry.origin != (0.0, 0.0, 0.0) for geometry in geometries)
    if known and np.abs(corners[0] - corners[1]).max() > 0.5 * min(sizes[0]):
        shift = ", ".join(f"{d:.4g}" for d in corners[1] - corners[0])
        return f"it lies ({shift}) nm (x, y, z) away"
    return None
