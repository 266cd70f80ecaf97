"""Which part of a section is looked at to measure a volume."""

# Sides of that part: the middle half, where there is no frame of padding.
MIN_PLANE_SIDE, MAX_PLANE_SIDE = 64, 512


def middle_of_plane(plane):
    """Return the slices (y, x) of the middle of a plane of some sizes."""
    sides = [min(n, MAX_PLANE_SIDE, max(MIN_PLANE_SIDE, n // 2)) for n in plane]
    return tuple(slice((n - s) // 2, (n + s) // 2) for n, s in zip(plane, sides, strict=True))
