"""More than two classes, more than one channel: the whole road, in Python and by the command."""

import json

import keras
import numpy as np
import pytest
from command import quick_recipe, volseg
from networks import shallow_networks
from scipy import ndimage

from volseg_keras import (
    Augment,
    Jaccard,
    PatchSampler,
    build_model,
    export_model,
    fit,
    load_pretrained,
    open_volume,
    phantom,
    predict_volume,
    save_volume,
    segmentation_scores,
)
from volseg_keras.networks.models import metadata
from volseg_keras.pretrained.stored_facts import StoredFacts
from volseg_keras.volumes.intensity import IntensityStatistics


def three_classes(shape, seed=0):
    """A phantom with background, mitochondria and what else is dark: membranes, lysosomes."""
    image, label = phantom(shape, seed)
    dark = ndimage.gaussian_filter(image, 1) < 112
    return image, np.where(label, 1, 2 * dark).astype(np.uint8)


IMAGE, LABEL = three_classes((16, 64, 96))
# A second channel as of another detector: other grey levels, the other contrast.
BOTH = np.stack([IMAGE, 3000 - 10.0 * IMAGE], -1).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quick_recipe(), shallow_networks():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a network of two channels and three classes."""
    folder = tmp_path_factory.mktemp("two channels") / "run"
    keras.utils.set_random_seed(0)
    model = build_model("C", num_classes=3, in_channels=2)
    options = {"recipe": "fast", "steps": 2, "steps_per_epoch": 2, "hold_out": "x:0:32"}
    summary = fit(model, BOTH, LABEL, output=folder, **options)
    assert 0 < summary["held_out_jaccard"] < 1 and np.shape(summary["normalization"]["mean"]) == (
        2,
    )
    return folder


def test_each_channel_keeps_its_statistics(run):
    about = metadata(load_pretrained(run))
    assert (about.channels, about.num_classes) == (2, 3)
    found = IntensityStatistics.of(BOTH)
    mean, deviation = found.mean, found.deviation
    assert mean[1] == pytest.approx(3000 - 10 * mean[0], rel=0.01)
    assert about.normalization.mean == pytest.approx(mean, rel=1e-3)
    assert about.normalization.standard_deviation == pytest.approx(deviation, rel=1e-3)


@pytest.mark.parametrize(
    "options", [{}, {"scale": (1, 0.8, 1.2)}, {"normalization": "model", "tta": True}], ids=str
)
def test_volumes_of_channels_are_predicted(run, options):
    probability = predict_volume(run, BOTH[:2], engine="keras", **options)
    assert probability.shape == (2, 64, 96, 3)
    np.testing.assert_allclose(probability.sum(-1), 1, atol=1e-3)


def test_tiles_of_channels_give_what_the_whole_gives(run):
    wide = np.concatenate([BOTH[:2], BOTH[:2, ::-1], BOTH[:2]], axis=1)
    options = {"engine": "openvino", "zooms": (1,)}
    whole, tiled = (predict_volume(run, wide, tile=t, **options) for t in (None, (1, 128, 96)))
    assert np.abs(whole - tiled).mean() < 0.01


@pytest.mark.parametrize("volume", [IMAGE, np.concatenate([BOTH, BOTH], -1)])
def test_other_numbers_of_channels_are_refused_at_once(run, volume, tmp_path):
    with pytest.raises(ValueError, match="`model`.*2 channels"):
        predict_volume(run, volume)
    with pytest.raises(ValueError, match="`images`.* channels of `model`, 2"):
        fit(load_pretrained(run), volume, LABEL, output=tmp_path, steps=1)


def test_training_goes_on_from_a_model_of_two_channels(run, tmp_path):
    fit(load_pretrained(run), BOTH, LABEL, output=tmp_path, recipe="fast", steps=1)
    one, other = (metadata(load_pretrained(path)).normalization for path in (run, tmp_path))
    for mine, its in zip(one, other, strict=True):
        assert mine == pytest.approx(its)


@pytest.mark.parametrize("format", ["savedmodel", "onnx", "openvino"])
def test_exports_say_what_keras_says(run, format, tmp_path):
    if format == "onnx":
        pytest.importorskip("tf2onnx", reason="the extra onnx is not installed")
    path = tmp_path / ("model.onnx" if format == "onnx" else format)
    assert export_model(load_pretrained(run), path, format, card=StoredFacts.of(run).card) < 1e-3
    if format == "savedmodel":
        got, want = (predict_volume(saved, BOTH[:2], engine="keras") for saved in (path, run))
        np.testing.assert_allclose(got, want, atol=1e-4)


EVERYTHING = Augment(elastic=1.0, scale=1.1, gamma=0.5, blur=1.0, shading=0.5, probability=1.0)


@pytest.mark.parametrize("patch", [(32, 32), (16, 32, 32)])
@pytest.mark.parametrize("augment", [Augment(), EVERYTHING, Augment(myelin=1.0)])
def test_every_channel_is_augmented_as_if_it_were_alone(patch, augment):
    both = PatchSampler(BOTH, LABEL, patch, augment=augment)
    for channel in range(2):
        alone = PatchSampler(BOTH[..., channel], LABEL, patch, augment=augment)
        for number in range(4):
            np.testing.assert_array_equal(both[number].label, alone[number].label)
            got, want = both[number].image[..., channel], alone[number].image[..., 0]
            np.testing.assert_allclose(got, want, atol=1e-5)
    assert both.batch(0, 2)[0].shape == (2, *patch, 2)
    assert next(iter(both.tf_dataset(2)))[0].shape == (2, *patch, 2)


def test_the_metric_of_several_classes_is_their_mean():
    rng = np.random.default_rng(0)
    probability = rng.random((2, 8, 8, 3), np.float32)
    label = rng.integers(0, 3, (2, 8, 8))
    metric = Jaccard([1, 2])
    metric.update_state(label, probability)
    rows = segmentation_scores(label, probability.argmax(-1))["classes"]
    want = np.mean([row["jaccard"] for row in rows[1:]])
    assert float(metric.result()) == pytest.approx(want)
    again = Jaccard.from_config(metric.get_config())
    again.update_state(label, probability)
    assert float(again.result()) == pytest.approx(want)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of three classes, and what `volseg train` makes of them."""
    folder = tmp_path_factory.mktemp("three classes")
    save_volume(folder / "image.tif", IMAGE[:4])
    save_volume(folder / "label.tif", LABEL[:4])
    arguments = ("train", folder / "image.tif", folder / "label.tif", "--model", "C")
    arguments += ("--recipe", "fast", "--steps", 2, "--hold-out", "x:0:32")
    assert volseg(*arguments, "-o", folder / "run") == 0
    return folder


def test_the_command_predicts_and_scores_three_classes(files, capsys):
    labels, scores = files / "labels.tif", files / "scores.json"
    arguments = ("predict", files / "image.tif", "--model", files / "run", "-o", labels)
    assert volseg(*arguments, "--probability", "--threshold", "auto") == 0
    whole = open_volume(labels)[...]
    assert set(np.unique(whole)) <= {0, 1, 2}
    assert volseg(*arguments, "--resume") == 0
    assert (open_volume(labels)[...] == whole).mean() > 0.99
    assert volseg("evaluate", labels, files / "label.tif", "--json", scores) == 0
    rows = json.loads(scores.read_text())["classes"]
    assert (
        rows == segmentation_scores(LABEL[:4], open_volume(labels)[...], num_classes=3)["classes"]
    )
    assert volseg(*arguments, "--instances") == 2
    assert "`instances`. Expected a model of two classes" in capsys.readouterr().err


def test_a_model_of_three_classes_is_published(files):
    (files / "data.md").write_text("Phantoms.")
    arguments = ("publish", files / "run", files / "image.tif", files / "label.tif")
    assert volseg(*arguments, "-o", files / "C", "--about", files / "data.md") == 0
    card = (files / "C" / "card.md").read_text()
    assert "probabilities of background / class 1 / class 2." in card and "$" not in card
    test = json.loads((files / "C" / "metrics.json").read_text())["test"]
    rows = test["scores"]["as it is"]["classes"]
    assert len(rows) == 3
    want = np.mean([row["jaccard"] for row in rows[1:]])
    assert test["shifts"]["as it is"] == pytest.approx(want)
