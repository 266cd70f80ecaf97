import keras
import numpy as np
import pytest
from sklearn.metrics import jaccard_score, precision_score, recall_score

from volseg_keras import Jaccard, segmentation_scores

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


def test_voc_is_the_mean_of_the_jaccard_indices_as_in_table_1():
    # 1000 voxels whose indices are those of model H in the paper, 99.4 and 88.9: VOC 94.2.
    true, predicted = np.zeros((2, 100_000), np.uint8)
    hits, misses, false = 4270, 266, 267
    true[: hits + misses] = 1
    predicted[:hits] = predicted[-false:] = 1
    scores = segmentation_scores(true, predicted)
    jaccard = [100 * c["jaccard"] for c in scores["classes"]]
    assert jaccard == pytest.approx([99.4, 88.9], abs=0.05)
    assert 100 * scores["voc"] == pytest.approx(94.2, abs=0.06)


def test_ignored_voxels_do_not_count():
    true = np.array([0, 1, 1, 255, 255])
    scores = segmentation_scores(true, np.array([0, 1, 0, 1, 0]), ignore_class=255)
    assert scores["classes"][1] == {"precision": 1.0, "recall": 0.5, "jaccard": 0.5}


def test_voc_leaves_out_classes_that_are_in_neither_map():
    true, predicted = np.array([0, 0, 5, 5]), np.array([0, 5, 5, 5])
    assert segmentation_scores(true, predicted)["voc"] == pytest.approx((1 / 2 + 2 / 3) / 2)


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
