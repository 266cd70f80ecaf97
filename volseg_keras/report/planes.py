"""The three planes of a volume that pictures show."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plane:
    """A plane of a volume as it is drawn. Axes are numbers in (z, y, x).

    Attributes:
        name: such as "xy".
        across: the axis that runs to the right.
        down: the axis that runs down.
        cut: the axis that the plane is at right angles to.
    """

    name: str
    across: int
    down: int
    cut: int

    def of(self, volume, position):
        """Return the plane `(down, across)` of a volume `(z, y, x)` at an index of axis `cut`."""
        index = [slice(None)] * 3
        index[self.cut] = position
        plane = np.asarray(volume[tuple(index)])
        return plane if self.down < self.across else plane.T

    def sides(self, by_axis):
        """Return the entries of a triple (z, y, x) for the sides (down, across) of the plane."""
        return by_axis[self.down], by_axis[self.across]


PLANES = (Plane("xy", 2, 1, 0), Plane("xz", 2, 0, 1), Plane("yz", 0, 1, 2))


def shown_planes(shape):
    """Return the planes to draw; for a single section, only its own."""
    return PLANES[:1] if shape[0] == 1 else PLANES
