"""What counts when labels are compared with the truth."""

import json

import numpy as np
import pytest
import tifffile
from command import volseg

from volseg_keras import phantom, save_volume
from volseg_keras.evaluation import evaluate

# Two objects in each of four sections.
TRUTH = np.zeros((4, 8, 8), np.uint8)
TRUTH[:, 1:4, 1:4] = TRUTH[:, 5:7, 5:7] = 1
PAINTED = TRUTH * np.array([0, 1, 0, 0], np.uint8)[:, None, None]
IDS = TRUTH.astype(np.uint32)
IDS[:, 5:] *= 7


def draft():
    found = TRUTH.copy()
    found[2:] = 255
    return found


@pytest.mark.parametrize(
    "truth, found, options, jaccard, scored, note",
    [
        (TRUTH, TRUTH, {}, 1.0, 1.0, None),
        (255 * TRUTH, TRUTH, {}, 1.0, 1.0, None),
        (PAINTED, TRUTH, {}, 0.25, 1.0, "3 of 4 sections of the truth are empty and count"),
        (
            PAINTED,
            TRUTH,
            {"skip_empty": True},
            1.0,
            0.25,
            "of the truth are empty: skipped",
        ),
        (TRUTH, draft(), {}, 1.0, 0.5, "50.0% of the prediction is 255"),
        (TRUTH, IDS, {"instances": True}, 1.0, 1.0, "of the prediction: ids as they are"),
    ],
    ids=["labels", "mask", "painted", "skipped", "draft", "instances"],
)
def test_what_counts(truth, found, options, jaccard, scored, note):
    result = evaluate(truth, found, **options)
    assert result.scores["classes"][1]["jaccard"] == jaccard
    assert result.scores["scored"] == scored == np.mean(result.truth != 255)
    assert any(note in line for line in result.notes) if note else not result.notes
    if options.get("instances"):
        assert result.scores["instances"]["matches"][0]["f1"] == 1


def test_instances_outside_what_counts_do_not():
    result = evaluate(PAINTED, IDS, instances=True, skip_empty=True)
    assert result.scores["instances"]["true"] == result.scores["instances"]["predicted"] == 2


def test_what_is_connected_outside_of_what_counts_is_not_one_instance():
    labels = np.zeros((6, 12, 12), np.uint8)
    labels[1:5, 1:4, 1:4] = labels[1:5, 8:11, 1:4] = labels[4, 1:11, 1:4] = 1  # U
    truth = np.full_like(labels, 255)
    truth[2] = labels[2]
    ids = labels.astype(np.uint16)
    ids[0, 0, 0] = 2
    for found in (labels, ids):
        scores = evaluate(truth, found, instances=True).scores["instances"]
        assert scores["true"] == scores["predicted"] == scores["matches"][1]["matched"] == 2
    # Ids of a truth are as they are, also where their parts are not connected.
    parts = np.zeros((6, 12, 12), np.uint16)
    parts[1:3, 1:4, 1:4] = parts[1:3, 8:11, 1:4] = 300
    parts[1:3, 5:7, 6:9] = 301
    for skip_empty in (False, True):
        options = {"instances": True, "skip_empty": skip_empty}
        scores = evaluate(parts, (parts > 0).astype(np.uint8), **options).scores["instances"]
        assert (scores["true"], scores["predicted"]) == (2, 3)
    skipped = evaluate(labels * (truth < 255), labels, instances=True, skip_empty=True)
    assert skipped.scores["instances"]["matches"][1]["f1"] == 1


def test_ids_of_8_bits_with_gaps_are_instances():
    ids = (30 * IDS).astype(np.uint8)
    scores = evaluate(ids, ids, instances=True).scores
    assert len(scores["classes"]) == 2 and scores["instances"]["true"] == 2


def test_a_truth_of_255_is_not_annotated():
    with pytest.raises(ValueError, match="`truth`.*255 everywhere"):
        evaluate(np.full_like(TRUTH, 255), TRUTH)
    truth = 255 * TRUTH
    truth[0] = 255
    (note,) = evaluate(truth, TRUTH).notes
    assert "255 fills 1 of 4 sections of the truth and counts as foreground" in note


def test_what_does_not_count_is_not_drawn():
    result = evaluate(PAINTED, TRUTH, skip_empty=True)
    assert result.counted_labels[PAINTED.any(axis=(1, 2))].any()
    assert not result.counted_labels[~PAINTED.any(axis=(1, 2))].any()


def test_sections_of_255_among_ids_of_objects_are_told():
    ids = IDS.copy()
    ids[0] = 255
    with pytest.warns(UserWarning, match="fills a section of the truth and counts as an object"):
        evaluate(ids, TRUTH, instances=True)


@pytest.mark.parametrize("truth", [TRUTH[:1], TRUTH[0], TRUTH[:3]])
def test_other_shapes_are_refused(truth):
    for options in ({}, {"instances": True}, {"skip_empty": True}):
        with pytest.raises(
            ValueError, match="`(truth|prediction)`.*(z, y, x)|the shape of the truth"
        ):
            evaluate(truth, draft(), **options)


def test_ids_of_objects_are_told_from_classes():
    with pytest.warns(UserWarning, match="--instances"):
        evaluate(TRUTH, IDS // 3 + (IDS == 1))


@pytest.mark.parametrize("shifted, told", [((1, 0), "truth"), ((0, 1), "prediction")])
def test_classes_that_are_numbered_from_1_are_told(shifted, told):
    maps = [TRUTH + np.uint8(shift) for shift in shifted]
    with pytest.warns(UserWarning, match=f"the {told} has no 0.*ilastik"):
        evaluate(*maps)


def test_few_instances_in_a_file_of_floats_are_not_classes():
    whole = np.ones((1, 1, 5), np.float32)
    whole[..., 2] = 0
    for kind in (np.float32, np.uint16):
        parts = np.concatenate([whole, 2 * whole]).astype(kind)
        assert evaluate(parts, parts, instances=True).scores["instances"]["true"] == 2


def test_the_command_skips_what_nobody_painted(tmp_path, capsys):
    truth, found, scores = (tmp_path / name for name in ("truth.tif", "found.ome.tif", "s.json"))
    save_volume(truth, 255 * PAINTED)
    save_volume(found, TRUTH)
    options = ("--skip-empty", "--json", scores, "--image", truth)
    assert volseg("evaluate", found, truth, *options) == 0
    assert "Scored: 25.0% of the voxels" in capsys.readouterr().out
    assert json.loads(scores.read_text())["voc"] == 1
    assert (tmp_path / "found_scores.png").exists()
    assert volseg("evaluate", found, truth, "--json", truth) == 2
    assert "other than the input" in capsys.readouterr().err


def test_the_picture_does_not_join_the_slices_of_the_image(tmp_path, capsys):
    image, truth = phantom((16, 32, 32))
    for z, section in enumerate(image):
        tifffile.imwrite(tmp_path / f"{z}.tif", section)
    save_volume(tmp_path / "labels.npy", truth)
    labels = tmp_path / "labels.npy"
    assert volseg("evaluate", labels, labels, "--image", tmp_path / "*.tif") == 2
    assert "outside its folder of slices" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))
