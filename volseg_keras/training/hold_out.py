"""The held-out part of a training volume."""

from ..errors import invalid

AXES = "zyx"


def split(hold_out, shape):
    """Parse "x:0:256" and return the slices of the training and the held-out part.

    Args:
        hold_out: axis, first voxel, one past the last; the part must touch an end of the axis.
        shape: `(z, y, x)` of the volume.

    Returns:
        Two tuples of three slices.

    Raises:
        ValueError: the text is no such part, or nothing is left to train on.
    """
    problem = invalid(
        "hold_out",
        f"AXIS:START:STOP that touches one end of an axis of (z, y, x) = {tuple(shape)} and leaves "
        f"some of it, such as x:0:{max(1, shape[2] // 4)}, or a section, such as z=7",
        f"{hold_out=}",
    )
    try:
        axis_name, *numbers = hold_out.split(":")
        axis = AXES.index(axis_name)
        start, stop = (int(number) for number in numbers)
    except (ValueError, AttributeError):
        raise problem from None
    size = shape[axis]
    if len(axis_name) != 1 or not 0 <= start < stop <= size or (start > 0) == (stop < size):
        raise problem
    rest = slice(stop, size) if start == 0 else slice(0, start)
    return block(axis, rest), block(axis, slice(start, stop))


def section(hold_out, depth):
    """Return the section of a text such as "z=7", None for other texts.

    Raises:
        ValueError: there is no such section.
    """
    if not str(hold_out).startswith("z="):
        return None
    number = hold_out.removeprefix("z=")
    if number.isdecimal() and int(number) < depth:
        return int(number)
    raise invalid("hold_out", f"z=0 to z={depth - 1}", f"{hold_out=}")


def block(axis, part):
    """Return the slices of a volume cut along one axis."""
    return tuple(part if a == axis else slice(None) for a in range(3))
