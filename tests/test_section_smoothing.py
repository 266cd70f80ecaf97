import shutil

import numpy as np
import pytest
from command import volseg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volseg_keras import Segmenter, open_volume, predict_volume, save_volume
from volseg_keras.datasets.phantom import phantom
from volseg_keras.inference.jobs.blocks import block_tile, blocks, predict_block
from volseg_keras.inference.section_smoothing import SectionSmoothing
from volseg_keras.inference.tiled_prediction import halo_of
from volseg_keras.pretrained.presets import model_file
from volseg_keras.pretrained.stored_facts import StoredFacts
from volseg_keras.publishing.scoring import framed, noisy
from volseg_keras.volumes.section_thickness import section_thickness

TISSUE = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 160, 160)), 5)
GREY = np.clip(128 + 40 * TISSUE / TISSUE.std(), 0, 255).astype(np.uint8)


def smoothed(values, sigma, cuts=()):
    starts = [0, *cuts, len(values)]
    slabs = [(a, values[a:b]) for a, b in zip(starts, starts[1:], strict=False)]
    found = list(SectionSmoothing(sigma).slabs(slabs, 0, len(values)))
    assert [z for z, _ in found] == np.cumsum([0, *(len(v) for _, v in found)])[:-1].tolist()
    return np.concatenate([values for _, values in found])


@pytest.mark.parametrize("every", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        noisy,
        lambda image: image.astype(np.uint16) * 257,
        lambda image: 255 - image,
        lambda image: framed(image, image)[0],
        lambda image: np.concatenate([image, np.zeros_like(image)]),
    ],
)
def test_sections_are_as_thick_as_they_are_apart(every, change):
    assert section_thickness(change(GREY)[::every]) == pytest.approx(every, rel=0.25)


@pytest.mark.parametrize(
    "volume, thickness",
    [
        (GREY[:1], None),
        (np.zeros((9, 20, 20), np.uint8), None),
        (np.repeat(GREY[:1], 9, axis=0), 0),
        (np.random.default_rng(0).normal(size=(9, 1, 64)), None),
        (np.stack([GREY] * 2, axis=-1), pytest.approx(1, rel=0.25)),
    ],
)
def test_thickness_of_odd_stacks(volume, thickness):
    assert section_thickness(volume) == thickness


@pytest.mark.parametrize("every, sigma", [(1, 4), (4, 1), (8, 0.5)])
def test_thick_sections_are_smoothed_less(every, sigma):
    found = SectionSmoothing.of(GREY[::every], 4).sigma
    assert found == pytest.approx(sigma, rel=0.3)
    assert SectionSmoothing.of(GREY[::every], 0).sigma == 0


def test_sections_with_nothing_in_common_are_not_smoothed():
    noise = np.random.default_rng(0).normal(size=(9, 64, 64))
    assert SectionSmoothing.of(ndimage.gaussian_filter(noise, (0, 9, 9)), 4).sigma == 0


@given(
    st.integers(1, 30),
    st.floats(0.3, 6),
    st.sampled_from([np.uint8, np.float32]),
    st.integers(1, 3),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_slabs_do_not_show(depth, sigma, dtype, maps, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, depth - 1)), max_size=6)) - {depth})
    values = np.random.default_rng(depth).uniform(0, 255, (depth, 3, 4, maps)).astype(dtype)
    whole = smoothed(values, sigma)
    assert whole.dtype == dtype and whole.shape == values.shape
    np.testing.assert_allclose(smoothed(values, sigma, cuts), whole, atol=1e-3)
    same = np.repeat(values[:1], depth, axis=0)
    np.testing.assert_allclose(smoothed(same, sigma), same, atol=1e-3)


def test_it_is_the_gaussian_of_scipy_away_from_the_ends():
    values = np.random.default_rng(0).random((40, 5, 6, 1), np.float32)
    want = ndimage.gaussian_filter1d(values, 3, axis=0, truncate=2)
    np.testing.assert_allclose(smoothed(values, 3)[6:-6], want[6:-6], atol=1e-6)


@pytest.mark.parametrize("dtype, maps", [(np.uint8, 1), (np.float32, 1), (np.float32, 3)])
def test_padding_neither_counts_nor_changes(dtype, maps):
    values = np.full((9, 4, 6, maps), 100, dtype)
    mask = np.zeros((9, 4, 6), bool)
    mask[[0, 4, 8]], mask[:, :, 0] = True, True
    values[mask] = 0
    slabs = [(0, values[:5]), (5, values[5:])]
    found = list(SectionSmoothing(2).slabs(slabs, 0, 9, lambda a, b: mask[a:b]))
    np.testing.assert_allclose(np.concatenate([v for _, v in found]), values, atol=1e-4)


def test_what_is_found_on_one_section_only_fades_among_empty_ones():
    values = np.zeros((9, 4, 4, 1), np.uint8)
    values[4, 1:3, 1:3] = 255
    assert smoothed(values, 1)[4].max() < 128


@pytest.mark.parametrize("zooms", [(1,), (1, 0.75)])
@pytest.mark.parametrize("store", [[], ["--resume"]])
def test_blank_sections_stay_background(zooms, store, tmp_path):
    image = phantom((40, 64, 64), 1)[0]
    blank = np.concatenate([image[:20], np.zeros_like(image[:4]), image[20:]])
    blank = np.pad(blank, ((0, 0), (0, 0), (20, 20)))
    save_volume(tmp_path / "a.tif", blank)
    many = ",".join(map(str, zooms))
    arguments = ("--smoothing", 4, "--zooms", many, "--threshold", 0.02, *store)
    assert (
        volseg("predict", tmp_path / "a.tif", "--model", "C", "-o", tmp_path / "b.tif", *arguments)
        == 0
    )
    found = open_volume(tmp_path / "b.tif")[...]
    assert found.any() and not found[20:24].any() and not found[:, :, :18].any()


@given(st.integers(1, 70), st.floats(0.3, 9))
@settings(max_examples=20, deadline=None)
def test_blocks_give_what_the_whole_gives(depth, sigma):
    shape = (depth, 40, 50)
    volume = np.random.default_rng(depth).integers(1, 255, shape).astype(np.uint8)
    size, found = (16, 32, 32), np.zeros(shape, np.uint8)
    halo = halo_of(2)
    options = block_tile(shape, size, 2, 100_000, halo), halo, SectionSmoothing(sigma), None
    for block in blocks(shape, size):
        found[block] = predict_block(lambda t: t[..., None], volume, block, 2, *options)[..., 0]
    want = smoothed(volume[..., None], sigma)[..., 0]
    assert np.abs(found.astype(int) - want).max() <= 1  # sums of another order are rounded


def test_a_2d_model_is_smoothed_as_its_folder_says_or_as_asked(tmp_path):
    volume, model = phantom((16, 48, 48))[0], "C"
    apart = predict_volume(model, volume, smoothing=0, zooms=(1,))
    together = predict_volume(model, volume, smoothing=2, zooms=(1,))
    sigma = SectionSmoothing.of(volume, 2).sigma
    levels = np.rint(apart[..., 1:] * 256 - 0.5).astype(np.uint8)
    np.testing.assert_allclose(
        together[..., 1], (smoothed(levels, sigma)[..., 0] + 0.5) / 256, atol=1e-6
    )
    half = Segmenter(model, smoothing=2, zooms=(1,))(volume, on_progress=None)
    np.testing.assert_array_equal(half, together)
    with pytest.raises(ValueError, match="smoothing"):
        predict_volume(model, volume, smoothing=-1)


@pytest.mark.parametrize("store", [[], ["--resume"]])
def test_predict_says_that_it_smooths(store, tmp_path, capsys):
    save_volume(tmp_path / "a.tif", phantom((16, 48, 48))[0])
    arguments = ["predict", tmp_path / "a.tif", "--model", "C", "-o", tmp_path / "b.tif"]
    assert volseg(*arguments, "--probability", "--smoothing", 0, "--zooms", 1, *store) == 0
    assert "neighbouring sections" not in capsys.readouterr().out
    apart = open_volume(tmp_path / "b_probability.tif")[...]
    assert volseg(*arguments, "--probability", "--smoothing", 3, "--zooms", 1, *store) == 0
    assert "averaged over neighbouring sections, by a Gaussian" in capsys.readouterr().out
    assert (open_volume(tmp_path / "b_probability.tif")[...] != apart).any()


def test_what_is_found_at_several_zooms_is_averaged():
    volume = phantom((16, 64, 80))[0]
    one, other, both = (
        predict_volume("C", volume, engine="keras", scale=(1, 0.9, 0.9), zooms=zooms)
        for zooms in ((1,), (0.75,), (1, 0.75))
    )
    assert np.abs(one - other).max() > 0.05
    np.testing.assert_allclose(both, (one + other) / 2, atol=0.02)


@pytest.mark.parametrize("model", ["H", ["H", "mito-3d"]])
@pytest.mark.parametrize("store", [[], ["--resume"]])
@pytest.mark.parametrize("option", [("smoothing", 4), ("zooms", "1,0.75")])
def test_what_has_no_effect_on_a_3d_model_is_refused(model, store, option, tmp_path, capsys):
    save_volume(tmp_path / "a.tif", phantom((16, 48, 48))[0])
    (name, value), models = option, [f"--model={one}" for one in np.atleast_1d(model)]
    arguments = ["predict", tmp_path / "a.tif", *models, "-o", tmp_path / "b.tif", *store]
    assert volseg(*arguments, f"--{name}", value) == 2
    assert f"`{name}`. Expected none, or a 2D model" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif"]


def test_options_of_2d_models_suit_an_ensemble_with_one():
    volume = phantom((16, 48, 48))[0]
    one, other = (predict_volume(["H", "C"], volume, smoothing=pixels) for pixels in (0, 4))
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("zooms", [(), (0,), (1, 5)])
def test_wrong_zooms_are_refused(zooms):
    with pytest.raises(ValueError, match="`zooms`.*1/4 and 4"):
        predict_volume("C", phantom((16, 48, 48))[0], zooms=zooms)


def test_averaging_is_that_of_the_folder_unless_asked_otherwise(tmp_path):
    model, volume = tmp_path, phantom((16, 64, 64))[0]
    shutil.copy(model_file("C"), model)
    plain = predict_volume(model, volume)
    (model / "metrics.json").write_text('{"smoothing": 2, "zooms": [1, 0.75]}')
    stored = predict_volume(model, volume)
    np.testing.assert_array_equal(
        stored, predict_volume(model, volume, smoothing=2, zooms=(1, 0.75))
    )
    np.testing.assert_array_equal(plain, predict_volume(model, volume, smoothing=0, zooms=(1,)))
    assert np.abs(stored - plain).max() > 0.02
    for wrong in (
        '{"smoothing": -1}',
        '{"zooms": []}',
        '{"zooms": 1}',
        '{"smoothing": null}',
        '{"views": 0}',
        '{"noise": "low"}',
    ):
        (model / "metrics.json").write_text(wrong)
        with pytest.raises(ValueError, match="model.*smoothing.*zooms"):
            StoredFacts.of(model)


@pytest.mark.parametrize("sigma", np.linspace(0.3, 3, 12).tolist())
def test_a_mean_of_probabilities_is_one(sigma):
    """Not a little more, which `--instances` would refuse after all the work."""
    ones = np.ones((12, 8, 8, 1), np.float32)
    slabs = SectionSmoothing(sigma).slabs(iter([(0, ones)]), 0, 12, None)
    assert 1 - 1e-6 <= max(values.max() for _, values in slabs) <= 1
