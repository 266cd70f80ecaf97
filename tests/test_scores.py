import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import adapted_rand_error
from sklearn.metrics import jaccard_score, precision_score, recall_score

from volseg_keras import Jaccard, JaccardLoss, instance_scores, segmentation_scores
from volseg_keras.publishing.table1_files import PAPER
from volseg_keras.scores import TIE, Confusion, ThresholdScores, best_threshold

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shape", [(40,), (6, 7, 8)])
def test_scores_against_scikit_learn(classes, shape):
    true, predicted = RNG.integers(0, classes, (2, *shape))
    scores = segmentation_scores(true, predicted)
    options = {"average": None, "labels": range(classes)}
    for name, function in (
        ("precision", precision_score),
        ("recall", recall_score),
        ("jaccard", jaccard_score),
    ):
        want = function(true.ravel(), predicted.ravel(), **options)
        np.testing.assert_allclose([c[name] for c in scores["classes"]], want)
    assert scores["voc"] == pytest.approx(
        jaccard_score(true.ravel(), predicted.ravel(), average="macro")
    )


@pytest.mark.parametrize("network", PAPER)
def test_table_1_of_the_paper(network):
    """Voxels of the paper's precision and recall have its Jaccard indices and its VOC score too."""
    *_, voc = want = PAPER[network]
    voxels, share = 1_000_000, 0.055  # of mitochondria in the test volume
    hits = round(share * voxels * want[3] / 100)
    false = round(hits * (100 / want[1] - 1))
    true, predicted = np.zeros((2, voxels), np.uint8)
    true[: round(share * voxels)] = predicted[:hits] = 1
    predicted[voxels - false :] = 1
    scores = segmentation_scores(true, predicted)
    found = [100 * row[key] for key in scores["classes"][0] for row in scores["classes"]]
    # The paper's figures have one decimal.
    assert found == pytest.approx(want[:-1], abs=0.11)
    assert 100 * scores["voc"] == pytest.approx(voc, abs=0.1)
    assert np.mean(want[4:6]) == pytest.approx(voc, abs=0.1)


def test_ignored_voxels_do_not_count():
    true = np.array([0, 1, 1, 255, 255])
    scores = segmentation_scores(true, np.array([0, 1, 0, 1, 0]), ignore_class=255)
    assert scores["classes"][1] == {"precision": 1.0, "recall": 0.5, "jaccard": 0.5}


def test_voc_leaves_out_classes_that_are_in_neither_map():
    true, predicted = np.array([0, 0, 5, 5]), np.array([0, 5, 5, 5])
    assert segmentation_scores(true, predicted)["voc"] == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize(
    "true, predicted, want",
    [([0, 1, 1], [0, 1, 0], 1 / 2), ([0, 1, 1], [2, 1, 0], 1 / 2), ([0, 0], [0, 0], 1)],
)
def test_the_foreground_is_scored_by_the_classes_that_are_there(true, predicted, want):
    confusion = Confusion(3)
    confusion.add(np.array(true), np.array(predicted))
    assert confusion.foreground_jaccard() == want


@pytest.mark.parametrize(
    "true, predicted, want",
    [([0, 0], [0, 0], (1, 1, 1)), ([0, 0], [0, 1], (0, 0, 0)), ([0, 1], [0, 0], (0, 0, 0))],
)
def test_empty_classes(true, predicted, want):
    row = segmentation_scores(np.array(true), np.array(predicted))["classes"][1]
    assert tuple(row.values()) == want


@pytest.mark.parametrize(
    "true, predicted, name",
    [
        (np.zeros(3, int), np.zeros(4, int), "y_pred"),
        (np.zeros(3), np.zeros(3, int), "y_true"),
        (np.zeros(3, int), np.zeros(3), "y_pred"),
        (np.zeros(0, int), np.zeros(0, int), "y_true"),
    ],
)
def test_wrong_label_maps(true, predicted, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        segmentation_scores(true, predicted)


def test_keras_metric_accumulates_and_resets():
    metric = Jaccard(ignore_class=255)
    true = RNG.integers(0, 2, (4, 5, 6))
    true[0, 0] = 255
    predicted = RNG.integers(0, 2, true.shape)
    for t, p in zip(true, predicted, strict=True):
        metric.update_state(t[None], np.eye(2, dtype=np.float32)[p][None])
    kept = true != 255
    assert float(metric.result()) == pytest.approx(jaccard_score(true[kept], predicted[kept]))
    metric.reset_state()
    assert float(metric.result()) == 1
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.get_config() == metric.get_config()


def row(*spans, length=20):
    """Instance ids of a line of voxels: `(id, start, stop)` each."""
    ids = np.zeros((1, 1, length), np.uint32)
    for i, start, stop in spans:
        ids[..., start:stop] = i
    return ids


TWO = row((3, 0, 8), (5, 10, 18))


@pytest.mark.parametrize(
    "true, predicted, counts, matched",
    [
        (TWO, TWO, (2, 2), (2, 2)),
        (TWO, row((1, 0, 18)), (2, 1), (0, 0)),  # merged
        (TWO, row((1, 0, 4), (2, 4, 8), (3, 10, 18)), (2, 3), (2, 1)),  # split in halves
        (TWO, row((1, 0, 2), (2, 2, 8), (3, 10, 18)), (2, 3), (2, 2)),  # a small piece cut off
        (TWO, row((1, 0, 8)), (2, 1), (1, 1)),  # missed
        (TWO, row((1, 2, 8), (2, 10, 18), (3, 19, 20)), (2, 3), (2, 2)),  # a false one
        (TWO, row(), (2, 0), (0, 0)),
        (row(), TWO, (0, 2), (0, 0)),
        (row(), row(), (0, 0), (0, 0)),
    ],
)
def test_instances_matched(true, predicted, counts, matched):
    scores = instance_scores(true, predicted)
    assert (scores["true"], scores["predicted"]) == counts
    for found, want, iou in zip(scores["matches"], matched, (0.5, 0.75), strict=True):
        assert (found["iou"], found["matched"]) == (iou, want)
        positives, claimed = counts
        if positives + claimed:
            assert found["precision"] == (want / claimed if claimed else 0)
            assert found["recall"] == (want / positives if positives else 0)
            assert found["f1"] == pytest.approx(2 * want / (positives + claimed))
            assert found["average_precision"] == want / (positives + claimed - want)
        else:
            assert found["f1"] == found["average_precision"] == 1
    json.dumps(scores)


def test_one_instance_is_matched_once():
    # Two halves overlap with the whole by half each.
    scores = instance_scores(row((1, 0, 8)), row((1, 0, 4), (2, 4, 8)), iou_thresholds=(0.5,))
    assert scores["matches"][0]["matched"] == 1


def id_maps():
    shapes, seeds, tops = st.tuples(*[st.integers(1, 6)] * 3), st.integers(0, 99), st.integers(1, 6)
    return st.builds(
        lambda shape, seed, top: np.random.default_rng(seed).integers(0, top, (2, *shape)),
        shapes,
        seeds,
        tops,
    )


@settings(max_examples=50, deadline=None)
@given(id_maps(), st.randoms(use_true_random=False))
def test_laws_of_instance_scores(maps, random):
    true, predicted = maps
    same = instance_scores(true, true)
    assert same["adapted_rand_error"] == 0
    for match in same["matches"]:
        assert match["precision"] == match["recall"] == match["f1"] == 1
    scores = instance_scores(true, predicted)
    assert 0 <= scores["adapted_rand_error"] <= 1
    other = np.array([0, *random.sample(range(1, 2**32), 6)], np.uint32)
    assert instance_scores(other[true], other[predicted]) == scores
    swapped = instance_scores(predicted, true)
    for one, two in zip(scores["matches"], swapped["matches"], strict=True):
        assert one["matched"] == two["matched"] and one["precision"] == two["recall"]


@pytest.mark.parametrize("top", [2, 5, 40])
def test_the_rand_error_is_that_of_scikit_image(top):
    true, predicted = RNG.integers(0, top, (2, 6, 7, 8))
    want = adapted_rand_error(true, predicted)[0]
    assert instance_scores(true, predicted)["adapted_rand_error"] == pytest.approx(want)


@pytest.mark.parametrize("other", [TWO[..., 1:], TWO / 2])
def test_wrong_instances(other):
    with pytest.raises(ValueError, match="`y_pred`"):
        instance_scores(TWO, other)


@pytest.mark.parametrize("ids", [np.array([[[2**60, 2**60 + 1]]], "u8"), np.array([[[-1, 3]]])])
def test_ids_that_32_bits_do_not_hold(ids):
    with pytest.raises(ValueError, match="`y_pred`. Expected ids from 0 to 4294967295"):
        instance_scores(np.ones(ids.shape, int), ids)


@given(seed=st.integers(0, 999), ignored=st.booleans(), shift=st.sampled_from([-1, 0.3, 2]))
@settings(max_examples=40, deadline=None)
def test_the_best_threshold_is_the_nearest_to_a_half(seed, ignored, shift):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 2, 200).astype(np.uint8)
    probability = np.clip(0.3 * true + rng.normal(shift, 0.2, 200), 0, 1).astype(np.float32)
    if ignored:
        true[:50] = 255
    ignore = {"ignore_class": 255} if ignored else {}

    def score(threshold):
        predicted = (probability >= threshold).astype(np.uint8)
        return segmentation_scores(true, predicted, **ignore)["classes"][1]["jaccard"]

    scores = ThresholdScores(**ignore)
    for piece in (slice(0, 90), slice(90, 200)):
        scores.add(true[piece], probability[piece])
    best = best_threshold(scores.jaccard())
    assert 0 < best < 1 and 256 * best == int(256 * best)
    found = {k / 256: score(k / 256) for k in range(1, 256)}
    highest = max(found.values())
    assert found[best] >= highest - TIE - 1e-9
    for threshold, jaccard in found.items():  # none that is as good is nearer to 0.5
        nearer = abs(threshold - 0.5) < abs(best - 0.5)
        assert not (nearer and jaccard > highest - TIE + 1e-9)


@given(seed=st.integers(0, 999), classes=st.integers(2, 4), ignored=st.booleans())
@settings(max_examples=40, deadline=None)
def test_scores_piece_by_piece_are_those_of_the_whole(seed, classes, ignored):
    true, predicted = np.random.default_rng(seed).integers(0, classes, (2, 60))
    true = np.minimum(true, seed % classes)  # some classes are missing
    if ignored:
        true[:20] = 255
    confusion = Confusion(classes, 255)
    for piece in (slice(0, 25), slice(25, 60)):
        confusion.add(true[piece], predicted[piece])
    kept = true != 255
    labels = [c for c in range(1, classes) if c in true] or list(range(1, classes))
    pairs = {"labels": labels, "average": "macro", "zero_division": 1}
    want = jaccard_score(true[kept], predicted[kept], **pairs)
    assert confusion.foreground_jaccard() == pytest.approx(want)


@pytest.mark.parametrize("callback", ["EarlyStopping", "ReduceLROnPlateau"])
def test_callbacks_know_that_more_is_better(callback):
    rng = np.random.default_rng(0)
    x = rng.random((2, 8, 8, 1), dtype=np.float32)
    y = (x[..., 0] > 0.5).astype(np.uint8)
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax")(inputs))
    model.compile("adam", JaccardLoss(), metrics=[Jaccard()], jit_compile=False)
    monitor = getattr(keras.callbacks, callback)(monitor="val_jaccard")
    model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[monitor])
    assert monitor.monitor_op(2, 1) and not monitor.monitor_op(1, 2)
