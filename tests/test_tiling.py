import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiles import predict_slabs

from volseg_keras.inference.engines.output import (
    label_map,
    probabilities,
    to_labels,
    to_probability,
)
from volseg_keras.inference.engines.wrappers import VIEWS, Averaged, FlipAveraged, Resampled
from volseg_keras.inference.tiled_prediction import FADE, HALO, best_tile, halo_of, tile_plan
from volseg_keras.inference.tiling import (
    count_tiles,
    fade_weights,
    intervals,
    plan,
    prefetch,
    read_tiles,
    tiled_slabs,
)


def join_slabs(slabs):
    return np.concatenate([slab for _, slab in slabs])


def identity(tile):
    return tile[..., None]


@st.composite
def cuttings(draw):
    """An axis and a way to cut it."""
    halo, fade = draw(st.integers(0, 5)), draw(st.integers(0, 6))
    tile = 2 * halo + fade + max(2 * fade, 1) + draw(st.integers(0, 12))
    return draw(st.integers(1, 60)), tile, halo, fade


@settings(max_examples=300, deadline=None)
@given(cuttings())
def test_intervals_cover_an_axis_and_keep_their_halo(cutting):
    size, tile, halo, fade = cutting
    cut = intervals(*cutting)
    assert cut[0].start == 0 == cut[0].keep_start and cut[-1].keep_stop == size
    kept = np.zeros(size, int)
    for i, part in enumerate(cut):
        assert part.stop - part.start == tile
        assert len(cut) == 1 or part.stop <= size
        kept[part.keep_start : part.keep_stop] += 1
        if i:
            before = cut[i - 1]
            assert part.keep_start == before.keep_stop - part.fade and part.fade == fade
            assert part.keep_start - part.start >= halo
            assert before.stop - before.keep_stop >= halo
    assert kept.min() == 1 and kept.max() <= 2


@settings(max_examples=150, deadline=None)
@given(st.tuples(cuttings(), cuttings(), cuttings()), st.sampled_from(["f4", "u1", "i2"]))
def test_an_identity_network_gives_any_volume_back(axes, dtype):
    sizes, tile, halo, fade = zip(*axes, strict=True)
    steps = np.subtract(tile, fade) - 2 * np.array(halo)
    shape = np.minimum(sizes, np.minimum(4 * steps, 30))  # as one tile after another takes time
    rng = np.random.default_rng(sum(shape))
    volume = (rng.normal(size=shape) * 100).astype(dtype)
    parts = list(tiled_slabs(volume, plan(shape, tile, halo, fade), identity))
    assert [z for z, _ in parts] == list(np.cumsum([0] + [len(s) for _, s in parts])[:-1])
    np.testing.assert_array_equal(join_slabs(parts)[..., 0], volume)


def test_slabs_and_tiles_are_read_alike(monkeypatch):
    volume = np.random.default_rng(0).random((50, 60, 70))
    axes = plan(volume.shape, (32, 48, 48), (4, 4, 4), (4, 4, 4))
    by_slab = list(read_tiles(volume, axes))
    monkeypatch.setattr("volseg_keras.inference.tiling.SLAB_BYTES", 0)
    by_tile = list(read_tiles(volume, axes))
    assert len(by_slab) == len(by_tile) == count_tiles(axes)
    monkeypatch.setattr("volseg_keras.inference.tiling.SLAB_BYTES", 40 * 60 * 70 * 8)
    for one, other in zip(by_slab, read_tiles(volume, axes), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(by_slab, by_tile, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 130)] * 3), st.sampled_from([2, 3]))
def test_default_halos_give_any_volume_back(shape, dims):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    tile = (64, 96, 80) if dims == 3 else (7, 112, 128)

    def engine(block):
        assert all(n % 16 == 0 for n in block.shape[-dims:])
        return block[..., None]

    got = join_slabs(predict_slabs(engine, volume, dims, tile=tile))
    np.testing.assert_array_equal(got[..., 0], volume)


def test_neighbours_that_differ_are_cross_faded_monotonically():
    calls = iter(range(100))

    def engine(tile):
        return np.full((*tile.shape, 1), next(calls), np.float32)

    volume = np.zeros((40, 1, 1), np.float32)
    out = join_slabs(
        tiled_slabs(volume, plan(volume.shape, (32, 1, 1), (4, 0, 0), (8, 0, 0)), engine)
    )
    line = out.ravel()
    assert (np.diff(line) >= 0).all() and set(np.flatnonzero((line > 0) & (line < 1))) == set(
        range(16, 24)
    )


def test_fade_weights_rise_symmetrically():
    weights = fade_weights(8)
    assert (np.diff(weights) > 0).all() and 0 < weights[0] < 0.05
    np.testing.assert_allclose(weights + weights[::-1], 1, atol=1e-6)


@pytest.mark.parametrize("dims, views", [(2, 8), (3, 16)])
def test_averaging_puts_every_view_back(dims, views):
    tile, seen = np.random.default_rng(0).random((4, 16, 32), np.float32), set()

    def engine(view):
        seen.add(view.tobytes())
        return view[..., None]

    np.testing.assert_allclose(FlipAveraged(engine, VIEWS[dims])(tile)[..., 0], tile, atol=1e-6)
    assert len(seen) == views


@pytest.mark.parametrize("dims", [2, 3])
def test_rotations_come_before_mirror_images(dims):
    turned = [(len(flip) + swap) % 2 == 0 for flip, swap in VIEWS[dims]]
    assert turned == sorted(turned, reverse=True) and VIEWS[dims][0] == ((), False)


@pytest.mark.parametrize("dims", [2, 3])
def test_averaging_removes_what_depends_on_direction(dims):
    tile = np.random.default_rng(1).integers(0, 256, (6, 16, 16)).astype(np.uint8)
    ramp = np.indices(tile.shape).astype(np.uint8)[2, ..., None]
    out = FlipAveraged(lambda view: ramp, VIEWS[dims])(tile)
    assert out.dtype == np.uint8 and set(out.ravel().tolist()) <= {7, 8}

    def shifts(view):
        return np.roll(view, 1, axis=2)[..., None].astype(np.float32)

    mean = FlipAveraged(shifts, VIEWS[dims])(tile)[..., 0]
    neighbours = [np.roll(tile, s, a) for a in (1, 2) for s in (-1, 1)]
    np.testing.assert_allclose(mean, np.mean(neighbours, 0), atol=1e-4)


def test_progress_counts_every_tile():
    volume, seen = np.zeros((40, 200, 150), np.float32), []
    list(
        predict_slabs(identity, volume, 3, tile=(48, 96, 96), on_progress=lambda *a: seen.append(a))
    )
    total = count_tiles(tile_plan(volume.shape, 3, (48, 96, 96)))
    assert seen == [(i + 1, total) for i in range(total)] and total > 4


@pytest.mark.parametrize("classes", [2, 3])
def test_labels_and_probabilities_of_slabs(classes):
    scores = np.random.default_rng(0).random((6, 4, 5, classes)).astype(np.float32)
    scores /= scores.sum(-1, keepdims=True)
    parts = [(0, scores[:4]), (4, scores[4:])]
    np.testing.assert_array_equal(label_map(parts), scores.argmax(-1))
    np.testing.assert_array_equal(probabilities(parts), scores)
    if classes == 2:
        foreground = [(z, slab[..., 1:]) for z, slab in parts]
        for some in (parts, foreground):
            np.testing.assert_array_equal(label_map(some, 0.7), scores[..., 1] >= 0.7)
        np.testing.assert_allclose(probabilities(foreground), scores, atol=1e-6)


def test_probabilities_of_levels():
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    found = probabilities([(0, levels[:1]), (1, levels[1:])])
    want = to_probability(levels)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.concatenate([1 - want, want], axis=-1))


@pytest.mark.parametrize("threshold", [0.001, 0.1, 0.5, 0.7, 0.999])
def test_levels_are_cut_where_their_probabilities_are(threshold):
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    want = to_probability(levels)[..., 0] >= threshold
    want.flat[[0, 255]] = False, True
    np.testing.assert_array_equal(to_labels(levels, threshold), want)
    assert (
        to_probability(levels).dtype == np.float32
        and (np.diff(to_probability(levels).ravel()) > 0).all()
    )


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 3000)] * 3), st.sampled_from([2, 3]))
def test_the_best_tile_is_in_bounds(shape, dims):
    steps, voxels = ((16, 16, 16), 4_000_000) if dims == 3 else ((1, 16, 16), 1_000_000)
    sizes = best_tile(shape, HALO[dims], FADE[dims], steps, voxels)
    axes = tile_plan(shape, dims, sizes)
    assert np.prod(sizes) <= voxels
    longer = [max(t, n) for t, n in zip(sizes, shape, strict=True)]
    assert count_tiles(axes) * np.prod(sizes) <= 5 * np.prod(longer) + voxels


def test_the_next_item_is_made_while_one_is_used():
    made = []

    def items():
        for i in range(3):
            made.append(i)
            yield i

    items = prefetch(items())
    assert next(items) == 0
    while len(made) < 2:
        pass
    assert list(items) == [1, 2]


def test_an_error_in_a_tile_comes_through():
    def engine(tile):
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(predict_slabs(engine, np.zeros((16, 16, 16), np.uint8), 3))


@pytest.mark.parametrize("tile", [(96, 96), (96, 96, 90), (0, 96, 96), (32, 32, 32)])
def test_wrong_tiles(tile):
    with pytest.raises(ValueError, match="`tile`"):
        tile_plan((200, 200, 200), 3, tile)


@pytest.mark.parametrize("scale", [(1, 0.5, 0.5), (0.4, 1, 1.3), (2, 1, 0.7)])
def test_resampled_tiles_come_back_where_they_were(scale):
    axes = np.indices((24, 64, 48), np.float32)
    for ramp in axes:
        seen = []

        def engine(tile, seen=seen):
            seen.append(tile.shape)
            return tile[..., None]

        back = Resampled(engine, scale, 3)(ramp)[..., 0]
        assert all(n % 16 == 0 for n in seen[0])
        assert all(n >= round(m * s) for n, m, s in zip(seen[0], ramp.shape, scale, strict=True))
        inside = tuple(slice(4, -4) for _ in range(3))
        np.testing.assert_allclose(back[inside], ramp[inside], atol=0.75)


def test_resampling_for_a_2d_network_keeps_the_planes():
    seen = []
    Resampled(lambda t: seen.append(t.shape) or t[..., None], (1, 0.5, 0.5), 2)(
        np.ones((3, 64, 70))
    )
    assert seen == [(3, 32, 48)]


def test_a_tile_of_finer_voxels_is_smaller_and_reads_more_context_of_coarser():
    shape, scales = (500, 2000, 2000), ((2, 2, 2), (0.5, 0.5, 0.5))
    fine, coarse = (tile_plan(shape, 3, scales=[scale]) for scale in scales)
    both = tile_plan(shape, 3, scales=scales)
    assert all(a[0].stop <= b[0].stop for a, b in zip(both, coarse, strict=True))
    assert all(a[0].stop < b[0].stop for a, b in zip(fine, coarse, strict=True))
    assert halo_of(3, scale=(0.5, 1, 2)) == (2 * HALO[3][0], HALO[3][1], HALO[3][2] // 2)


def test_engines_together_average_levels_as_levels():
    levels = [np.full((2, 2, 2, 1), value, np.uint8) for value in (10, 21)]
    both = Averaged([lambda _, v=v: v for v in levels])(None)
    assert both.dtype == np.uint8 and (both == 16).all()
    mixed = Averaged([lambda _: levels[0], lambda _: np.full((2, 2, 2, 1), 0.5, np.float32)])(None)
    np.testing.assert_allclose(mixed, (10.5 / 256 + 0.5) / 2)
