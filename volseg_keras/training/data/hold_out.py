"""What is held out of the volumes of a training run, such as "x:0:256" or "z=7"."""

import re
from dataclasses import dataclass

from ...errors import invalid, require
from ...volumes.labels import NOT_ANNOTATED
from .annotated_sections import section_view, without_section

AXES = "zyx"
# Sections on each side of a held-out section, over which probabilities can be averaged: as many as
# count for isotropic voxels. Some of them may be trained on.
NEIGHBOURS = 8


@dataclass(frozen=True)
class Band:
    """The voxels from `start` to before `stop` along an axis, at one end of a volume.

    Attributes:
        axis: 0, 1 or 2, for z, y, x.
        start: the first voxel.
        stop: one past the last.
    """

    axis: int
    start: int
    stop: int

    def __str__(self):
        """The text that it is parsed from."""
        return f"{AXES[self.axis]}:{self.start}:{self.stop}"

    def slices(self, shape):
        """Return the slices `(z, y, x)` of what is left of a volume, and those of the band.

        Raises:
            ValueError: it does not touch one end of the axis, or nothing is left to train on.
        """
        start, stop, size = self.start, self.stop, shape[self.axis]
        if not 0 <= start < stop <= size or (start > 0) == (stop < size):
            raise invalid(
                "hold_out",
                f"AXIS:START:STOP that touches one end of an axis of (z, y, x) = {tuple(shape)} "
                f"and leaves some of it, such as x:0:{max(1, shape[2] // 4)}, or a section, such "
                "as z=7",
                f"hold_out='{self}'",
            )
        rest = slice(stop, size) if start == 0 else slice(0, start)
        return self._cut(rest), self._cut(slice(start, stop))

    def _cut(self, part):
        return tuple(part if axis == self.axis else slice(None) for axis in range(3))

    def split(self, volume, spatial_dims):
        """Return what is left of a `LabelledVolume`, and the band; see `hold_out_parts`."""
        rest, band = self.slices(volume.label.shape)
        return volume.part(rest, volume.name), volume.part(band, f"{volume.name} {self}")


@dataclass(frozen=True)
class Section:
    """A section of a volume.

    Attributes:
        z: its number from 0.
        apart: leave out its neighbours too, see `without_section`.
    """

    z: int
    apart: bool = False

    def __str__(self):
        """The text that it is parsed from."""
        return f"z={self.z}"

    def split(self, volume, spatial_dims):
        """Return a `LabelledVolume` without the section, and the part to score it by.

        Raises:
            ValueError: there is no such section.
        """
        depth, received = volume.label.shape[0], f"hold_out='{self}'"
        require(self.z < depth, "hold_out", f"z=0 to z={depth - 1}", received)
        rest = without_section(volume, self.z, self.apart)
        return rest, section_view(volume, self.z, spatial_dims, NEIGHBOURS)


@dataclass(frozen=True)
class HoldOut:
    """What is held out of each volume of a training run.

    Attributes:
        parts: a `Band`, a `Section`, or None for nothing, of each volume; or one for all of them.
        given: the text, or the list of one for each volume, as metrics.json has it.
    """

    parts: tuple
    given: str | list

    @classmethod
    def parse(cls, given):
        """Return the `HoldOut` of a text such as "x:0:256", "z=7" or "none", or of a list of these.

        Raises:
            ValueError: a text is none of these.
        """
        texts = given if isinstance(given, list | tuple) else [given]
        return cls(tuple(map(_parsed, texts)), given)

    @classmethod
    def of(cls, parts):
        """Return the `HoldOut` of one part, or None, for each volume."""
        return cls(tuple(parts), [part and str(part) for part in parts])

    def parts_of(self, count):
        """Return the part, or None, of each of `count` volumes.

        Raises:
            ValueError: there is a list of another length.
        """
        if not isinstance(self.given, list | tuple):
            return self.parts * count
        expected = f"one part for all volumes, or one or none for each of {count}"
        require(len(self.parts) == count, "hold_out", expected, len(self.parts))
        return self.parts


def _parsed(text):
    if text in (None, "none"):
        return None
    if band := re.fullmatch(r"([zyx]):(\d+):(\d+)", str(text)):
        axis, start, stop = band.groups()
        return Band(AXES.index(axis), int(start), int(stop))
    if section := re.fullmatch(r"z=(\d+)", str(text)):
        return Section(int(section[1]))
    expected = (
        "AXIS:START:STOP that touches one end of an axis and leaves some of it, such as x:0:256, "
        "or a section, such as z=7, or none"
    )
    raise invalid("hold_out", expected, f"hold_out={text!r}")


def hold_out_parts(volumes, hold_out, spatial_dims=3):
    """Return the parts to train on, and those that are held out.

    Args:
        volumes: `LabelledVolume`s.
        hold_out: a `HoldOut`, or None to hold out nothing.
        spatial_dims: axes of the network, 2 or 3.

    Raises:
        ValueError: a volume has no such part, or no foreground in it or outside it.
    """
    if hold_out is None:
        return list(volumes), []
    training, held_out = [], []
    for volume, part in zip(volumes, hold_out.parts_of(len(volumes)), strict=True):
        if part is None:
            training.append(volume)
            continue
        pair = part.split(volume, spatial_dims)
        try:
            for one in pair:
                one.label.foreground_voxels(NOT_ANNOTATED)
        except ValueError as error:
            expected = "annotated foreground both inside and outside this part"
            raise invalid("hold_out", expected, f"hold_out='{part}'") from error
        training.append(pair[0])
        held_out.append(pair[1])
    return training, held_out
