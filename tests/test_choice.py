"""Which published model is chosen for which volume."""

from functools import partial

import numpy as np
import pytest
from command import volseg
from scipy import ndimage

from volseg_keras import Segmenter, open_volume, phantom, predict_volume, save_volume
from volseg_keras.pretrained import choice
from volseg_keras.pretrained.choice import BEST, choose_model, common_scale, rescaling
from volseg_keras.pretrained.network_dims import network_dims
from volseg_keras.pretrained.presets import published
from volseg_keras.pretrained.stored_facts import StoredFacts


@pytest.mark.parametrize(
    "shape, voxel_size, thickness, dims, told",
    [
        ((165, 768, 1024), (5, 5, 5), None, 3, "1.0 times"),
        ((165, 768, 1024), None, None, 3, "unknown"),
        ((165, 768, 1024), None, 1.2, 3, "1.2 pixels thick"),
        ((165, 768, 1024), None, 8.4, 2, "8.4 pixels thick"),
        ((20, 1024, 1024), (40, 5.9, 5.9), None, 2, "6.8 times"),
        ((200, 1024, 1024), (40, 5.9, 5.9), None, 2, "6.8 times"),
        ((10, 1024, 1024), None, 1.2, 2, "10 sections"),
        ((100, 64, 64), (15, 5, 5), None, 3, "3.0 times"),
    ],
)
def test_axes(shape, voxel_size, thickness, dims, told):
    found, why = network_dims(shape, voxel_size, thickness)
    assert found == dims and told in why


@pytest.mark.parametrize(
    "every, voxel_size, dims, told",
    [
        (1, None, 3, " pixels thick"),
        (8, None, 2, "pixels thick"),
        (8, (1e6, 1e6, 1e6), 2, "pixels thick"),  # what ITK writes where it knows none
        (8, (0.1, 0.1, 0.1), 2, "pixels thick"),  # IMOD
        (1, (40, 5, 5), 2, "8.0 times"),
        (1, (5, 5, 5), 3, "1.0 times"),
    ],
)
def test_a_model_is_chosen_for_a_volume(every, voxel_size, dims, told, tmp_path):
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 64, 64)), 6)
    image = np.rint(128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)[::every]
    volume = open_volume(save_volume(tmp_path / "a.tif", image, voxel_size=voxel_size))
    found = choose_model(volume)
    assert found.model in BEST[dims] and found.model.lower() in published()
    assert told in found.reason and "averaged with" in found.reason


def test_few_sections_are_for_2d_models():
    found = choose_model(phantom((16, 48, 48))[0][:7])
    assert found.models == (found.model,) and "averaged" not in found.reason


def test_what_is_published_is_averaged(monkeypatch):
    known = {"d": None, "mito-3d": None}
    monkeypatch.setattr("volseg_keras.pretrained.choice.published", lambda: known)
    assert choose_model(phantom((16, 48, 48))[0]).models == ("D",)


@pytest.mark.parametrize(
    "voxel_size, trained, dims, scale",
    [
        (None, (5, 5, 5), 3, (1, 1, 1)),
        ((5, 5, 5), None, 3, (1, 1, 1)),
        ((6, 6, 6), (5, 5, 5), 3, (1, 1, 1)),
        ((8, 8, 8), (5, 5, 5), 3, (1.6, 1.6, 1.6)),
        ((40, 6, 6), (5, 5, 5), 2, (1, 1, 1)),
        ((40, 40, 40), (5, 5, 5), 3, (1, 1, 1)),
        ((40, 10, 10), (5, 5, 5), 2, (1, 2, 2)),
        ((40, 3, 3), (14, 5.4, 5.4), 2, (1, 0.5556, 0.5556)),
    ],
)
def test_scale(voxel_size, trained, dims, scale):
    assert rescaling(voxel_size, trained, dims) == scale


@pytest.mark.parametrize(
    "entries, near, size",
    [
        ({}, (5, 5, 5), None),
        ({"voxel_size": [5, 5, 5]}, None, None),
        ({"voxel_size": [5, 5, 5]}, (40, 4, 4), (5, 5, 5)),
        ({"voxel_size_range": [[5, 5, 5], [40, 6, 6]]}, (8, 4, 5.5), (8, 5, 5.5)),
        ({"voxel_size_range": [[5, 5, 5], [40, 6, 6]]}, (50, 8, 8), (40, 6, 6)),
    ],
)
def test_a_model_of_several_voxel_sizes_sees_the_nearest(entries, near, size):
    assert StoredFacts.from_json(entries).nearest_voxel_size(near) == size


@pytest.mark.parametrize(
    "entries",
    [
        {"voxel_size": 5},
        {"voxel_size": [5, 0, 5]},
        {"voxel_size": [5, 5, None]},
        {"voxel_size": "5, 5, 5"},
        {"voxel_size_range": [[5, 5, 5]]},
        {"voxel_size_range": [[5, 5, 5], [5, 5]]},
    ],
    ids=str,
)
def test_stored_voxel_sizes_are_checked(entries):
    with pytest.raises(ValueError, match=r"`voxel_size`.*stored with run.*"):
        StoredFacts.from_json(entries, "run")


@pytest.mark.parametrize(
    "voxel_size, arguments, told, untold",
    [
        ((40, 5, 5), [], ["Model", "2D: sections of 40 nm are 8.0 times"], ["Rescaled"]),
        ((40, 10, 10), [], ["2D", "Rescaled by 1, "], []),
        ((40, 10, 10), ["--no-rescale"], ["2D"], ["Rescaled"]),
        ((40, 6, 6), ["--rescale"], ["2D", "Rescaled by 1, 1.0169, 1.0169"], []),
        ((40, 10, 10), ["--model", "D"], ["Rescaled by"], ["2D"]),
        (None, ["--model", "D"], [], ["Rescaled", "2D"]),
    ],
)
def test_a_volume_is_segmented_by_what_suits_it(
    voxel_size, arguments, told, untold, tmp_path, capsys
):
    image = phantom((16, 48, 48))[0]
    save_volume(tmp_path / "a.tif", image, voxel_size=voxel_size)
    assert volseg("predict", tmp_path / "a.tif", "-o", tmp_path / "b.tif", *arguments) == 0
    output = capsys.readouterr().out
    assert all(text in output for text in told), output
    assert not any(text in output for text in untold), output


@pytest.mark.parametrize(
    "voxel_size, scale",
    [
        (None, (1, 1, 1)),
        ((40, 6, 6), (1, 1, 1)),
        ((40, 10, 10), (1, 1.6949, 1.6949)),
        ((60, 5.5, 5.5), (1.5, 1, 1)),  # for the 3D model
        ((200, 10, 10), (1, 1.6949, 1.6949)),  # too thick for it
        ((40, 100, 100), (1, 1, 1)),
    ],
)
def test_the_scale_of_two_kinds_is_that_of_each(voxel_size, scale):
    assert common_scale(["mito-2d", "mito-3d"], voxel_size) == scale


def test_python_chooses_too(tmp_path):
    image = phantom((16, 48, 48))[0]
    volume = open_volume(save_volume(tmp_path / "a.tif", image, voxel_size=(40, 10, 10)))
    found = choose_model(volume)
    assert found.models == ("mito-2d", "mito-3d")
    want = predict_volume(list(found.models), volume, scale=(1, 1.6949, 1.6949))
    np.testing.assert_array_equal(predict_volume("auto", volume), want)
    np.testing.assert_array_equal(Segmenter()(volume), want)


@pytest.mark.parametrize("call", [Segmenter(), partial(predict_volume, "auto")])
def test_an_image_is_no_volume(call):
    with pytest.raises(ValueError, match=r"`volume`.*axes \(z, y, x\).*shape \(64, 64\)"):
        call(phantom((16, 64, 64))[0][0])


def test_sections_are_not_rescaled_for_a_2d_model(tmp_path, monkeypatch):
    image = phantom((16, 24, 24))[0]
    volume = open_volume(save_volume(tmp_path / "a.tif", image, voxel_size=(5, 7, 6)))
    sizes = ((40, 5, 5), (40, 5, 5))
    stored = {
        name: StoredFacts(voxel_size_range=sizes, spatial_dims=dims)
        for name, dims in (("two", 2), ("three", 3))
    }
    monkeypatch.setattr(StoredFacts, "of", stored.get)
    assert choice.scale_to(["two"], volume.voxel_size) == (1, 1.4, 1.2)
    assert choice.scale_to(["three"], volume.voxel_size) == (0.125, 1.4, 1.2)


def test_a_volume_that_has_too_much_foreground_is_told(tmp_path, capsys, monkeypatch):
    save_volume(tmp_path / "a.tif", phantom((16, 48, 48))[0])
    arguments = ["--model", "D", "--threshold", "0.000001"]
    monkeypatch.setattr("volseg_keras.cli.predict.SUSPICIOUS_FOREGROUND", 0.1)
    assert volseg("predict", tmp_path / "a.tif", "-o", tmp_path / "b.tif", *arguments) == 0
    assert "more than organelles usually fill" in capsys.readouterr().out
