"""`fit` with `model="auto"`: the start, the sections, the parts of a training."""

import json

import numpy as np
import pytest
from command import quick_recipe, volseg

from volseg_keras import build_model, open_volume, phantom, save_volume
from volseg_keras.networks.models import with_normalization
from volseg_keras.pretrained import presets
from volseg_keras.training.start import Candidate, resampled_volume, scales, with_new_head
from volseg_keras.training.volumes import LabelledVolume
from volseg_keras.volumes.dimensions import network_dims
from volseg_keras.volumes.intensity import Intensity

IMAGE, LABEL = phantom((16, 64, 64), seed=0)
LABEL = (LABEL > 0).astype(np.uint8)
ANNOTATED = [2, 6, 9, 13]


def sparse(label=LABEL, sections=ANNOTATED, other=255):
    """Labels of some sections."""
    labels = np.full_like(label, other)
    labels[sections] = label[sections]
    return labels


SHARE = LABEL[ANNOTATED].mean()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder of published models: one that marks what is dark, and one that marks everything."""
    folder = tmp_path_factory.mktemp("published")
    for name, bias in (("C", 0.0), ("D", 9.0)):
        (folder / name).mkdir()
        model = build_model(name)
        head = model.get_layer("head_conv")
        kernel, offset = head.get_weights()
        head.set_weights([kernel, offset + np.array([-bias, bias], np.float32)])
        with_normalization(model, 128.0, 40.0).save(folder / name / "model.keras")
        told = {"variant": name.lower(), "voxel_size": [20.0, 5.0, 5.0]}
        (folder / name / "metrics.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(autouse=True)
def own_models(published, monkeypatch):
    monkeypatch.setattr(presets, "PUBLISHED", (published,))


@pytest.mark.parametrize(
    "shape, voxel_size, dims, why",
    [
        ((20, 99, 99), None, 2, "20 sections"),
        ((165, 99, 99), None, 3, "unknown"),
        ((165, 99, 99), (5, 5, 5), 3, "5 nm"),
        ((165, 99, 99), (40, 6, 6), 2, "6.7 times"),
        ((20, 99, 99), (5, 5, 5), 2, "20 sections"),
    ],
)
def test_two_or_three_axes(shape, voxel_size, dims, why):
    found, reason = network_dims(shape, voxel_size)
    assert found == dims and why in reason


def labelled(voxel_size=None):
    return LabelledVolume("a", IMAGE, sparse(), Intensity.of(IMAGE), voxel_size)


@pytest.mark.parametrize(
    "voxel_size, tried",
    [
        (None, [(1, 1, 1)]),
        ((20, 5.9, 5.9), [(1, 1, 1)]),
        ((20, 10, 10), [(1, 1, 1), (1, 2.0, 2.0)]),
        ((20, 50, 50), [(1, 1, 1)]),
    ],
)
def test_a_model_is_tried_at_its_own_voxel_size(voxel_size, tried):
    assert scales("C", [labelled(voxel_size)], 2) == tried


def test_a_resampled_stack_keeps_its_labels_and_intensity():
    volume = resampled_volume(labelled((20.0, 10.0, 10.0)), (1, 2.0, 2.0))
    assert volume.image.shape == volume.label.shape == (16, 128, 128)
    assert volume.image.dtype == np.uint8 and volume.voxel_size == (20, 5, 5)
    np.testing.assert_array_equal(volume.label[:, ::2, ::2], sparse())
    assert abs(float(volume.image.mean()) - IMAGE.mean()) < 1
    assert volume.intensity == labelled().intensity


@pytest.mark.parametrize("jaccard, finds", [(0.5, True), (0.11, False)])
def test_a_start_must_do_better_than_marking_everything(jaccard, finds):
    assert Candidate("C", (1, 1, 1), jaccard, 0.5, 0.1).finds == finds


def test_another_number_of_classes_keeps_all_but_the_head():
    model = with_normalization(build_model("D"), 128.0, 40.0)
    new = with_new_head(model, 4)
    assert new.output_shape[-1] == 4
    pairs = list(zip(model.layers[-1].layers, new.layers[-1].layers, strict=True))
    assert len(pairs) > 50
    for old, layer in pairs:
        for a, b in zip(old.get_weights(), layer.get_weights(), strict=True):
            assert a.shape == b.shape and (a == b).all() or old.name == "head_conv"


def run_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("other, told", [(0, True), (255, False)])
def test_the_shortest_command(other, told, tmp_path, capsys):
    save_volume(tmp_path / "stack.tif", IMAGE)
    save_volume(tmp_path / "labels.tif", sparse(other=other))
    files, run = (tmp_path / "stack.tif", tmp_path / "labels.tif"), tmp_path / "run"
    with quick_recipe(), quick_recipe("finetune"):
        assert volseg("train", *files, "-o", run, "--steps", 5) == 0
    out = capsys.readouterr().out
    assert "2D: the stack has 16 sections" in out and "section 9 chooses" in out
    assert ("12 of 16 sections have no label" in out) == told
    about, first = run_of(run), run_of(run / "parts" / "1")
    assert about["hold_out"] == first["hold_out"] == ["z=9"]
    assert (first["steps"], about["steps"]) == (2, 3)
    assert about["threshold"] == first["threshold"] and about["held_out_jaccard"] is not None
    looked_at = json.loads((run / "start.json").read_text())["looked_at"]
    assert {row["name"] for row in looked_at} == {"C", "D"}
    assert all(row["chance"] == pytest.approx(SHARE, abs=1e-3) for row in looked_at)
    labels = tmp_path / "found.tif"
    assert volseg("predict", files[0], "--model", run, "--threshold", "auto", "-o", labels) == 0
    assert open_volume(labels).shape == IMAGE.shape
