import numpy as np
import pytest

from volseg_keras.patches.augment import NONE, Augment, draw
from volseg_keras.patches.myelin import add_sheath
from volseg_keras.patches.transforms import change_intensities, move_voxels, stain

SHAPE = (12, 16, 16)
IMAGE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def drawn(augment, seed=0, shape=SHAPE):
    return draw(np.random.default_rng(seed), shape, augment)


def only(**options):
    return Augment(
        **{"flips": False, "rotations": False, "contrast": 0, "brightness": 0, **options}
    )


def test_nothing_is_nothing():
    plain = drawn(NONE)
    np.testing.assert_array_equal(move_voxels(IMAGE, plain, order=1), IMAGE)
    np.testing.assert_array_equal(change_intensities(IMAGE, plain), IMAGE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_is_flipped_in_half_of_the_draws(axis):
    share = np.mean([axis in drawn(only(flips=True), seed).flips for seed in range(400)])
    assert 0.4 < share < 0.6


def test_flips_and_transposition_give_all_sixteen_orientations():
    augment = only(flips=True, rotations=True)
    seen = {move_voxels(IMAGE, drawn(augment, seed), 1).tobytes() for seed in range(200)}
    assert len(seen) == 16


def test_patches_that_are_not_square_are_not_transposed():
    shape = (4, 8, 12)
    image = np.zeros(shape)
    for seed in range(20):
        assert move_voxels(image, drawn(only(rotations=True), seed, shape), 1).shape == shape


@pytest.mark.parametrize("shape", [(20, 40, 40), (1, 48, 40)])
def test_deformation_moves_voxels_as_far_as_it_says(shape):
    field = drawn(only(elastic=1.0, displacement=2.0), 3, shape)
    margin = field.margin
    assert all((m > 1) == (n > 1) for m, n in zip(margin, shape, strict=True))
    wide = [n + 2 * m for n, m in zip(shape, margin, strict=True)]
    for axis, size in enumerate(wide):
        line = np.arange(size, dtype=np.float32)
        coordinate = np.broadcast_to(np.moveaxis(line.reshape(-1, 1, 1), 0, axis), wide)
        moved = move_voxels(np.array(coordinate), field, order=1)
        assert moved.shape == shape
        still = np.moveaxis(np.arange(shape[axis]).reshape(-1, 1, 1), 0, axis)
        shift = moved - still - margin[axis]
        if shape[axis] == 1:
            assert not shift.any(), "a slice is deformed in its plane only"
        else:
            assert 0.3 < np.abs(shift).max() <= margin[axis]


@pytest.mark.parametrize(
    "options, changed",
    [
        ({"contrast": 0.3}, lambda out: np.polyfit(IMAGE.ravel(), out.ravel(), 1)[0]),
        ({"brightness": 0.3}, lambda out: 1 + out.mean() - IMAGE.mean()),
        ({"noise": 0.5, "probability": 1}, lambda out: out.std() / IMAGE.std()),
        ({"blur": 1.5, "probability": 1}, lambda out: out.std() / IMAGE.std()),
        ({"shading": 0.5, "probability": 1}, lambda out: out.std() / IMAGE.std()),
        ({"gamma": 0.5, "probability": 1}, lambda out: np.median(np.diff(np.sort(out.ravel())))),
    ],
)
def test_each_grey_level_change_alone(options, changed):
    values = [changed(change_intensities(IMAGE, drawn(only(**options), seed))) for seed in range(8)]
    assert np.ptp(values) > 0.01 * abs(np.mean(values))


def test_scale_stretches_every_axis_by_its_own_factor():
    shape, largest = (40, 64, 64), 2.0
    scaled = drawn(only(elastic=1.0, displacement=0.0, scale=largest), 5, shape)
    wide = [n + 2 * m for n, m in zip(shape, scaled.margin, strict=True)]
    slopes = []
    for axis in range(3):
        line = np.arange(wide[axis], dtype=np.float32)
        coordinate = np.broadcast_to(np.moveaxis(line.reshape(-1, 1, 1), 0, axis), wide)
        moved = np.moveaxis(move_voxels(np.array(coordinate), scaled, order=1), axis, 0)[:, 0, 0]
        slope, _ = np.polyfit(np.arange(shape[axis]), moved, 1)
        np.testing.assert_allclose(np.diff(moved), slope, atol=1e-3)
        slopes.append(slope)
    assert len({round(s, 3) for s in slopes}) == 3
    assert all(1 / 1.1 / largest < s < 1.1 * largest and abs(s - 1) > 1e-3 for s in slopes)


def test_contrast_is_inverted_in_the_stated_share_of_draws():
    share = np.mean([drawn(only(inversion=0.3), seed).gain < 0 for seed in range(400)])
    assert 0.2 < share < 0.4


@pytest.mark.parametrize("sections, shifted", [(1, True), (3, False)])
def test_staining_does_not_tell_which_sections_are_annotated(sections, shifted):
    label = np.full((sections, 20, 20), 255, np.uint8)
    label[0] = 0
    label[0, 4:12, 4:12], label[0, :, 16:] = 1, 255
    image = stain(np.zeros((*label.shape, 1), np.float32), label, (0, 0.5))
    assert (np.abs(image[0, 6:10, 6:10]).min() > 0) == shifted
    assert np.abs(image[0, :, 16:]).max() < 0.01


def test_staining_shifts_labelled_objects_alone_in_half_of_the_draws():
    label = np.zeros(SHAPE, np.uint8)
    label[2:6, 2:8, 2:8], label[8:, 10:, 10:] = 1, 2
    shifts = []
    for seed in range(200):
        image = np.zeros((*SHAPE, 1), np.float32)
        image = stain(image, label, drawn(only(staining=0.5), seed).staining)
        inner = image[3:5, 4:6, 4:6].mean(), image[-1, -1, -1, 0]
        assert np.abs(image).max() <= 0.5 and np.abs(image[10:, :2, 12:]).max() < 0.01
        shifts.append(inner)
    first, second = np.transpose(shifts)
    assert 0.4 < np.mean(first != 0) < 0.6
    assert first.min() < -0.2 and first.max() > 0.2
    assert abs(np.corrcoef(first[first != 0], second[first != 0])[0, 1]) < 0.4


@pytest.mark.parametrize("depth, damaged", [(32, 1), (8, 0)])
def test_one_section_of_a_thick_patch_is_damaged(depth, damaged):
    shape = (depth, 16, 16)
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    kinds = set()
    for seed in range(20):
        damage = drawn(only(sections=1.0), seed, shape)
        out = change_intensities(move_voxels(image.copy(), damage, order=1), damage)
        changed = np.any(out != image, axis=(1, 2)).sum()
        if damage.section and damage.section.kind == "shifted" and not any(damage.section.shift):
            continue
        assert changed == damaged
        kinds |= {damage.section.kind} if damage.section else set()
    assert kinds == ({"missing", "noisy", "shifted"} if damaged else set())


def test_sections_are_left_out_up_to_a_thickness():
    augment = only(thickness=50.0)
    shape = (32, 64, 64)
    strides = {
        size: [draw(np.random.default_rng(s), shape, augment, size).stride for s in range(200)]
        for size in ((5, 5, 5), (40, 6, 6), None)
    }
    assert set(strides[None]) == set(strides[40, 6, 6]) == {1}
    assert max(strides[5, 5, 5]) == 10 and 0.4 < np.mean(np.array(strides[5, 5, 5]) == 1) < 0.75
    flat = [draw(np.random.default_rng(s), (1, 64, 64), augment, (5, 5, 5)) for s in range(20)]
    assert {found.stride for found in flat} == {1}


def test_noise_leaves_the_deviation_as_it_is():
    noisy = only(noise=1.0, probability=1.0)
    image = np.random.default_rng(2).normal(size=(16, 64, 64)).astype(np.float32)
    deviations = [change_intensities(image, drawn(noisy, seed)).std() for seed in range(6)]
    assert deviations == pytest.approx([1] * 6, rel=0.02)


@pytest.mark.parametrize("shape", [(24, 48, 48), (1, 64, 64)])
def test_a_sheath_is_background_and_partly_dark(shape):
    covered = []
    for seed in range(12):
        image, label = np.full(shape, 1.0, np.float32), np.ones(shape, np.uint8)
        add_sheath(image, label, seed)
        again, same = np.full(shape, 1.0, np.float32), np.ones(shape, np.uint8)
        add_sheath(again, same, seed)
        np.testing.assert_array_equal(image, again)
        assert (image[label == 1] <= 1).all()
        if 0.05 < (label == 0).mean() < 1:
            assert image[label == 0].min() < -0.5
        covered.append((label == 0).mean())
    assert 0 < np.mean(covered) < 0.9 and np.ptp(covered) > 0.1


def test_a_sheath_annotates_nothing():
    image, label = np.ones((24, 48, 48), np.float32), np.full((24, 48, 48), 255, np.uint8)
    label[3] = 1
    for seed in range(12):
        add_sheath(image, label, seed)
    assert (label[3] != 255).all() and (np.delete(label, 3, 0) == 255).all()


def test_one_switch_leaves_the_other_draws_as_they_were():
    full = Augment(noise=0.5, blur=1.0, gamma=0.3, probability=1, sections=1.0, myelin=1.0)
    less = Augment(noise=0.0, blur=1.0, gamma=0.3, probability=1, rotations=False)
    for seed in range(10):
        a, b = drawn(full, seed), drawn(less, seed)
        assert (a.flips, a.gain, a.offset, a.exponent, a.blur) == (
            b.flips,
            b.gain,
            b.offset,
            b.exponent,
            b.blur,
        )
