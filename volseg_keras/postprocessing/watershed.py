"""Find basins of a height map slab by slab, and merge them."""

from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """The basins of a slab, in order of their ids; fields are arrays.

    Attributes:
        peak: float32 heights of their summits.
        summit: flat indices of the summits in the volume with a margin of one voxel.
        size: numbers of voxels.
        link: the id of the same basin where it is cut by the face of a slab, else its own.
    """

    peak: np.ndarray
    summit: np.ndarray
    size: np.ndarray
    link: np.ndarray


class Basins:
    """Basins of a volume: the summit and size of each, and the saddles to its neighbours.

    A basin that is cut by the face of a slab has an id on each side; one links to the other.

    Args:
        plane: sizes (y, x) of the volume.
    """

    def __init__(self, plane):
        self.width = plane[1] + 2
        self.plane = (plane[0] + 2) * self.width
        self.z = 0
        self.last = np.zeros(self.plane, np.uint32)
        self.leaving = np.zeros((2, 0), np.int64)
        # The background is id 0.
        self.tables = [Table(np.float32([0]), np.array([-1]), np.array([0]), np.array([0]))]
        self.count = 1
        self.saddles = []

    def add(self, height):
        """Find the basins of the next slab.

        Args:
            height: float32 `(1 + depth + 1, y, x)`, the slab and one plane of each neighbour.

        Returns:
            Flat indices, in the slab, of the voxels of the foreground; and their uint32 ids.
        """
        depth = len(height) - 2
        flat = np.pad(height, ((0, 0), (1, 1), (1, 1))).ravel()
        nodes = np.flatnonzero(flat)
        own = slice(*np.searchsorted(nodes, (self.plane, flat.size - self.plane)))
        voxels = nodes[own]
        ids = np.zeros(flat.size, np.uint32)
        tops, basin = self.ascend(flat, nodes, own, ids)
        ids[voxels] = basin + self.count
        ids[: self.plane] = self.last
        self.add_basins(flat, tops, np.bincount(basin, minlength=len(tops)), ids, depth)
        self.saddles.append(self.find_saddles(flat, voxels, ids))
        self.last = ids[depth * self.plane : (depth + 1) * self.plane].copy()
        self.z += depth
        inside = np.ravel_multi_index(
            np.subtract(
                np.unravel_index(voxels, (depth + 2, self.plane // self.width, self.width)), 1
            ),
            (depth, self.plane // self.width - 2, self.width - 2),
        )
        return inside, ids[voxels]

    def ascend(self, flat, nodes, own, number):
        """Return where steepest ascent ends in a slab, and the index of its end for each voxel.

        It ends at a summit or at the first voxel outside the slab. Among equal neighbours the last
        is taken.
        """
        number[nodes] = np.arange(len(nodes))
        voxels = nodes[own]
        best, top = voxels.copy(), np.zeros(len(voxels), np.float32)
        steps = (1, self.width, self.plane)
        for step in sorted((0, *steps, *(-s for s in steps))):
            value = flat[voxels + step]
            better = value >= top
            best[better], top[better] = voxels[better] + step, value[better]
        parent = np.arange(len(nodes))
        parent[own] = number[best]
        while (parent != (further := parent[parent])).any():
            parent = further
        tops, basin = np.unique(parent[own], return_inverse=True)
        return nodes[tops], basin

    def add_basins(self, flat, tops, sizes, ids, depth):
        """Note the basins of a slab, and link those that end outside it."""
        place, z = tops % self.plane, tops // self.plane
        link = np.arange(self.count, self.count + len(tops))
        link[z == 0] = self.last[place[z == 0]]
        before, cut = self.leaving
        self.tables[-1].link[before] = ids[self.plane + cut]
        self.leaving = np.stack([np.flatnonzero(z > depth), place[z > depth]])
        summit = tops + (self.z - 1) * self.plane
        self.tables.append(Table(flat[tops], summit, sizes, link))
        self.count += len(tops)

    def find_saddles(self, flat, voxels, ids):
        """Return the saddles between neighbouring basins, including those of the slab before."""
        found = []
        for step in (1, self.width, self.plane):
            a, b = ids[voxels], ids[voxels - step]
            meet = (a != b) & (b > 0)
            at = voxels[meet]
            found.append((a[meet], b[meet], np.minimum(flat[at], flat[at - step])))
        return highest_saddles(*map(np.concatenate, zip(*found, strict=True)))

    def instance_of_each_id(self, neck, min_size):
        """Merge basins, see `instances`; return the number of the instance of every id."""
        peak, summit, size, link = map(np.concatenate, zip(*self.tables, strict=True))
        while (link != (further := link[link])).any():
            link = further
        # Numbered in order of their summits, basins do not depend on how the volume is cut.
        roots = np.flatnonzero(link == np.arange(len(link)))
        roots = roots[np.argsort(summit[roots])]
        basin = np.zeros(len(link), np.int64)
        basin[roots] = np.arange(len(roots))
        basin = basin[link]
        size = np.bincount(basin, weights=size).astype(np.int64)
        saddles = [np.concatenate(part) for part in zip(*self.saddles, strict=True)]
        saddles = highest_saddles(basin[saddles[0]], basin[saddles[1]], saddles[2])
        tree = spanning_tree(*saddles, len(roots))
        group = merge_over_saddles(tree, peak[roots], size, neck, min_size)
        size = np.bincount(group, weights=size, minlength=len(roots))
        kept = size >= max(min_size, 1)
        return np.where(kept, np.cumsum(kept), 0).astype(np.uint32)[group[basin]]


def highest_saddles(a, b, height):
    """Return the highest saddle `(a, b, height)` between every pair of basins."""
    low, high = np.minimum(a, b).astype(np.uint64), np.maximum(a, b).astype(np.uint64)
    key = (low << np.uint64(32)) | high
    key, height = key[low < high], height[low < high]
    order = np.lexsort((height, key))
    key, height = key[order], height[order]
    last = np.append(key[1:] != key[:-1], True)[: len(key)]
    return key[last] >> np.uint64(32), key[last] & np.uint64(2**32 - 1), height[last]


def spanning_tree(a, b, height, count):
    """Return the saddles `(a, b, height)` of a maximum spanning forest, highest first.

    The others never merge anything: their basins are connected over higher saddles already, or were
    kept apart there.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    order = np.lexsort((b, a, -height))
    rank = np.empty(len(order))
    rank[order] = np.arange(1, len(order) + 1)
    graph = csr_array((rank, (a.astype(np.int32), b.astype(np.int32))), shape=(count, count))
    chosen = order[np.sort(minimum_spanning_tree(graph).data).astype(np.int64) - 1]
    return a[chosen].tolist(), b[chosen].tolist(), height[chosen].tolist()


def merge_over_saddles(tree, peak, size, neck, min_size):
    """Return the group of every basin after merging over the saddles of a tree."""
    peak, size, parent = peak.tolist(), size.tolist(), list(range(len(peak)))

    def find(i):
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b, height in zip(*tree, strict=True):
        a, b = find(a), find(b)
        if height >= neck * peak[b if peak[a] > peak[b] else a] or min(size[a], size[b]) < min_size:
            a, b = sorted((a, b), key=lambda i: (-peak[i], i))
            parent[b] = a
            size[a] += size[b]
    return np.array([find(i) for i in range(len(parent))])
