import csv
import json
import warnings
from dataclasses import replace
from unittest.mock import Mock

import h5py
import keras
import numpy as np
import pytest

from volseg_keras import (
    Augment,
    Jaccard,
    JaccardLoss,
    PatchSampler,
    RankOneConv,
    StochasticDownsample,
    build_model,
    fit,
    load_pretrained,
    open_volume,
    phantom,
    predict_volume,
    save_volume,
    segmentation_scores,
)
from volseg_keras.networks.models import split_normalization, with_normalization
from volseg_keras.training import averaging, calibration, callbacks
from volseg_keras.training.averaging import Average
from volseg_keras.training.callbacks import Budget, Checkpoint, Schedule, Validate
from volseg_keras.training.fit import make_patches
from volseg_keras.training.prediction_mode import prediction_mode
from volseg_keras.training.recipes import RECIPES, get_recipe
from volseg_keras.training.regions import split
from volseg_keras.training.statistics import recalibrate_batch_norm
from volseg_keras.training.validation import HeldOutScores
from volseg_keras.training.volumes import labelled_volumes
from volseg_keras.volumes.intensity import Intensity

IMAGE, LABEL = phantom((32, 64, 96), seed=0)


def small_network():
    """Layers with every kind of state (weights, moving statistics, seeds), quick to trace."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, None, 1))
    x = keras.layers.PReLU(shared_axes=[1, 2, 3])(RankOneConv(6)(inputs))
    x = keras.layers.Dropout(0.1)(keras.layers.BatchNormalization()(x))
    x = RankOneConv(6)(StochasticDownsample()(x))
    x = keras.layers.Conv3DTranspose(2, 2, strides=2)(x)
    return keras.Model(inputs, keras.layers.Softmax()(x), name="small")


@pytest.fixture(autouse=True)
def small_patches(monkeypatch):
    quick = replace(
        RECIPES["fast"], patch={3: (16, 32, 32)}, warmup=2, augment=Augment(), settle=0.0
    )
    monkeypatch.setitem(RECIPES, "quick", quick)
    monkeypatch.setitem(RECIPES, "averaged", replace(quick, average=3.0))
    monkeypatch.setitem(RECIPES, "settling", replace(quick, settle=0.25))
    monkeypatch.setattr(averaging, "EVERY", 1)


def run(folder, steps, model=None, **options):
    model = model or small_network()
    options = {"recipe": "quick", "hold_out": "x:0:32", "steps_per_epoch": 4, **options}
    summary = fit(model, IMAGE, LABEL, output=folder, steps=steps, **options)
    return model, summary


def read(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_what_it_promises(tmp_path):
    _, summary = run(tmp_path / "a run", 12)
    rows = read(tmp_path / "a run")
    assert [int(r["step"]) for r in rows] == [4, 8, 12]
    assert summary["steps"] == 12 and summary["hold_out"] == "x:0:32"
    scores = [float(r["val_jaccard"]) for r in rows if r["val_jaccard"]]
    # By the statistics that suit better.
    assert summary["held_out_jaccard"] > max(scores) - 1e-5
    assert json.loads((tmp_path / "a run" / "metrics.json").read_text()) == summary
    assert summary["normalization"]["mean"] == pytest.approx(IMAGE.mean(), abs=0.5)
    names = {p.name for p in (tmp_path / "a run").iterdir()}
    assert {"model.keras", "curve.png", "checkpoint.h5", "tensorboard"} <= names
    assert not [name for name in names if name.startswith(".part")]
    loaded = keras.saving.load_model(tmp_path / "a run" / "model.keras")
    assert not loaded.layers[-1].compiled
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The structure of `inputs`")
        loaded(IMAGE[None, :16, :32, :32, None].astype(np.float32))
    out = predict_volume(tmp_path / "a run", IMAGE[:, :, :32])
    assert out.shape == (32, 64, 32, 2)


def test_what_was_trained_in_bfloat16_is_saved_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, _ = run(tmp_path, 4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.layers[1].compute_dtype == "bfloat16"
    saved = load_pretrained(tmp_path)
    assert {layer.compute_dtype for layer in saved._flatten_layers()} == {"float32"}
    assert saved.count_params() == model.count_params()


@pytest.mark.parametrize("recipe", ["averaged", "settling"])
def test_a_resumed_run_ends_as_an_unbroken_one(recipe, tmp_path, monkeypatch):
    whole, _ = run(tmp_path / "whole", 16, recipe=recipe)
    begin = Schedule.on_train_batch_begin

    def killed(self, batch, logs=None):
        if self.budget.step == 10:
            raise KeyboardInterrupt
        begin(self, batch, logs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Schedule, "on_train_batch_begin", killed)
        run(tmp_path / "broken", 16, recipe=recipe)
    assert [int(r["step"]) for r in read(tmp_path / "broken")] == [4, 8]
    again, _ = run(tmp_path / "broken", 16, recipe=recipe, resume=True)
    assert [int(r["step"]) for r in read(tmp_path / "broken")] == [4, 8, 12, 16]
    for one, other in zip(whole.weights, again.weights, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-5, err_msg=one.path)
    one, other = load_pretrained(tmp_path / "whole"), load_pretrained(tmp_path / "broken")
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_checkpoints_are_written_by_time_after_validation_and_at_the_end(tmp_path, monkeypatch):
    written, write = [], Checkpoint.write

    def counted(self):
        if self.state is not None:
            written.append(self.state[0]["step"])
        write(self)

    monkeypatch.setattr(Checkpoint, "write", counted)
    run(tmp_path / "slow", 40, hold_out=None, steps_per_epoch=2)
    assert written == [40]
    written.clear()
    run(tmp_path / "validated", 40, steps_per_epoch=2)
    assert written == list(range(4, 41, 4))
    written.clear()
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY", 0)
    run(tmp_path / "timely", 12, hold_out=None)
    assert written == [4, 8, 12]


def test_an_interruption_loses_no_epoch_that_was_over(tmp_path, monkeypatch):
    begin = Schedule.on_train_batch_begin

    def stopped(self, batch, logs=None):
        if self.budget.step == 10:
            raise SystemExit(143)
        begin(self, batch, logs)

    monkeypatch.setattr(Schedule, "on_train_batch_begin", stopped)
    with pytest.raises(SystemExit):
        run(tmp_path, 16, hold_out=None)
    with h5py.File(tmp_path / "checkpoint.h5") as file:
        assert file.attrs["step"] == 8


def test_the_mean_of_weights_is_polynomially_weighted():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    budget, seen, power = Budget(50, None), [], 3
    average = Average(budget, power)
    average.set_model(model)
    for budget.step in range(1, 51):
        seen.append(np.sin(budget.step))
        model.set_weights([np.array([[seen[-1]]], np.float32)])
        average.on_train_batch_end(0)
    # Shamir & Zhang: the s-th of t counts as the product of what later ones left of it.
    share = [(power + 1) / (s + power) for s in range(1, 51)]
    weight = [a * np.prod([1 - b for b in share[i + 1 :]]) for i, a in enumerate(share)]
    assert sum(weight) == pytest.approx(1) and sum(weight[42:]) == pytest.approx(0.5, abs=0.05)
    with average.applied(model):
        assert model.get_weights()[0].item() == pytest.approx(np.dot(weight, seen), abs=1e-5)
    assert model.get_weights()[0].item() == np.float32(seen[-1])


def test_weights_that_the_last_step_ruined_are_not_kept(tmp_path, monkeypatch):
    """The loss of a step is that of the weights before it."""
    monkeypatch.setitem(RECIPES, "quick", replace(RECIPES["quick"], rate={3: 1e39}))
    with pytest.raises(FloatingPointError, match="at step 1. "):
        run(tmp_path, 4, steps_per_epoch=1)
    assert not {"checkpoint.h5", "model.keras"} & {path.name for path in tmp_path.iterdir()}


def test_what_is_saved_is_the_mean(tmp_path):
    model, _ = run(tmp_path, 8, recipe="averaged", hold_out=None)
    last, saved = model.get_weights(), load_pretrained(tmp_path).get_weights()
    assert max(np.abs(a - b).max() for a, b in zip(last, saved, strict=True)) > 1e-4


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
    volume = labelled_volumes(IMAGE, LABEL, small_network(), "volume")[0]
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
        told.append((about["statistics"], about["held_out_jaccard"]))
    assert told == 2 * [(chosen, max(better, 0.5))]


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
    _, summary = run(tmp_path, 8, recipe="settling")
    assert rates == [0.1] * 6 + [0.0] * 2 and summary["steps"] == 8


def test_a_finished_run_resumes_to_itself(tmp_path):
    model, first = run(tmp_path, 4)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again, second = run(tmp_path, 4, resume=True)
    assert second["steps"] == 4 and second == json.loads(json.dumps(first))
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    (tmp_path / "metrics.json").unlink()  # as where it was killed before it told anything
    _, third = run(tmp_path, 4, resume=True)
    assert third == second and (tmp_path / "metrics.json").is_file()
    for name in ("metrics.json", "model.keras"):  # before it scored its held-out part
        (tmp_path / name).unlink()
    assert run(tmp_path, 4, resume=True)[1]["steps"] == 4
    assert load_pretrained(tmp_path).count_params() == model.count_params()
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("changes", [{"seed": 1}, {"hold_out": "x:0:40"}, {"recipe": "averaged"}])
def test_a_run_resumes_with_its_own_arguments_only(changes, tmp_path):
    run(tmp_path, 4)
    with pytest.raises(ValueError, match="`resume`"):
        run(tmp_path, 8, resume=True, **changes)


def test_a_larger_budget_is_validated_again(tmp_path, monkeypatch):
    run(tmp_path, 4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("volseg_keras.training.fit.choose", Mock(side_effect=KeyboardInterrupt))
        run(tmp_path, 8, resume=True)
    # What was chosen for other weights is not told of these.
    assert not (tmp_path / "metrics.json").exists()
    (tmp_path / "metrics.json").write_text("{}")
    with monkeypatch.context() as patch, pytest.raises(FloatingPointError):
        patch.setattr("math.isfinite", lambda _: False)
        run(tmp_path, 12, resume=True)
    assert (tmp_path / "metrics.json").exists()  # with the weights that it is of
    _, summary = run(tmp_path, 8, resume=True)
    assert summary["steps"] == 8 and read(tmp_path)[-1]["val_jaccard"]


def test_a_trained_model_is_trained_further_on_another_volume(tmp_path):
    _, first = run(tmp_path / "first", 4)
    model = load_pretrained(tmp_path / "first")
    darker = IMAGE // 2
    options = {"recipe": "quick", "steps": 4, "steps_per_epoch": 4}
    second = fit(model, darker, LABEL, output=tmp_path / "second", **options)
    assert second["normalization"]["mean"] == pytest.approx(darker.mean(), abs=1)
    again = load_pretrained(tmp_path / "second")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    for normalization, mean in (("model", IMAGE.mean()), ((90, 30), 90)):
        folder = tmp_path / f"{mean}"
        options["normalization"] = normalization
        told = fit(model, darker, LABEL, output=folder, **options)["normalization"]
        assert told["mean"] == pytest.approx(mean, abs=1)
    options["normalization"] = "volume"
    with pytest.raises(ValueError, match="`resume`"):
        fit(model, darker, LABEL, output=folder, resume=True, **options)


def test_what_was_best_before_the_weights_settled_does_not_count_after_a_kill(tmp_path):
    budget = Budget(100, None, step=81, best=0.9, validated=7)
    saved = []
    model = small_network()
    validate = Validate(
        budget,
        lambda: HeldOutScores({"part": 0.5}, 0.5),
        lambda: saved.append(budget.step),
        Average(budget, None),
    )
    validate.set_model(model)
    validate.on_epoch_end(0, logs := {})
    assert saved == [81] and logs["val_jaccard"] == 0.5 and budget.best == 0.5
    validate.on_epoch_end(1, {})
    assert saved == [81]


def test_training_goes_on_at_the_contrast_of_the_model(tmp_path):
    model = with_normalization(small_network(), 120.0, 30.0, 1.5)
    fit(model, IMAGE, LABEL, output=tmp_path, recipe="quick", steps=2, steps_per_epoch=2)
    _, (mean, deviation, contrast) = split_normalization(load_pretrained(tmp_path))
    assert (mean, deviation) == pytest.approx((IMAGE.mean(), IMAGE.std()), rel=0.02)
    assert contrast == 1.5


def test_the_threshold_suits_the_held_out_part(tmp_path):
    _, summary = run(tmp_path, 4)
    inner = (slice(None), slice(None), slice(0, 32))
    own = Intensity.of(IMAGE)
    options = {"engine": "keras", "normalization": (own.mean, own.deviation)}
    probability = predict_volume(tmp_path, IMAGE[inner], **options)[..., 1]
    scores = [
        segmentation_scores(LABEL[inner], (probability >= t).astype(np.uint8))["classes"][1]
        for t in (summary["threshold"], 0.1, 0.5, 0.9)
    ]
    assert scores[0]["jaccard"] == max(row["jaccard"] for row in scores)


def test_three_classes_all_count(tmp_path):
    label = LABEL.copy()
    label[16:] *= 2
    inputs = keras.Input((None, None, None, 1))
    outputs = keras.layers.Conv3D(3, 3, padding="same", activation="softmax")(inputs)
    model = keras.Model(inputs, outputs)
    fit(model, IMAGE, label, output=tmp_path, recipe="quick", steps=2)
    assert model.loss.class_id is None


@pytest.mark.parametrize("depth, height", [(11, 64), (1, 64), (20, 9)])
def test_a_thin_volume_gets_thin_patches(depth, height, tmp_path):
    image, label = IMAGE[-depth:, -height:], LABEL[-depth:, -height:]
    summary = fit(small_network(), image, label, output=tmp_path, recipe="quick", steps=2)
    assert summary["steps"] == 2
    assert predict_volume(tmp_path, image).shape == (*image.shape, 2)


def test_an_annotated_slice_of_a_thin_volume_lies_anywhere_in_a_patch():
    image, truth = IMAGE[-11:], LABEL[-11:]
    label, z = np.full_like(truth, 255), truth.sum(axis=(1, 2)).argmax()
    label[z] = truth[z]
    volumes = labelled_volumes(image, label, small_network(), "volume")
    sampler = make_patches(volumes, RECIPES["quick"], 3, 0, None)
    places = set()
    for step in range(40):
        found = np.asarray(sampler.batch(step, 2)[1]).reshape(2, 16, -1) != 255
        places.update(np.nonzero(found.any(axis=(0, 2)))[0].tolist())
    assert places == set(range(16))


def test_a_budget_in_minutes_ends_in_time(tmp_path):
    _, summary = run(tmp_path, None, minutes=0.1, hold_out=None)
    assert 0.1 <= summary["minutes"] < 0.5 and summary["held_out_jaccard"] is None
    assert (tmp_path / "model.keras").is_file()
    assert float(read(tmp_path)[-1]["learning_rate"]) < 3e-3


def test_plain_compile_and_fit_work():
    model = small_network()
    sampler = PatchSampler(IMAGE, LABEL, (16, 32, 32))
    model.compile("adam", loss=JaccardLoss(), metrics=[Jaccard()], jit_compile=False)
    history = model.fit(sampler.tf_dataset(3), steps_per_epoch=2, epochs=2, verbose=0)
    assert len(history.history["jaccard"]) == 2
    history = model.fit(sampler.py_dataset(3, steps=2), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"recipe": "slow"}, "recipe"),
        ({"steps": 3, "minutes": 2}, "minutes"),
        ({"steps": 0}, "steps"),
        ({"minutes": -1}, "minutes"),
        ({"hold_out": "x:8:32"}, "hold_out"),
        ({"hold_out": "w:0:32"}, "hold_out"),
        ({"hold_out": "x:0:96"}, "hold_out"),
        ({"hold_out": "x:0"}, "hold_out"),
        ({"label": LABEL[1:]}, "label"),
        ({"label": LABEL * 0}, "label"),
        ({"label": LABEL / 2}, "label"),
        ({"output": "file/run"}, "output"),
        ({"label": LABEL * 2}, "labels"),
        ({"label": LABEL * np.uint8(20)}, "labels"),
        ({"hold_out": "x:0:32", "label": LABEL * (np.arange(96) >= 32)}, "hold_out"),
        ({"hold_out": "x:0:32", "label": LABEL * (np.arange(96) < 32)}, "hold_out"),
        ({"seed": None}, "seed"),
        ({"normalization": "own"}, "normalization"),
        ({"normalization": "model"}, "normalization"),
        ({"normalization": 120}, "normalization"),
        ({"label": [LABEL, LABEL]}, "labels"),
        ({"weights": [1, 2]}, "weights"),
        ({"weights": [0]}, "weights"),
        ({"normalization": (120, 0)}, "normalization"),
        ({"hold_out": ["x:0:32", None]}, "hold_out"),
    ],
    ids=str,
)
def test_wrong_arguments_leave_nothing_behind(changes, name, tmp_path):
    (tmp_path / "file").touch()
    options = {"recipe": "quick", "label": LABEL, "output": "run", **changes}
    options["output"] = tmp_path / options["output"]
    label = options.pop("label")
    with pytest.raises((ValueError, OSError), match=f"`{name}`"):
        fit(small_network(), IMAGE, label, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_networks_of_fixed_sizes_are_refused_at_once(tmp_path):
    model = build_model("C", input_shape=(64, 64, 1))
    with pytest.raises(ValueError, match=r"`model`.*free spatial sizes.*\(64, 64\)"):
        fit(model, IMAGE, LABEL, output=tmp_path, recipe="fast", steps=2)


def test_seeds_and_starts_of_other_types(tmp_path):
    _, summary = run(tmp_path, 2, seed=np.int64(3), start=tmp_path)
    assert summary["seed"] == 3 and summary["from"] == str(tmp_path)


def test_a_run_that_never_reached_a_checkpoint_resumes_from_its_start(tmp_path, capsys):
    _, whole = run(tmp_path / "whole", 4)
    _, summary = run(tmp_path / "run", 4, resume=True)
    assert summary["steps"] == 4 and "No checkpoint" in capsys.readouterr().out
    assert summary["held_out_jaccard"] == pytest.approx(whole["held_out_jaccard"], abs=1e-4)


@pytest.mark.parametrize(
    "name, resume", [("checkpoint.h5", False), ("metrics.json", True), ("model.keras", False)]
)
def test_a_run_is_not_overwritten(name, resume, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(FileExistsError, match="`output`"):
        run(tmp_path, 4, resume=resume)


@pytest.mark.parametrize(
    "text, inner, outer",
    [
        ("x:0:25", np.s_[:, :, 25:100], np.s_[:, :, 0:25]),
        ("z:8:10", np.s_[0:8, :, :], np.s_[8:10, :, :]),
    ],
)
def test_split(text, inner, outer):
    volume = np.arange(10 * 20 * 100).reshape(10, 20, 100)
    got = split(text, volume.shape)
    np.testing.assert_array_equal(volume[got[0]], volume[inner])
    np.testing.assert_array_equal(volume[got[1]], volume[outer])


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


def test_several_volumes(tmp_path, monkeypatch):
    """Of other sizes, types and intensities; two held-out parts."""
    image, label = phantom((20, 48, 80), seed=3)
    images, labels = [IMAGE, image.astype(np.uint16) * 100], [LABEL, label]
    unseen = phantom((16, 32, 32), seed=4)
    options = {"recipe": "quick", "steps_per_epoch": 4, "weights": [2, 1]}
    options["validation"] = [unseen, (unseen[0][::-1], unseen[1][::-1])]
    options["hold_out"] = ["x:0:32", None]
    summary = fit(small_network(), images, labels, output=tmp_path / "a", steps=8, **options)
    assert [v["name"] for v in summary["volumes"]] == ["volume 1", "volume 2"]
    assert summary["volumes"][1]["mean"] == pytest.approx(100 * image.mean(), rel=0.01)
    each = summary["held_out"]
    assert list(each) == ["volume 1 x:0:32", "volume 1", "volume 2"]
    assert summary["held_out_jaccard"] == pytest.approx(np.mean(list(each.values())))
    row = read(tmp_path / "a")[-1]
    assert float(row["val_jaccard"]) == pytest.approx(
        np.mean([float(row[f"val_jaccard {name}"]) for name in each]), abs=1e-5
    )
    begin = Schedule.on_train_batch_begin

    def killed(self, batch, logs=None):
        if self.budget.step == 6:
            raise KeyboardInterrupt
        begin(self, batch, logs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Schedule, "on_train_batch_begin", killed)
        fit(small_network(), images, labels, output=tmp_path / "b", steps=8, **options)
    fewer = {**options, "validation": [unseen]}
    with pytest.raises(ValueError, match="`resume`"):
        fit(small_network(), images, labels, output=tmp_path / "b", steps=8, resume=True, **fewer)
    fit(small_network(), images, labels, output=tmp_path / "b", steps=8, resume=True, **options)
    one, other = load_pretrained(tmp_path / "a"), load_pretrained(tmp_path / "b")
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("suffix", [".zarr", ".h5", ".tif", ".mrc", ".npy"])
def test_a_volume_larger_than_memory_is_read_patch_by_patch(suffix, tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    folder.mkdir()
    paths = [folder / f"{name}{suffix}" for name in ("image", "label")]
    for path, array in zip(paths, (IMAGE, LABEL * 255), strict=True):
        save_volume(path, array)
    opened = [open_volume(path) for path in paths]
    options = {"recipe": "quick", "hold_out": "x:0:32", "steps": 4, "steps_per_epoch": 4}
    fit(small_network(), *opened, output=tmp_path / "memory", **options)
    monkeypatch.setattr("volseg_keras.training.volumes.free_memory", lambda: 1000)
    monkeypatch.setattr(type(opened[0]), "__array__", None)  # never as a whole
    fit(small_network(), *opened, output=tmp_path / "file", **options)
    one, other = (load_pretrained(tmp_path / name) for name in ("memory", "file"))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
