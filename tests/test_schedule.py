"""Recipes and budgets; weights that are averaged, statistics that settle."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from runs import IMAGE, LABEL, quick_recipes, read, run, small_network, tiny_network
from scipy import ndimage

from volseg_keras import RankOneConv, StochasticDownsample, fit, load_pretrained
from volseg_keras.networks.models import split_normalization, with_normalization
from volseg_keras.training import calibration
from volseg_keras.training.data.annotated_sections import without_context
from volseg_keras.training.data.hold_out import HoldOut, hold_out_parts
from volseg_keras.training.data.labelled_volumes import LabelledVolume, labelled_volumes
from volseg_keras.training.loop.batch_norm import (
    batch_norms,
    batches_to_see,
    recalibrate_batch_norm,
)
from volseg_keras.training.loop.callbacks import Budget, Schedule, Validate
from volseg_keras.training.loop.prediction_mode import prediction_mode
from volseg_keras.training.recipes import get_recipe
from volseg_keras.training.validation import HeldOutScores
from volseg_keras.volumes.class_ids import ArrayClassIds
from volseg_keras.volumes.intensity import IntensityStatistics
from volseg_keras.volumes.labels import NOT_ANNOTATED


@pytest.fixture(autouse=True, scope="module")
def recipes():
    with quick_recipes():
        yield


@pytest.mark.parametrize("dims, rate", [(2, 0.05), (3, 0.1)])
def test_the_paper_recipe(dims, rate):
    row = get_recipe("paper")
    rates = [row.learning_rate(dims, p, 1000) for p in (0, 0.49, 0.5, 0.74, 0.75, 1)]
    assert rates == pytest.approx([rate, rate, rate / 10, rate / 10, rate / 100, rate / 100])
    assert row.steps == 30_000 and row.loss == "JaccardLoss"
    assert row.patch == {2: (256, 256), 3: (96, 128, 128)} and row.batch == {2: 24, 3: 3}


def test_the_fast_recipe_warms_up_and_ends_at_zero():
    row = get_recipe("fast")
    rates = [row.learning_rate(3, 0, s) for s in range(60)]
    assert np.all(np.diff(rates[:50]) > 0) and rates[50] == row.rate[3]
    assert row.learning_rate(3, 1, 5000) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"optimizer": "SGD"}, "`optimizer`. Expected a dictionary .*, such as {2: 'SGD'}"),
        ({"rate": 1e-3}, "`rate`"),
        ({"schedule": "linear"}, "`schedule`. Expected one of cosine, drops"),
    ],
)
def test_a_wrong_recipe_is_told_when_it_is_made(options, told):
    with pytest.raises(ValueError, match=told):
        replace(get_recipe("fast"), **options)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"rate": {2: 1e-3}}, "`rate`. Expected a value for 3 spatial axes"),
        ({"optimizer": {3: "Adamant"}}, "`optimizer`.*name of a Keras optimizer"),
        ({"loss": "DiceLoss"}, "`loss`"),
    ],
)
def test_a_recipe_for_other_networks_is_told_before_any_work(options, told, tmp_path):
    recipe = replace(get_recipe("fast"), **options)
    with pytest.raises(ValueError, match=told):
        fit(tiny_network(), IMAGE, LABEL, output=tmp_path / "run", recipe=recipe)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dims, batch, want", [(2, 2, 96), (2, 8, 24), (2, 24, 24), (3, 2, 24)])
def test_statistics_are_taken_from_enough_patches(dims, batch, want):
    assert batches_to_see(dims, batch) == want


def test_a_budget_in_minutes_ends_in_time(tmp_path):
    _, summary = run(tmp_path, None, minutes=0.03, hold_out=None)
    assert 0.03 <= summary["minutes"] < 0.4 and summary["held_out_jaccard"] is None
    assert (tmp_path / "model.keras").is_file()
    assert float(read(tmp_path)[-1]["learning_rate"]) < 3e-3


def test_statistics_settle_to_those_of_the_batches_as_the_network_predicts():
    inputs = keras.Input((None, None, None, 1))
    x = StochasticDownsample()(keras.layers.Dropout(0.5)(inputs))
    first = keras.layers.BatchNormalization()
    x = keras.layers.Conv3D(2, 1, kernel_initializer="ones")(first(x))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(x))
    batches = np.random.default_rng(0).standard_normal((3, 2, 8, 8, 8, 1)).astype(np.float32)
    before = [np.asarray(w) for w in model.trainable_weights]
    recalibrate_batch_norm(model, iter(batches))
    pooled = batches.reshape(3, 2, 4, 2, 4, 2, 4, 2).mean(axis=(3, 5, 7))
    np.testing.assert_allclose(first.moving_mean, [pooled.mean()], atol=1e-5)
    variance = np.mean([batch.var() for batch in pooled])
    np.testing.assert_allclose(first.moving_variance, [variance], rtol=1e-4)
    for old, new in zip(before, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert first.momentum == 0.99
    settled = model(batches.reshape(6, 8, 8, 8, 1), training=False)
    np.testing.assert_allclose(np.std(settled, axis=(0, 1, 2, 3)), [1, 1], atol=0.05)


@pytest.mark.parametrize("chosen", ["as trained", "recalibrated"])
def test_calibration_tells_the_statistics_that_it_uses_however_often(chosen, tmp_path, monkeypatch):
    volume = labelled_volumes(IMAGE, LABEL, 1, 2, "volume")[0]
    own, told = volume.intensity, []
    model = small_network()
    with_normalization(model, own.mean, own.deviation).save(tmp_path / "model.keras")
    rng = np.random.default_rng(0)
    batches = rng.standard_normal((3, 2, 16, 16, 16, 1)).astype(np.float32)
    better = {"as trained": 0.9, "recalibrated": 0.1}[chosen]
    trained = [np.array(weight) for weight in model.get_weights()]

    def scored(network, *_):
        same = all(map(np.array_equal, network.get_weights(), trained))
        return HeldOutScores({"part": better if same else 0.5}, 0.5)

    monkeypatch.setattr(calibration, "score", scored)
    for _ in range(2):
        about = calibration.calibrate(tmp_path / "model.keras", [volume], iter(batches))
        told.append((about.statistics, about.held_out_jaccard))
    assert told == 2 * [(chosen, max(better, 0.5))]


def test_statistics_are_recalibrated_where_nothing_is_held_out(tmp_path):
    """At a momentum of 0.99 those of a short training are mostly what they began with."""
    model, summary = run(tmp_path, 4, small_network(), hold_out=None)
    assert summary["statistics"] == "recalibrated" and summary["threshold"] == 0.5
    network, _ = split_normalization(load_pretrained(tmp_path))
    for old, new in zip(model.trainable_weights, network.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new)
    (trained,), (saved,) = batch_norms(model), batch_norms(network)
    assert np.abs(np.subtract(trained.moving_variance, 1)).max() < 0.2
    assert np.abs(np.subtract(saved.moving_variance, trained.moving_variance)).max() > 0.2


def test_a_settled_network_trains_as_it_predicts():
    model = small_network()
    dropout, _, down = (
        next(layer for layer in model.layers if isinstance(layer, kind))
        for kind in (keras.layers.Dropout, RankOneConv, StochasticDownsample)
    )
    # Without batch normalisation, which is by the batch in training.
    random = keras.Sequential([keras.Input((None, None, None, 6)), dropout, down])
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 6)).astype(np.float32)
    predicted = random(x, training=False)
    assert np.abs(random(x, training=True) - predicted).max() > 0.1
    with prediction_mode(model):
        np.testing.assert_array_equal(random(x, training=True), predicted)
    assert dropout.rate == 0.1 and np.abs(random(x, training=True) - predicted).max() > 0.1


def test_the_last_part_of_a_budget_is_trained_settled(tmp_path, monkeypatch):
    rates = []

    def noted(self, batch, logs=None):
        dropout = next(la for la in self.model.layers if isinstance(la, keras.layers.Dropout))
        rates.append(dropout.rate)
        begin(self, batch, logs)

    begin = Schedule.on_train_batch_begin
    monkeypatch.setattr(Schedule, "on_train_batch_begin", noted)
    _, summary = run(tmp_path, 8, small_network(), recipe="settling", hold_out=None)
    assert rates == [0.1] * 6 + [0.0] * 2 and summary["steps"] == 8


def test_what_was_best_before_the_weights_settled_does_not_count_after_a_kill(tmp_path):
    budget = Budget(100, None, step=81, best=0.9, validated=7)
    saved = []
    model = tiny_network()
    validate = Validate(
        budget,
        lambda: HeldOutScores({"part": 0.5}, 0.5),
        lambda: saved.append(budget.step),
    )
    validate.set_model(model)
    validate.on_epoch_end(0, logs := {})
    assert saved == [81] and logs["val_jaccard"] == 0.5 and budget.best == 0.5
    validate.on_epoch_end(1, {})
    assert saved == [81]


@pytest.mark.parametrize("lost, smoothing", [(slice(0), 0.0), (slice(2, None, 4), 4.0)])
def test_smoothing_is_chosen_on_the_held_out_part(lost, smoothing, tmp_path):
    """A network that marks what is bright is helped by neighbours where a section has faded."""
    rng, shape = np.random.default_rng(0), (24, 64, 64)
    truth = ndimage.gaussian_filter(rng.standard_normal(shape), 6) > 0
    image = np.where(truth, 1.0, -1.0) + rng.normal(0, 0.1, shape)
    image[lost] = -1
    volume = LabelledVolume(
        "a", image, ArrayClassIds(truth.astype(np.uint8)), IntensityStatistics(0.0, 1.0)
    )
    inputs = keras.Input((None, None, 1))
    head = keras.layers.Conv2D(2, 1, activation="softmax")
    network = keras.Model(inputs, head(inputs))
    head.set_weights([np.array([-2.0, 2.0]).reshape(1, 1, 1, 2), np.zeros(2)])
    with_normalization(network, 0.0, 1.0).save(tmp_path / "model.keras")
    found = calibration.calibrate(tmp_path / "model.keras", [volume])
    assert found.averaging.smoothing == smoothing and 0 < found.threshold < 1
    assert found.held_out_jaccard > 0.8


def test_a_held_out_section_has_neighbours_that_do_not_count():
    label = np.full((30, 48, 48), NOT_ANNOTATED, np.uint8)
    label[[5, 15, 25], :, :24], label[[5, 15, 25], :, 24:] = 0, 1
    image = np.random.default_rng(0).normal(size=label.shape)
    volume = LabelledVolume("a", image, ArrayClassIds(label), IntensityStatistics.of(image))
    (inner,), (held_out,) = hold_out_parts([volume], HoldOut.parse("z=15"), spatial_dims=2)
    assert inner.label.annotated_sections(NOT_ANNOTATED).tolist() == [5, 25]
    assert held_out.label.annotated_sections(NOT_ANNOTATED).tolist() == [8]
    np.testing.assert_array_equal(held_out.image, image[7:24])
    np.testing.assert_array_equal(without_context(held_out).image, image[15:16])
