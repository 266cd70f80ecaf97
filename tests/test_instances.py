from io import BytesIO
from itertools import product
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volseg_keras import instances, open_volume, phantom, save_volume, write_instances
from volseg_keras.postprocessing import instances as module

SIDES = [(1, 1, 1), (5, 5, 5), (40, 6, 6), (7, 11, 5)]


def ball(shape, center, radius, sides=(1, 1, 1)):
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((s * (g - c)) ** 2 for s, g, c in zip(sides, grid, center, strict=True)) < radius**2


@st.composite
def blobs(draw):
    """Smooth noise, cut at a level: objects of all forms, many of which touch."""
    shape = draw(st.tuples(*[st.integers(1, 14)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), draw(st.floats(0.3, 2)))
    noise -= noise.min()
    return (noise / max(noise.max(), 1e-9)).astype(np.float32)


def same_partition(one, other):
    """Whether two label maps are equal up to the numbers of their labels."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return (
        all(len(np.unique(row)) == len(row) for row in pairs)
        and (one > 0).tolist() == (other > 0).tolist()
    )


@settings(max_examples=80, deadline=None)
@given(
    blobs(),
    st.sampled_from(SIDES),
    st.integers(1, 6),
    st.sampled_from([0, 0.5, 0.8, 1]),
    st.sampled_from([0, 5, 30]),
    st.sampled_from([2, 32]),
    st.sampled_from([5, 512]),
)
def test_slabs_give_what_the_whole_volume_gives(values, sides, planes, neck, small, radius, block):
    options = {"voxel_size": sides, "neck": neck, "min_size": small}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RADIUS", radius)
        whole = instances(values, 0.45, **options)
        patch.setattr(module, "BLOCK", block)
        patch.setattr(module, "SLAB_VOXELS", planes * values[0].size)
        np.testing.assert_array_equal(instances(values, 0.45, **options), whole)


@settings(max_examples=80, deadline=None)
@given(blobs(), st.integers(1, 6))
def test_objects_that_are_not_parted_are_connected_components(values, planes):
    mask = values >= 0.6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLAB_VOXELS", planes * mask[0].size)
        found = instances(mask, neck=0, min_size=0)
    assert found.dtype == np.uint32
    assert same_partition(found, ndimage.label(mask)[0])


def summits(height, neck):
    """The number of summits that no neighbour may swallow, by flooding voxel after voxel."""
    order = sorted(map(tuple, np.argwhere(height > 0)), key=lambda p: (-height[p], p))
    parent, top, count = {}, {}, 0

    def find(p):
        while parent[p] != p:
            p = parent[p]
        return p

    for p in order:
        parent[p], top[p] = p, height[p]
        count += 1
        for axis, step in product(range(3), (-1, 1)):
            q = tuple(c + step * (a == axis) for a, c in enumerate(p))
            if q in parent and (a := find(p)) != (b := find(q)):
                low, high = sorted((a, b), key=lambda r: (top[r], r))
                count -= bool(height[p] >= neck * top[low])
                parent[low] = high
    return count


@settings(max_examples=60, deadline=None)
@given(blobs(), st.sampled_from(SIDES), st.sampled_from([0.3, 0.5, 0.8]))
def test_as_many_instances_as_summits_of_that_dynamic(values, sides, neck):
    found = instances(values, 0.45, voxel_size=sides, neck=neck, min_size=0)
    mask = values >= np.float32(0.45)
    far = np.full(mask.shape, np.inf)
    distance = ndimage.distance_transform_edt(mask, sides) if not mask.all() else far
    height = values * np.minimum(distance, 32 * min(sides)).astype(np.float32)
    assert found.max() == summits(np.where(mask, height, 0), neck)
    for i in range(1, found.max() + 1):
        assert ndimage.label(found == i)[1] == 1


@pytest.mark.parametrize("sides", SIDES)
def test_two_balls_that_touch_are_parted_where_they_touch(sides):
    shape = [int(round(s)) for s in np.divide((24, 24, 40), np.divide(sides, min(sides)))]
    centers = [np.divide(np.multiply(min(sides), c), sides) for c in ((11, 11, 11), (11, 11, 27))]
    radius = 8.8 * min(sides)
    one, other = (ball(shape, c, radius, sides) for c in centers)
    found = instances(one | other, voxel_size=sides)
    assert found.max() == 2
    middle = 19 * min(sides) / sides[2]
    x = np.arange(shape[2])
    for ball_, clear in ((one, x < middle - 1), (other, x > middle + 1)):
        assert len(np.unique(found[..., clear][ball_[..., clear]])) == 1


def test_probability_parts_what_the_distance_does_not():
    values = np.full((8, 8, 30), 0.95, np.float32)
    assert instances(values).max() == 1
    values[..., 14:16] = 0.55
    assert instances(values, neck=0.6).max() == 2


def test_crumbs_join_or_go():
    mask = np.zeros((9, 9, 40), bool)
    mask[1:8, 1:8, 1:8] = mask[4, 4, 8] = mask[3:6, 3:6, 9:12] = True  # a crumb on a stalk
    mask[3:5, 3:5, 30:32] = True
    assert instances(mask, neck=0.6, min_size=0).max() == 3
    found = instances(mask, neck=0.6, min_size=28)
    assert found.max() == 1 and found[4, 4, 10] == 1 and found[4, 4, 30] == 0


def test_files_larger_than_a_slab(tmp_path, monkeypatch):
    label = phantom((40, 64, 64), seed=1)[1]
    source, output = tmp_path / "p.tif", tmp_path / "i.tif"
    save_volume(source, label.astype(np.float32), voxel_size=(8, 4, 4))
    told = []
    with monkeypatch.context() as patch:
        patch.setattr(module, "SLAB_VOXELS", 7 * 64 * 64)
        count = write_instances(
            open_volume(source), output, on_progress=lambda *done: told.append(done)
        )
    written = open_volume(output)
    assert written.dtype == np.uint32 and written.voxel_size == (8, 4, 4)
    want = instances(label.astype(bool), voxel_size=(8, 4, 4))
    np.testing.assert_array_equal(written[...], want)
    assert count == want.max() > 1
    assert told == [(i, 12) for i in range(1, 13)]
    assert {p.name for p in tmp_path.iterdir()} == {"p.tif", "i.tif"}


@pytest.mark.parametrize(
    "values, options, name",
    [
        (np.zeros((3, 4)), {}, "probability"),
        (np.zeros((3, 4, 5), np.uint8), {}, "probability"),
        (np.full((3, 4, 5), 255.0), {}, "probability"),
        (np.zeros((3, 4, 5)), {"threshold": 0}, "threshold"),
        (np.zeros((3, 4, 5)), {"neck": 1.5}, "neck"),
        (np.zeros((3, 4, 5)), {"min_size": -1}, "min_size"),
        (np.zeros((3, 4, 5)), {"voxel_size": (1, 2)}, "voxel_size"),
    ],
)
def test_wrong_input(values, options, name, tmp_path):
    with pytest.raises(ValueError, match=f"`{name}`"):
        instances(values, **options)
    with pytest.raises(ValueError, match=f"`{name}`"):
        write_instances(values, tmp_path / "a.tif", **options)
    assert not list(tmp_path.iterdir())


def test_formats_of_16_bits_are_refused_first(tmp_path):
    with pytest.raises(ValueError, match="32-bit"):
        write_instances(np.zeros((3, 4, 5)), tmp_path / "a.mrc")


def test_little_memory_makes_thin_slabs_and_the_same_instances(monkeypatch):
    probability, tell = np.random.default_rng(0).random((60, 40, 40), np.float32), Mock()
    whole = instances(probability, 0.4)
    monkeypatch.setattr(module, "free_memory", lambda: 2**20)
    slabs = module.Watershed(0.4).slabs(probability, BytesIO(), on_progress=tell)
    found = np.concatenate(list(slabs))
    assert tell.call_args.args == (40, 40)  # twenty slabs of 3 planes, found and written
    np.testing.assert_array_equal(found, whole)
