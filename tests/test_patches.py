import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg_keras import Augment, PatchSampler
from volseg_keras.inference.tiling import Interval, read_tile
from volseg_keras.patches.augment import NONE
from volseg_keras.patches.box import Box
from volseg_keras.patches.patch_mix import PatchMix, share_out
from volseg_keras.volumes.intensity import IntensityStatistics

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (20, 40, 44)).astype(np.uint8)
LABEL = np.zeros(IMAGE.shape, np.uint8)
LABEL[8:14, 10:20, 25:40] = 1
EVERYTHING = Augment(elastic=0.5, gamma=0.3, noise=0.3, blur=1.0, probability=0.5)


def sampler(patch=(8, 16, 16), **options):
    return PatchSampler(IMAGE, LABEL, patch, **{"augment": EVERYTHING, **options})


def collect(batches, count):
    return [
        tuple(np.asarray(part) for part in batch)
        for batch, _ in zip(batches, range(count), strict=False)
    ]


def py_batches(dataset, count):
    return [dataset[i] for i in range(count)]


@pytest.mark.parametrize("patch", [(8, 16, 16), (16, 24)])
def test_every_front_and_any_number_of_workers_give_the_same_bytes(patch):
    source = sampler(patch, seed=3)
    want = [source.batch(i, 2) for i in range(6)]
    fronts = {
        "one worker": collect(source.tf_dataset(2, steps=6, workers=1), 6),
        "eight workers": collect(source.tf_dataset(2, steps=6, workers=8), 6),
        "endless": collect(source.tf_dataset(2), 6),
        "PyDataset": py_batches(source.py_dataset(2, steps=6), 6),
        "another sampler": [sampler(patch, seed=3).batch(i, 2) for i in range(6)],
    }
    for name, got in fronts.items():
        for one, other in zip(want, got, strict=True):
            assert one[0].tobytes() == other[0].tobytes(), name
            assert one[1].tobytes() == other[1].tobytes(), name
            assert one[0].dtype == np.float32 and one[0].shape == (2, *patch, 1)
            assert one[1].dtype == np.uint8 and one[1].shape == (2, *patch)


def test_starting_at_step_n_equals_skipping_n():
    source = sampler(seed=1)
    want = [source.batch(i, 2) for i in range(5)][3:]
    for got in (
        collect(source.tf_dataset(2, start=3), 2),
        py_batches(source.py_dataset(2, start=3), 2),
    ):
        for one, other in zip(want, got, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])


def test_patches_and_seeds_differ():
    patches = {sampler(seed=s)[i].image.tobytes() for s in (0, 1) for i in range(10)}
    assert len(patches) == 20


def distance():
    """Signed distance in voxels to the surface of two spheres, positive inside."""
    grid = np.indices((40, 64, 64), np.float32)
    spheres = (((16, 30, 24), 14), ((24, 44, 40), 10))
    return np.max(
        [r - np.linalg.norm(grid - np.reshape(c, (3, 1, 1, 1)), axis=0) for c, r in spheres], axis=0
    ).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [{}, {"flips": True}, {"rotations": True}, {"elastic": 1.0}, {"flips": True, "elastic": 1.0}],
    ids=str,
)
@pytest.mark.parametrize("patch", [(16, 32, 32), (32, 32)])
def test_image_and_label_stay_aligned(options, patch):
    image = distance()
    geometry = Augment(**{**NONE.__dict__, **options})
    label = (image > 0).astype(np.uint8)
    source = PatchSampler(image, label, patch, augment=geometry, normalization=(0, 1))
    wrong = shifted = 0
    for i in range(12):
        sample = source[i]
        grey = sample.image[..., 0]
        # A nearest voxel is at most half a diagonal away, and so is its distance.
        certain = np.abs(grey) > (0.87 if "elastic" in options else 0)
        wrong += (certain & ((grey > 0) != sample.label)).sum()
        shifted += (certain & ((np.roll(grey, 2, -1) > 0) != sample.label)).sum()
    assert wrong == 0 and shifted > 100


def test_plain_patches_are_standardised_voxels_of_the_volume():
    source = sampler(augment=NONE)
    mean, deviation = source.normalization
    assert (mean, deviation) == pytest.approx((IMAGE.mean(), IMAGE.std()))
    windows = np.lib.stride_tricks.sliding_window_view(IMAGE, (8, 16, 16))
    for i in range(5):
        grey = np.rint(source[i].image[..., 0] * deviation + mean).astype(np.uint8)
        assert (windows == grey).all(axis=(3, 4, 5)).sum() == 1


def test_foreground_fraction_and_jitter():
    always = sampler((9, 15, 15), foreground_fraction=1.0, jitter=3, augment=NONE)
    centre = np.s_[1:8, 4:11, 4:11]
    assert all(always[i].label[centre].any() for i in range(60))
    never = sampler((9, 15, 15), foreground_fraction=0.0, augment=NONE)
    assert 0.05 < np.mean([never[i].label.any() for i in range(200)]) < 0.95


@pytest.mark.parametrize("patch", [(4, 8, 16), (5, 9, 15), (8, 16, 16), (1, 1, 1)])
@pytest.mark.parametrize("voxel", [(0, 0, 0), (10, 20, 22), (19, 39, 43)])
def test_the_foreground_voxel_lies_within_the_patch(patch, voxel):
    label = np.zeros(IMAGE.shape, np.uint8)
    label[voxel] = 1
    source = PatchSampler(IMAGE, label, patch, foreground_fraction=1.0, augment=NONE)
    assert all(source[i].label.any() for i in range(100))


def test_a_mask_of_255_is_one_of_1():
    mask = PatchSampler(IMAGE, LABEL * np.uint8(255), (8, 16, 16), augment=EVERYTHING)
    for i in range(4):
        np.testing.assert_array_equal(mask[i].label, sampler()[i].label)


def test_any_integer_is_a_seed_of_its_own():
    patches = {sampler(seed=s)[0].image.tobytes() for s in (0, -1, -500, 2**63, np.int64(3))}
    assert len(patches) == 5


def test_unannotated_voxels_are_no_foreground():
    label = LABEL.copy()
    label[:4] = 255
    source = PatchSampler(IMAGE, label, (8, 8, 8), ignore_class=255)
    assert (label.ravel()[source.foreground] == 1).all()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_boxes_reflect_what_lies_outside(data):
    shape = data.draw(st.tuples(*[st.integers(2, 12)] * 3))
    size = tuple(data.draw(st.integers(1, n)) for n in shape)
    start = tuple(data.draw(st.integers(0, n - s)) for n, s in zip(shape, size, strict=True))
    margins = data.draw(st.tuples(*[st.integers(0, 15)] * 3))
    volume = np.arange(np.prod(shape)).reshape(shape)
    got = Box(start, size, margins).read(volume)
    padded = np.pad(volume, [(m, m) for m in margins], mode="reflect")
    want = padded[
        tuple(slice(a, a + s + 2 * m) for a, s, m in zip(start, size, margins, strict=True))
    ]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "image, label, patch, options, name",
    [
        (IMAGE, LABEL[:-1], (8, 8, 8), {}, "label"),
        (IMAGE[0], LABEL[0], (8, 8), {}, "label"),
        (IMAGE, LABEL, (8, 8, 64), {}, "patch_shape"),
        (IMAGE, LABEL, (64, 8), {}, "patch_shape"),
        (IMAGE, LABEL, (8,), {}, "patch_shape"),
        (IMAGE, LABEL, (0, 8, 8), {}, "patch_shape"),
        (IMAGE, LABEL * 0, (8, 8, 8), {}, "label"),
        (IMAGE, LABEL / 3, (8, 8, 8), {}, "label"),
        (IMAGE, LABEL - 0.5, (8, 8, 8), {}, "label"),
        (IMAGE, LABEL, (8, 8, 8), {"seed": 0.5}, "seed"),
        (IMAGE * 0, LABEL, (8, 8, 8), {}, "image"),
        (IMAGE * np.nan, LABEL, (8, 8, 8), {}, "image"),
        (IMAGE, LABEL, (8, 8, 8), {"foreground_fraction": 1.5}, "foreground_fraction"),
        (IMAGE, LABEL, (8, 8, 8), {"jitter": -1}, "jitter"),
        (IMAGE, LABEL * 0 + 255, (8, 8, 8), {"ignore_class": 255}, "label"),
        (IMAGE, LABEL, (8, 8, 8), {"normalization": (128, 0)}, "normalization"),
        (IMAGE, LABEL, (8, 8, 8), {"normalization": (np.nan, 1)}, "normalization"),
        (IMAGE, LABEL, (8, 8, 8), {"normalization": "model"}, "normalization"),
    ],
)
def test_wrong_arguments(image, label, patch, options, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        PatchSampler(image, label, patch, **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_grey_levels_that_are_not_finite_are_refused(bad):
    image = IMAGE.astype(np.float32)
    image[1, 2, 3] = bad
    with pytest.raises(ValueError, match="`image`. Expected finite grey levels. Received: 1 vox"):
        IntensityStatistics.of(image)
    with pytest.raises(ValueError, match="finite"):
        read_tile(image, intervals_of(image))


def test_a_box_skips_sections_and_reflects_beyond_them():
    volume = np.arange(10)[:, None, None] * np.ones((1, 3, 3), int)
    box = Box((-3, 0, 0), (5, 3, 3), stride=(3, 1, 1))
    assert box.read(volume)[:, 0, 0].tolist() == [3, 0, 3, 6, 9]


def test_a_volume_smaller_than_the_patch_is_mirrored_on_request():
    with pytest.raises(ValueError, match="`patch_shape`"):
        sampler((32, 32, 32))
    mirrored = sampler((32, 32, 32), mirror=True, augment=NONE)
    for i in range(8):
        sections = {section.tobytes() for section in mirrored[i].image}
        assert len(IMAGE) // 2 < len(sections) <= len(IMAGE)  # some of them twice


@pytest.mark.parametrize(
    "weights, turns",
    [([1, 1], [0, 1]), ([2, 1], [0, 1, 0]), ([1, 1, 1], [0, 1, 2]), ([0.75, 0.25], [0, 0, 1, 0])],
)
def test_patches_are_shared_out_by_weights(weights, turns):
    assert share_out(weights) == turns


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5))
def test_shares_are_those_of_the_weights_wherever_one_looks(weights):
    turns = share_out(weights)
    for stop in range(1, len(turns) + 1):
        had = np.bincount(turns[:stop], minlength=len(weights))
        due = stop * np.array(weights) / sum(weights)
        assert np.all(np.abs(had - due) < len(weights) + 0.05 * stop)
    assert len(turns) < 32 * 100 * len(weights)


def test_a_small_weight_has_a_turn():
    turns = share_out([1, 200])
    assert len(turns) == 201 and turns.count(0) == 1


def test_a_patch_of_a_mix_is_that_of_its_volume():
    one, other = sampler(seed=4), PatchSampler(255 - IMAGE, LABEL, (8, 16, 16), 4)
    mix = PatchMix([one, other], [2, 1])
    for i, source in enumerate([one, other, one, one, other, one]):
        np.testing.assert_array_equal(mix[i].image, source[i].image)
    images, _ = mix.batch(1, 3)
    np.testing.assert_array_equal(images[1], other[4].image)


def intervals_of(image):
    return [Interval(0, n, 0, n, 0) for n in image.shape]


def test_patches_of_a_seed_stay_the_same():
    """A random number drawn more would change every patch of every training."""
    shape = (24, 40, 44)
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    label = np.zeros(shape, np.uint8)
    label[10:14, 20:30, 20:30] = 1
    sampler = PatchSampler(image, label, (8, 16, 16), 3, augment=NONE, normalization=(0, 1))
    corners = [np.unravel_index(int(sampler[i].image[0, 0, 0, 0]), shape) for i in range(4)]
    known = [(12, 21, 11), (8, 24, 20), (13, 8, 9), (5, 5, 11)]
    assert [tuple(map(int, corner)) for corner in corners] == known
