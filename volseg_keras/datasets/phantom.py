"""A synthetic electron-microscopy volume with labelled mitochondria."""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ..errors import require

_SPINE_POINTS = 33
_SHARES = {1: (0.048, 0.066), 2: (0.015, 0.025)}
_DARK_CELLS = 0.16


def phantom(shape=(64, 256, 256), seed=0):
    """Draw a synthetic block of brain tissue and its mitochondria.

    The block imitates isotropic FIB-SEM at about 5 nm per voxel, so that a model trained on real
    tissue works on it: cells with dark membranes, mitochondria with faint cristae, and distractors
    of the same greys (dark cells, lysosomes, vesicles, endoplasmic reticulum), so that no
    grey-level threshold separates the mitochondria. Grey levels, noise and the profile of a
    mitochondrion follow the means and widths of the EPFL hippocampus volume.

    Args:
        shape: Three sizes in voxels (z, y, x), each at least 16.
        seed: Seed of `numpy.random.default_rng`; equal seeds give equal volumes.

    Returns:
        A pair `(image, label)` of uint8 arrays of shape `shape`, axes (z, y, x): grey levels
        0 to 255, and 0 for background or 1 for mitochondria (about 5 % of the voxels).

    Raises:
        ValueError: If `shape` is not three integers of at least 16.
    """
    shape = _checked_shape(shape)
    rng = np.random.default_rng(seed)
    cells = _Cells(rng, shape)
    image = _tissue(rng, cells, shape)
    label = np.zeros(shape, np.uint8)
    _add_tubes(rng, cells, image, label, 1, _mitochondrion)
    _add_tubes(rng, cells, image, label, 2, _lysosome)
    return _micrograph(rng, image), (label == 1).astype(np.uint8)


def annotated_phantom(shape=(40, 192, 192), sections=4, seed=0):
    """Draw a phantom with a few annotated sections, like a stack at the start of a project.

    Args:
        shape: see `phantom`.
        sections: number of annotated sections, evenly spaced.
        seed: see `phantom`.

    Returns:
        The pair of `phantom`, with 0 in all other sections.
    """
    image, label = phantom(shape, seed)
    painted = (2 * np.arange(sections) + 1) * len(label) // (2 * sections)
    label[np.setdiff1d(np.arange(len(label)), painted)] = 0
    return image, label


def _checked_shape(shape):
    sizes = tuple(shape) if np.iterable(shape) else ()
    good = len(sizes) == 3 and all(isinstance(n, int | np.integer) and n >= 16 for n in sizes)
    require(good, "shape", "three sizes (z, y, x) of at least 16 voxels", f"{shape=}")
    return tuple(int(n) for n in sizes)


class _Cells:
    """Elongated cells: a warped Voronoi diagram in which each cell owns a chain of sites."""

    def __init__(self, rng, shape):
        size = np.array(shape) + 80.0
        count = max(int(np.prod(size) / 240_000), 8)
        start = rng.uniform(-40, np.array(shape) + 40.0, (count, 3))
        steps = np.arange(-3, 4)[None, :, None] * rng.uniform(8, 26, (count, 1, 1))
        sites = start[:, None] + steps * _unit(rng, count)[:, None]
        self.sites = (sites + rng.normal(0, 4, sites.shape)).reshape(-1, 3)
        # A fourth coordinate pushes a site away from every voxel, which shrinks its cell.
        lift = np.repeat(rng.uniform(0, 20, count), 7)
        self.owner = np.repeat(np.arange(count), 7)
        self.tree = cKDTree(np.column_stack([self.sites, lift]))
        wavelength = np.array([170, 120, 80, 60, 36, 28.0])
        self.waves = _unit(rng, 6).T * (2 * np.pi / wavelength)
        self.phase = rng.uniform(0, 2 * np.pi, 6)
        self.shift = _unit(rng, 6) * (wavelength / 26)[:, None]

    def __call__(self, points):
        """Return the cell and the distance to its membrane, in voxels, at points (n, 3)."""
        warped = points + np.sin(points @ self.waves + self.phase) @ self.shift
        lifted = np.column_stack([warped, np.zeros(len(points))])
        distance, site = self.tree.query(lifted, k=4)
        owner = self.owner[site]
        other = np.argmax(owner != owner[:, :1], axis=1)
        rows = np.arange(len(points))
        gap = np.linalg.norm(self.sites[site[rows, other]] - self.sites[site[:, 0]], axis=1)
        excess = distance[rows, other] ** 2 - distance[:, 0] ** 2
        return owner[:, 0], np.where(other > 0, excess / (2 * gap + 1e-6), 30.0)


def _unit(rng, count):
    vectors = rng.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _zoom(coarse, shape, order=1):
    return ndimage.zoom(coarse, np.array(shape) / coarse.shape, order=order, mode="nearest")


def _grain(rng, shape, width):
    """Return noise of unit deviation, correlated over about twice `width` voxels."""
    coarse = rng.standard_normal([n // 2 + 1 for n in shape], np.float32)
    grain = _zoom(ndimage.gaussian_filter(coarse, width), shape)
    return grain / grain.std()


def _tissue(rng, cells, shape):
    axes = [np.linspace(0, n - 1, n // 2 + 1) for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    cell, distance = cells(grid.reshape(-1, 3))
    grey = _cell_greys(rng, cell, cells.owner.max() + 1)[cell].astype(np.float32)
    image = _zoom(grey.reshape(grid.shape[:3]), shape, order=0)
    folds = rng.standard_normal([n // 20 + 4 for n in shape], np.float32)
    folds = _zoom(_zoom(folds, grid.shape[:3], order=3), shape)
    image[(image > 160) & (np.abs(folds) < 0.07)] = 110
    image += np.where(image < 140, 24, 8) * _grain(rng, shape, 1.2)
    distance = _zoom(distance.astype(np.float32).reshape(grid.shape[:3]), shape)
    _add_vesicles(rng, cells, image)
    return image + (94 - image) * np.exp(-((distance / np.clip(2.6 + folds, 2.2, 4)) ** 4))


def _cell_greys(rng, cell, count):
    """Choose one grey per cell; the dark cells fill the same share of any volume."""
    grey = rng.uniform(154, 180, count)
    share = np.bincount(cell, minlength=count) / cell.size
    dark = 0.0
    for index in rng.permutation(count):
        if dark + share[index] <= _DARK_CELLS:
            dark += share[index]
            grey[index] = rng.uniform(112, 124)
    return grey


def _add_vesicles(rng, cells, image):
    clusters = image.size // 60_000 + 1
    centre = rng.uniform(0, image.shape, (clusters, 3))
    place = np.repeat(centre, 50, axis=0)
    place += rng.normal(0, 11, place.shape)
    radius = rng.uniform(2.5, 4.5, len(place))
    inside = (cells(place)[1] > radius + 2) & np.all((place > 0) & (place < image.shape), axis=1)
    for centre, r in zip(place[inside], radius[inside], strict=True):
        box, offset = _box(centre - r - 1.5, centre + r + 1.5, image.shape)
        distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(offset, centre, strict=True)))
        rim = np.exp(-(((distance - r) / 0.9) ** 2))
        image[box] = np.where(distance < r, 145, image[box]) * (1 - rim) + 98 * rim


def _box(low, high, shape):
    """Return the slices between two corners, cut to the volume, and their open grid."""
    low = np.clip(np.floor(low).astype(int), 0, shape)
    high = np.clip(np.ceil(high).astype(int) + 1, 0, shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return box, np.ogrid[box]


def _add_tubes(rng, cells, image, owner, kind, draw):
    """Draw objects of one kind, clear of membranes and of each other, up to a set share."""
    low, high = (share * image.size for share in _SHARES[kind])
    total = 0
    for spine, radius in _candidates(rng, cells, image.shape, kind):
        if total >= low:
            break
        core = np.rint(spine).astype(int)
        core = core[np.all((core >= 0) & (core < image.shape), axis=1)]
        if owner[tuple(core.T)].any():
            continue
        box, depth, along = _depth(spine, radius, image.shape)
        size = np.count_nonzero(depth > 0)
        if size < low / 100 or total + size > high or owner[box][depth > -4].any():
            continue
        total += size
        owner[box][depth > 0] = kind
        image[box] = draw(rng, image[box], depth, along)


def _candidates(rng, cells, shape, kind):
    """Yield bent spines and their radii; those that fit inside one cell come first."""
    count = int(np.prod(shape)) // 2500 + 1500
    long = rng.uniform(34, 72, count) if kind == 1 else rng.uniform(16, 30, count)
    thick = rng.uniform(11, 16, count) if kind == 1 else rng.uniform(5, 9, count)
    s = np.linspace(-1, 1, _SPINE_POINTS)[None, :, None]
    half = np.maximum(long / 2 - 0.7 * thick, thick)[:, None, None]
    ahead, aside, up = (_unit(rng, count)[:, None] for _ in range(3))
    bend = rng.uniform(0.05, 0.3, (count, 1, 1)) * half / thick[:, None, None]
    path = half * (ahead * s + bend * aside * s**2 + 0.05 * up * np.sin(np.pi * s))
    spine = rng.uniform(-6, np.array(shape) + 6.0, (count, 1, 3)) + path
    beat = rng.uniform(0, 6, (count, 1)) + 3 * s[..., 0]
    radius = thick[:, None] * (1 + 0.1 * np.sin(beat)) * np.sqrt(1 - 0.4 * s[..., 0] ** 2)
    cell, clearance = (a.reshape(count, -1) for a in cells(spine.reshape(-1, 3)))
    room = np.where(cell == cell[:, :1], clearance, -clearance) - radius - 2
    order = np.argsort(-np.minimum(room.min(axis=1), 0), kind="stable")
    yield from zip(spine[order], radius[order], strict=True)


def _depth(spine, radius, shape):
    """Return a box, the depth below the tube's surface in it, and a coordinate along it."""
    box, grid = _box(spine.min(0) - radius.max() - 5, spine.max(0) + radius.max() + 5, shape)
    points = np.stack(np.broadcast_arrays(*grid), axis=-1).astype(np.float32)
    spine, radius = spine.astype(np.float32), radius.astype(np.float32)
    # Neighbouring voxels nearly share a nearest spine point, so one search serves eight.
    nearest = cKDTree(spine).query(points[::2, ::2, ::2])[1]
    for axis in range(3):
        nearest = nearest.repeat(2, axis).take(range(points.shape[axis]), axis)
    step = np.gradient(spine, axis=0)
    pace = np.linalg.norm(step, axis=1, keepdims=True)
    tilt = spine[0] + spine[-1] - 2 * spine[_SPINE_POINTS // 2]
    normal = step / pace + 0.6 * tilt / np.linalg.norm(tilt)
    offset = points - spine[nearest]
    along = np.cumsum(pace)[nearest] + np.einsum("zyxi,zyxi->zyx", offset, normal[nearest])
    return box, radius[nearest] - np.sqrt(np.einsum("zyxi,zyxi->zyx", offset, offset)), along


def _mitochondrion(rng, image, depth, along):
    """Paint a dark outline and, inside it, faint cristae across the tube."""
    matrix = rng.uniform(106, 120)
    wave = np.sin(depth * rng.uniform(0.3, 0.5) + rng.uniform(0, 6))
    stripe = np.sin(2 * np.pi * along / rng.uniform(9, 13) + 1.3 * wave)
    grey = np.interp(depth, [0, 3.5, 6.5], [94, 94, matrix]).astype(np.float32)
    grey += 13 * stripe * np.clip((depth - 4) / 2, 0, 1)
    cover = np.clip(depth / 1.6 + 1, 0, 1)
    return image * (1 - cover) + grey * cover


def _lysosome(rng, image, depth, along):
    """Paint an even dark body without stripes."""
    grain = rng.standard_normal(depth.shape, np.float32)
    grey = rng.uniform(72, 95) + 60 * ndimage.gaussian_filter(grain, 1.2)
    return np.where(depth > 0, grey, image)


def _micrograph(rng, image):
    image = ndimage.gaussian_filter(image + 5 * _grain(rng, image.shape, 1.2), 1.2)
    grid = np.ogrid[tuple(slice(n) for n in image.shape)]
    for wave in _unit(rng, 3) * 2 * np.pi / [[180], [240], [320]]:
        image += 4 * np.sin(sum(g * w for g, w in zip(grid, wave, strict=True)).astype(np.float32))
    spread = 5 + 0.4 * np.sqrt(np.clip(image, 0, 255))
    image += spread * rng.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
