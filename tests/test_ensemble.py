"""Models that are averaged, of both kinds."""

import numpy as np
import pytest
from command import volseg

from volseg_keras import load_pretrained, open_volume, phantom, predict_volume, save_volume
from volseg_keras.inference.engines.wrappers import InThickTiles
from volseg_keras.inference.section_smoothing import SectionSmoothing
from volseg_keras.networks.models import split_normalization, with_normalization

PAIR = ["mito-2d", "mito-3d"]


def load_network(name):
    """A published network without its constants."""
    return split_normalization(load_pretrained(name))[0]


@pytest.fixture(scope="module")
def image():
    return phantom((32, 96, 80), seed=2)[0]


@pytest.mark.parametrize("models", [PAIR, ["G", "H"], ["H", "mito-3d"]])
@pytest.mark.parametrize("options", [{}, {"scale": (1, 0.8, 0.8), "tta": False}])
def test_the_mean_is_that_of_each_by_itself(models, options, image):
    together = predict_volume(models, image, **options)
    apart = [predict_volume(model, image, **options) for model in models]
    np.testing.assert_allclose(together, np.mean(apart, axis=0), atol=0.01)
    np.testing.assert_array_equal(together, predict_volume(models[:], image, **options))


def test_the_order_of_models_makes_no_difference(image):
    found = [predict_volume(models, image) for models in (PAIR, PAIR[::-1])]
    np.testing.assert_allclose(*found, atol=1e-6)


@pytest.mark.parametrize("store", [[], ["--resume"]])
def test_predict_averages_both_kinds(store, image, tmp_path, capsys):
    save_volume(tmp_path / "a.tif", image)
    named = [part for model in PAIR for part in ("--model", model)]
    arguments = ["predict", tmp_path / "a.tif", "-o", tmp_path / "b.tif", "--probability"]
    assert volseg(*arguments, *named, *store) == 0
    assert "averaged over 2 models" in capsys.readouterr().out
    found = open_volume(tmp_path / "b_probability.tif")[...]
    np.testing.assert_allclose(found, predict_volume(PAIR, image)[..., 1], atol=0.01)


def test_padding_is_background_for_both(image):
    framed = np.pad(image, ((4, 4), (32, 32), (32, 32)))
    found = predict_volume(PAIR, framed)[..., 1]
    inside = found[4:-4, 32:-32, 32:-32].copy()
    found[4:-4, 32:-32, 32:-32] = 0
    assert found.max() < 0.05 and inside.max() > 0.5


def test_models_trained_with_the_same_statistics_predict_with_them(image, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        with_normalization(load_network("D"), 90.0, 25.0).save(tmp_path / name / "model.keras")
        (tmp_path / name / "metrics.json").write_text('{"normalize": "model"}')
    pair = [tmp_path / "one", tmp_path / "other"]
    alone = predict_volume(pair[0], image)
    np.testing.assert_allclose(predict_volume(pair, image), alone, atol=1e-6)
    assert np.abs(alone - predict_volume("D", image, smoothing=0, zooms=(1,))).max() > 0.01
    mixed = [pair[0], "D"]
    with pytest.raises(ValueError, match="`normalization`. Expected .volume. or"):
        predict_volume(mixed, image)
    assert predict_volume(mixed, image, normalization="volume").shape == (*image.shape, 2)


@pytest.mark.parametrize("sigma", [0, 1.5])
@pytest.mark.parametrize("voxels", [1, 600, 10**6])
def test_sections_of_a_thick_tile_are_predicted_in_turn(sigma, voxels):
    tile = np.random.default_rng(0).normal(size=(10, 16, 16)).astype(np.float32)
    seen = []

    def engine(sections):
        seen.append(len(sections))
        return sections[..., None]

    smoothing = SectionSmoothing(sigma)
    found = InThickTiles(engine, voxels, smoothing, None)(tile)
    assert sum(seen) == len(tile) and max(seen) == min(10, max(1, voxels // 256))
    whole = [values for _, values in smoothing.slabs([(0, tile[..., None])], 0, 10)]
    np.testing.assert_allclose(found, np.concatenate(whole) if sigma else tile[..., None])
