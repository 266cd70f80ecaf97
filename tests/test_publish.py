import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tifffile
from command import quick_recipe
from networks import shallow_networks
from typer.testing import CliRunner

from volseg_keras import (
    build_model,
    fit,
    load_pretrained,
    open_volume,
    phantom,
    predict_volume,
    save_volume,
)
from volseg_keras.cli.command import app
from volseg_keras.inference.open_model import open_model
from volseg_keras.pretrained.checksums import CHECKSUMS, check_files, sha256
from volseg_keras.pretrained.presets import METADATA
from volseg_keras.publishing.publish import (
    ScoredVolume,
    annotated_part,
    given_test,
    publish,
    rounded,
    row_trained_as,
)
from volseg_keras.publishing.scoring import SHIFTS, scores_by_view, scores_under_shifts
from volseg_keras.publishing.zoo import ZOO
from volseg_keras.scores import segmentation_scores
from volseg_keras.volumes.dimensions import known_voxel_size

ELSEWHERE = """
import sys, numpy as np, tensorflow as tf
image, probability = (np.load(f"{sys.argv[1]}/test_{name}.npy") for name in ("input", "output"))
loaded = tf.saved_model.load(sys.argv[1])
np.testing.assert_allclose(loaded.serve(image)["probability"], probability, atol=1e-4)
assert "volseg_keras" not in sys.modules
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A model of a few steps, published by the command into a path with spaces."""
    folder = tmp_path_factory.mktemp("my models")
    image, label = phantom((32, 64, 96))
    keras.utils.set_random_seed(0)
    options = {"recipe": "fast", "steps": 2, "hold_out": "x:0:32"}
    with quick_recipe(), shallow_networks():
        fit(build_model("H"), image, label, output=folder / "run", **options)
    for name, array in zip(("image", "truth"), phantom((16, 64, 64), seed=1), strict=True):
        save_volume(folder / f"{name}.tif", array)
    (folder / "data.md").write_text("Phantoms, free to use.")
    arguments = ["publish", folder / "run", folder / "image.tif", folder / "truth.tif"]
    arguments += ["-o", folder / "H", "--about", folder / "data.md"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return folder / "H"


def test_everything_is_there_and_sums_are_those_of_sha256sum(published):
    subprocess.run(["sha256sum", "-c", "--quiet", CHECKSUMS], cwd=published, check=True)
    names = {path.name for path in published.iterdir()}
    files = {"model.keras", "saved_model.pb", "variables", "card.md", "metrics.json", "curve.png"}
    assert files | {"history.csv", "test_input.npy", "test_output.npy", CHECKSUMS} <= names
    card = (published / "card.md").read_text()
    assert "Phantoms, free to use." in card and "$" not in card
    assert "| contrast inverted |" in card and "| averaged over flips |" in card


def test_scores_are_those_of_prediction(published):
    metrics = json.loads((published / "metrics.json").read_text())
    image, truth = phantom((16, 64, 64), seed=1)
    labels = predict_volume(published, image).argmax(-1)
    hits = np.count_nonzero(labels & truth)
    want = hits / np.count_nonzero(labels | truth)
    plain = metrics["test"]["scores"]["as it is"]["classes"][1]["jaccard"]
    assert plain == pytest.approx(want) == metrics["test"]["shifts"]["as it is"]
    assert 0 < metrics["threshold"] < 1
    told = json.loads((published / METADATA).read_text())
    assert told["threshold"] == metrics["threshold"]


def test_the_test_vector_is_reproduced_where_this_package_is_not_imported(published, tmp_path):
    subprocess.run([sys.executable, "-c", ELSEWHERE, published], check=True, cwd=tmp_path)
    image, probability = (np.load(published / f"test_{name}.npy") for name in ("input", "output"))
    again = load_pretrained(published)(image, training=False)
    np.testing.assert_allclose(again, probability, atol=1e-5)


def test_what_is_not_annotated_does_not_count(published):
    image, truth = phantom((16, 64, 64), seed=1)
    half = truth.copy()
    half[8:] = 255
    segmenter = open_model(published)
    labels = predict_volume(published, image).argmax(-1).astype(np.uint8)
    want = segmentation_scores(truth[:8], labels[:8])
    assert scores_by_view(segmenter, image, half, 0.5)["as it is"] == want
    jaccard = want["classes"][1]["jaccard"]
    assert scores_under_shifts(segmenter, image, half)["as it is"] == pytest.approx(jaccard)


def test_a_change_that_leaves_no_annotated_section_has_no_score(published):
    image, truth = phantom((16, 64, 64), seed=1)
    truth[np.arange(16) != 5] = 255
    found = scores_under_shifts(open_model(published), image, truth)
    assert {*SHIFTS} - {*found} == {"every 8th section alone"}


def test_no_folder_is_replaced_but_a_published_model(published, monkeypatch):
    run = published.parent / "run"
    tests = [ScoredVolume("phantom", *phantom((16, 64, 64), seed=1))]
    monkeypatch.setattr("volseg_keras.publishing.publish.scores_by_view", None)  # is not reached
    with pytest.raises(FileExistsError, match="`output`.*without SHA256SUMS"):
        publish(run, published.parent, tests)
    with pytest.raises(FileExistsError, match="`output`"):
        publish(run, run, tests)
    assert (run / "checkpoint.h5").is_file() and (published / CHECKSUMS).is_file()


def test_a_card_without_words_on_the_data_is_refused_first(published, tmp_path):
    tests = [ScoredVolume("phantom", *phantom((16, 64, 64), seed=1))]
    with pytest.raises(ValueError, match="`about`"):
        publish(published.parent / "run", tmp_path / "out", tests)
    assert list(tmp_path.iterdir()) == []


def test_of_a_volume_with_few_annotated_sections_the_part_around_them_is_scored():
    image, truth = phantom((90, 16, 16), seed=1)
    known = np.full_like(truth, 255)
    known[40:42] = truth[40:42]
    part = annotated_part(ScoredVolume("phantom", image, known))
    np.testing.assert_array_equal(part.image, image[16:66])
    np.testing.assert_array_equal(part.truth[24:26], truth[40:42])
    whole = ScoredVolume("phantom", image, truth)
    assert annotated_part(whole).image.shape == image.shape


def test_a_model_is_published_to_the_working_directory(published, tmp_path, monkeypatch):
    """Of which the last name is "." and the folder itself holds the work."""
    scores = json.loads((published / "metrics.json").read_text())["test"]
    monkeypatch.setattr(
        "volseg_keras.publishing.publish.scores_by_view", lambda *_, **__: scores["scores"]
    )
    monkeypatch.setattr(
        "volseg_keras.publishing.publish.scores_under_shifts", lambda *_, **__: scores["shifts"]
    )
    here = shutil.copytree(published, tmp_path / "H")
    monkeypatch.chdir(here)
    tests = [ScoredVolume("phantom", *phantom((16, 64, 64), seed=1))]
    publish(published.parent / "run", ".", tests, about="anew")
    check_files(here)
    assert "anew" in (here / "card.md").read_text() and list(tmp_path.iterdir()) == [here]


def test_sums_of_binary_mode_are_read_too(published, tmp_path):
    folder = shutil.copytree(published, tmp_path / "H")
    sums = (folder / CHECKSUMS).read_text().replace("  ", " *")
    (folder / CHECKSUMS).write_text(sums)
    check_files(folder)
    assert load_pretrained(folder).count_params() == load_pretrained(published).count_params()


@pytest.mark.parametrize("name", ["model.keras", "variables/variables.data-00000-of-00001"])
def test_one_byte_changed_is_refused_with_both_hashes(published, tmp_path, name):
    folder = shutil.copytree(published, tmp_path / "H")
    before = sha256(folder / name)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    after = sha256(folder / name)
    if name != "model.keras":
        (folder / "model.keras").unlink()
    with pytest.raises(ValueError, match=f"{name}.*{before}.*{after}"):
        predict_volume(folder, phantom((16, 32, 32))[0])


def test_a_missing_or_an_unlisted_file_is_refused(published, tmp_path):
    folder = shutil.copytree(published, tmp_path / "H")
    (folder / "history.csv").unlink()
    with pytest.raises(ValueError, match=r"history\.csv.*no such file"):
        check_files(folder)
    with pytest.raises(ValueError, match=r"SHA256SUMS lists.*other\.keras"):
        (folder / "other.keras").write_bytes(b"")
        check_files(folder, ["other.keras"])


def test_no_two_rows_are_taken_for_one_another():
    told = [(row_trained_as(row), row.classes) for row in ZOO.values()]
    assert len(set(told)) == len(told)


def test_a_run_of_another_row_is_refused(published, tmp_path):
    tests = [ScoredVolume("phantom", *phantom((16, 64, 64), seed=1))]
    told = "`run`.*training.tif without x:0:256.*recipe fast, seed 0, .*without x:0:32"
    with pytest.raises(ValueError, match=told):
        publish(published.parent / "run", tmp_path / "epfl-mito", tests, row=ZOO["epfl-mito"])


def test_the_thickness_of_sections_that_a_file_does_not_state_is_measured(tmp_path):
    image = phantom((32, 96, 96), seed=1)[0]
    size = {"axes": "ZYX", "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, resolution=(100, 100), metadata=size)
    opened = open_volume(tmp_path / "a.tif")
    assert opened.voxel_size is None
    test = given_test(opened, (image > 0).astype(np.uint8))
    assert test.voxel_size == known_voxel_size(opened) is not None


@pytest.mark.parametrize(
    "change, dtype, name",
    [
        ({"held_out_jaccard": None}, np.uint8, "run"),
        ({"variant": "mine"}, np.uint8, "run"),
        ({}, np.uint16, "image"),
        ({}, np.uint8, "label"),
    ],
)
def test_what_a_card_could_not_tell_is_refused_first(change, dtype, name, published, tmp_path):
    run = published.parent / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    (tmp_path / "metrics.json").write_text(json.dumps({**metrics, **change}))
    wrong = ScoredVolume("wrong", np.ones((4, 4, 4), dtype), np.ones((4, 4)))
    with pytest.raises(ValueError, match=f"Invalid value for `{name}`"):
        publish(tmp_path, tmp_path / "out", [wrong])
    assert not (tmp_path / "out").exists()


def test_weights_are_rounded_where_float16_holds_them():
    weight = np.array([0.1, -3.0, 1e5, -1e5, 65504.0], np.float32)
    found = rounded(weight)
    assert found.dtype == np.float32 and found[2:].tolist() == weight[2:].tolist()
    np.testing.assert_allclose(found, weight, rtol=1e-3)
    assert found[0] != weight[0]
