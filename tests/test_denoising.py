import shutil

import numpy as np
import pytest
from command import volseg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volseg_keras import open_volume, predict_volume, save_volume
from volseg_keras.datasets.phantom import phantom
from volseg_keras.inference.denoising import Denoising
from volseg_keras.pretrained.presets import model_file
from volseg_keras.publishing.scoring import framed, noisy
from volseg_keras.volumes.intensity import IntensityStatistics
from volseg_keras.volumes.noise import noise_of

TISSUE = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(24, 96, 96)), 4)
GREY = np.clip(128 + 40 * TISSUE / TISSUE.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("levels", [0, 10, 25, 60])
@settings(max_examples=10, deadline=None)
@given(gain=st.floats(0.1, 100), offset=st.floats(-1000, 1000))
def test_noise_is_measured_whatever_the_grey_levels(levels, gain, offset):
    noise = np.random.default_rng(1).normal(0, levels, GREY.shape)
    found = noise_of((GREY + noise) * gain + offset)
    assert found == pytest.approx(levels / np.hypot(GREY[:, 24:72, 24:72].std(), levels), abs=0.05)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: framed(image, image)[0],
        lambda image: np.concatenate([image, np.zeros_like(image)]),
        lambda image: np.stack([image, GREY], axis=-1),
        lambda image: np.where(np.arange(len(image))[:, None, None] % 16 == 0, 0, image),
        lambda image: image.astype(np.uint16) * 257,
    ],
)
def test_padding_and_lost_sections_are_not_noise(change):
    assert noise_of(change(noisy(GREY))) == pytest.approx(noise_of(noisy(GREY)), abs=0.1)


@pytest.mark.parametrize("volume", [np.zeros((9, 20, 20), np.uint8), np.arange(8).reshape(1, 2, 4)])
def test_noise_of_odd_stacks(volume):
    assert noise_of(volume) is None


@pytest.mark.parametrize(
    "image, trained, smoothed",
    [
        (GREY, 0.3, False),
        (noisy(GREY), 0.3, True),
        (noisy(GREY), 0.6, False),  # the network has seen as much
        (noisy(GREY), None, False),
        (np.zeros_like(GREY), 0.3, False),
    ],
)
def test_what_is_noisier_than_in_training_is_smoothed(image, trained, smoothed):
    assert bool(Denoising.automatic(image, trained)) == smoothed


@pytest.mark.parametrize("every, along_z", [(1, 0.6), (2, 0.3), (4, 0.0)])
def test_thick_sections_are_not_mixed(every, along_z):
    assert Denoising.of_pixels(GREY[::every], 0.6).sigma == (along_z, 0.6, 0.6)
    assert Denoising.of_pixels(GREY[::every], 0.6, spatial_dims=2).sigma == (0, 0.6, 0.6)


@pytest.mark.parametrize(
    "image, scale, sigma",
    [
        (GREY, (0.3, 1, 1), (0.0, 0.6, 0.6)),  # the network sees thick sections
        (np.stack([GREY, GREY], axis=-1), (1, 1, 1), (0.0, 0.0, 0.0)),
        (GREY, (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)),  # averaging has taken the noise
    ],
)
def test_what_the_network_sees_is_smoothed(image, scale, sigma):
    assert Denoising.automatic(noisy(image), 0.3, scale).sigma == sigma


def test_smoothing_takes_the_noise_and_leaves_the_tissue():
    smooth = Denoising.of_pixels(noisy(GREY), 0.6)
    before, after = noisy(GREY).astype(np.float32) - GREY, smooth(noisy(GREY)) - GREY
    assert after.std() < 0.45 * before.std()
    assert np.abs(smooth(GREY) - GREY).mean() < 1.5
    channels = np.stack([GREY, GREY[::-1]], axis=-1)
    np.testing.assert_allclose(smooth(channels)[..., 0], smooth(GREY), atol=1e-4)


@pytest.mark.parametrize("every", [1, 4])
def test_contrast_is_that_of_the_image_without_its_noise(every):
    image = noisy(GREY)[::every]
    smooth = Denoising.of_pixels(image, 0.6)
    want = IntensityStatistics.of(smooth(image)).deviation
    assert IntensityStatistics.of(image).at_contrast(smooth.contrast).deviation == pytest.approx(
        want, rel=0.1
    )
    assert Denoising().contrast == 1


@pytest.fixture
def model(tmp_path):
    """G, published without it, with the noise of its training noted."""
    shutil.copy(model_file("G"), tmp_path)
    (tmp_path / "metrics.json").write_text('{"noise": 0.3}')
    return tmp_path


def test_a_noisy_volume_is_smoothed_unless_asked_otherwise(model):
    image = noisy(phantom((24, 64, 64))[0])
    plain, smoothed = (predict_volume(model, image, denoise=value) for value in (0, 0.6))
    assert np.abs(plain - smoothed).max() > 0.1
    np.testing.assert_array_equal(predict_volume(model, image), smoothed)
    np.testing.assert_array_equal(predict_volume("G", image), plain)
    for wrong in (-1, "much", float("nan")):
        with pytest.raises(ValueError, match="denoise"):
            predict_volume(model, image, denoise=wrong)


def test_padding_is_not_smoothed_into_tissue(model):
    image = noisy(phantom((24, 96, 96))[0])
    image[:, :32] = 0
    assert predict_volume(model, image)[:, :32, :, 1].max() < 0.01


@pytest.mark.parametrize("store", [[], ["--resume"]])
def test_predict_says_that_it_smooths(store, model, tmp_path, capsys):
    save_volume(tmp_path / "a.tif", image := noisy(phantom((24, 64, 64))[0]))
    arguments = ["predict", tmp_path / "a.tif", "--model", model, "-o", tmp_path / "b.tif"]
    assert volseg(*arguments, "--probability", *store) == 0
    assert "smoothed by a Gaussian of 0.6 x 0.6 x 0.6 voxels" in capsys.readouterr().out
    want = predict_volume(model, image)[..., 1]
    found = open_volume(tmp_path / "b_probability.tif")[...]
    np.testing.assert_allclose(found, want, atol=0.02)
    assert volseg(*arguments, "--denoise", 0, *store) == 0
    assert "smoothed" not in capsys.readouterr().out


def test_as_many_views_are_averaged_as_are_stored(model):
    image = phantom((24, 64, 64))[0]
    (model / "metrics.json").write_text('{"views": 4}')
    found = [predict_volume(model, image, tta=tta) for tta in (None, 4, False, 1, True, 16)]
    for one, other in ((0, 1), (2, 3), (4, 5)):
        np.testing.assert_array_equal(found[one], found[other])
    assert np.abs(found[0] - found[2]).max() > 0.02 < np.abs(found[0] - found[4]).max()
    np.testing.assert_array_equal(found[1], predict_volume(model, image, tta=np.int64(4)))
    with pytest.raises(ValueError, match="tta"):
        predict_volume(model, image, tta=-1)


@pytest.mark.parametrize(
    "first, then, good",
    [
        ([], [], True),
        ([], ["--tta"], False),
        ([], ["--no-tta"], True),
        ([], ["--denoise", 0], True),
        (["--tta"], [], True),
        (["--tta"], ["--tta"], True),
        (["--denoise", 0.6], ["--denoise", 0.6], True),
        (["--denoise", 0.6], ["--denoise", 0], False),
    ],
)
def test_a_job_is_resumed_with_options_that_mean_the_same(
    first, then, good, tmp_path, capsys, monkeypatch
):
    save_volume(tmp_path / "a.tif", phantom((16, 48, 48))[0])
    arguments = ["predict", tmp_path / "a.tif", "--model", "H", "-o", tmp_path / "b.tif"]

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("volseg_keras.inference.jobs.file_segmentation.run_job", stopped)
        assert volseg(*arguments, "--resume", *first) != 0
    assert (volseg(*arguments, "--resume", *then) == 0) == good
    assert good or "unfinished run" in capsys.readouterr().err
