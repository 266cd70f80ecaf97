"""`fit`: what a training takes, and what it leaves."""

import json
import warnings
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from runs import IMAGE, LABEL, quick_recipes, read, run, small_network, stopped_at, tiny_network

from volseg_keras import (
    Jaccard,
    JaccardLoss,
    PatchSampler,
    build_model,
    fit,
    load_pretrained,
    open_volume,
    phantom,
    predict_volume,
    save_volume,
    segmentation_scores,
)
from volseg_keras.errors import require
from volseg_keras.networks.models import split_normalization, with_normalization
from volseg_keras.scores import TIE
from volseg_keras.training import fit_network as fitting
from volseg_keras.training.data.hold_out import HoldOut
from volseg_keras.training.data.labelled_volumes import labelled_volumes
from volseg_keras.training.data.training_volumes import read_volumes
from volseg_keras.training.fit_network import make_patches
from volseg_keras.training.recipes import RECIPES
from volseg_keras.training.request import Request
from volseg_keras.volumes.intensity import IntensityStatistics
from volseg_keras.volumes.volume import Volume, as_volume


@pytest.fixture(autouse=True, scope="module")
def recipes():
    with quick_recipes():
        yield


def test_a_run_leaves_what_it_promises(tmp_path):
    _, summary = run(tmp_path / "a run", 12, small_network(), recipe="adam")
    rows = read(tmp_path / "a run")
    assert [int(r["step"]) for r in rows] == [4, 8, 12]
    assert summary["steps"] == 12 and summary["hold_out"] == "x:0:32"
    # The best of the last fifth, by the statistics that suit better.
    scores = [float(r["val_jaccard"]) for r in rows if int(r["step"]) > 0.8 * 12]
    assert scores and summary["held_out_jaccard"] > max(scores) - 1e-5
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
        model, _ = run(tmp_path, 4, small_network())
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.layers[1].compute_dtype == "bfloat16"
    saved = load_pretrained(tmp_path)
    assert {layer.compute_dtype for layer in saved._flatten_layers()} == {"float32"}
    assert saved.count_params() == model.count_params()


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    """A run on arrays."""
    folder = tmp_path_factory.mktemp("memory") / "run"
    run(folder, 4)
    return folder


def test_a_trained_model_is_trained_further_on_another_volume(in_memory, tmp_path):
    model = load_pretrained(in_memory)
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
        # Predictions are standardised as in training, not with the statistics of the volume.
        found = predict_volume(folder, darker)
        given = predict_volume(folder, darker, normalization=tuple(told.values()))
        np.testing.assert_array_equal(found, given)
        assert np.abs(found - predict_volume(folder, darker, normalization="volume")).max() > 0.01
    options["normalization"] = "volume"
    with pytest.raises(ValueError, match="`resume`"):
        fit(model, darker, LABEL, output=folder, resume=True, **options)


def test_the_path_of_a_model_is_told(tmp_path):
    with pytest.raises(ValueError, match="`model`. Expected a Keras model"):
        fit(tmp_path / "model.keras", IMAGE, LABEL, output=tmp_path / "run")


def test_training_goes_on_at_the_contrast_of_the_model(tmp_path):
    """And takes a seed and a start of other types."""
    model = with_normalization(tiny_network(), 120.0, 30.0, 1.5)
    options = {"seed": np.int64(3), "start": tmp_path, "steps_per_epoch": 2}
    summary = fit(model, IMAGE, LABEL, output=tmp_path, recipe="quick", steps=2, **options)
    assert summary["seed"] == 3 and summary["from"] == str(tmp_path)
    _, (mean, deviation, contrast) = split_normalization(load_pretrained(tmp_path))
    assert (mean, deviation) == pytest.approx((IMAGE.mean(), IMAGE.std()), rel=0.02)
    assert contrast == 1.5


def test_the_threshold_suits_the_held_out_part(in_memory):
    summary = json.loads((in_memory / "metrics.json").read_text())
    inner = (slice(None), slice(None), slice(0, 32))
    own = IntensityStatistics.of(IMAGE)
    options = {"engine": "keras", "normalization": (own.mean, own.deviation)}
    probability = predict_volume(in_memory, IMAGE[inner], **options)[..., 1]
    scores = [
        segmentation_scores(LABEL[inner], (probability >= t).astype(np.uint8))["classes"][1]
        for t in (summary["threshold"], 0.1, 0.5, 0.9)
    ]
    assert scores[0]["jaccard"] >= max(row["jaccard"] for row in scores) - TIE


def test_three_classes_all_count(tmp_path):
    label = LABEL.copy()
    label[16:] *= 2
    model = tiny_network(3)
    fit(model, IMAGE, label, output=tmp_path, recipe="quick", steps=2)
    assert model.loss.class_id is None


@pytest.mark.parametrize("depth, height", [(11, 64), (1, 64), (20, 9)])
def test_a_thin_volume_gets_thin_patches(depth, height, tmp_path):
    image, label = IMAGE[-depth:, -height:], LABEL[-depth:, -height:]
    summary = fit(tiny_network(), image, label, output=tmp_path, recipe="quick", steps=2)
    assert summary["steps"] == 2
    assert predict_volume(tmp_path, image).shape == (*image.shape, 2)


def test_a_thin_volume_beside_a_thick_one_is_mirrored():
    pair = [IMAGE[-11:], IMAGE], [LABEL[-11:], LABEL]
    volumes = labelled_volumes(*pair, 1, 2, "volume")
    patches = make_patches(volumes, RECIPES["quick"], 3, 0, None)
    assert [patches[i].label.shape for i in range(4)] == 4 * [(16, 32, 32)]


@pytest.mark.parametrize("size, used", [((0.1, 0.1, 0.1), None), ((40, 6, 6), (40, 6, 6))])
def test_sections_are_thinned_by_a_voxel_size_that_can_be_true(size, used):
    volumes = labelled_volumes(as_volume(IMAGE, size), LABEL, 1, 2, "volume")
    (sampler,) = make_patches(volumes, RECIPES["quick"], 3, 0, None).samplers
    assert sampler.voxel_size == used


def test_an_annotated_slice_of_a_thin_volume_lies_anywhere_in_a_patch():
    image, truth = IMAGE[-11:], LABEL[-11:]
    label, z = np.full_like(truth, 255), truth.sum(axis=(1, 2)).argmax()
    label[z] = truth[z]
    volumes = labelled_volumes(image, label, 1, 2, "volume")
    sampler = make_patches(volumes, RECIPES["quick"], 3, 0, None)
    places = set()
    for step in range(40):
        found = np.asarray(sampler.batch(step, 2)[1]).reshape(2, 16, -1) != 255
        places.update(np.nonzero(found.any(axis=(0, 2)))[0].tolist())
    assert places == set(range(16))


def test_plain_compile_and_fit_work():
    model = tiny_network()
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
        ({"label": LABEL * 0}, "labels"),
        ({"label": LABEL / 2}, "label"),
        ({"output": "file/run"}, "output"),
        ({"label": LABEL * 2}, "labels"),
        ({"label": LABEL * np.uint8(20)}, "labels"),
        ({"hold_out": "x:0:32", "label": LABEL * (np.arange(96) >= 32)}, "hold_out"),
        ({"hold_out": "x:0:32", "label": LABEL * (np.arange(96) < 32)}, "hold_out"),
        ({"seed": None}, "seed"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"steps_per_epoch": 0}, "steps_per_epoch"),
        ({"normalization": "own"}, "normalization"),
        ({"normalization": "model"}, "normalization"),
        ({"normalization": 120}, "normalization"),
        ({"label": [LABEL, LABEL]}, "labels"),
        ({"weights": [1, 2]}, "weights"),
        ({"weights": [0]}, "weights"),
        ({"normalization": (120, 0)}, "normalization"),
        ({"hold_out": ["x:0:32", None]}, "hold_out"),
        ({"validation": (IMAGE, LABEL)}, "validation"),
        ({"image": IMAGE[0], "label": LABEL[0]}, "images"),
        ({"recipe": replace(RECIPES["fast"], patch={2: (100, 100), 3: (36, 64, 64)})}, "patch"),
        ({"recipe": replace(RECIPES["fast"], patch={2: (32, 64, 64), 3: (64, 64)})}, "patch"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_arguments_leave_nothing_behind(changes, name, tmp_path):
    (tmp_path / "file").touch()
    options = {"recipe": "quick", "image": IMAGE, "label": LABEL, "output": "run", **changes}
    options["output"] = tmp_path / options["output"]
    image, label = options.pop("image"), options.pop("label")
    with pytest.raises((ValueError, OSError), match=f"`{name}`"):
        fit(tiny_network(), image, label, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_volume_without_objects_is_named(tmp_path):
    with pytest.raises(ValueError, match="`labels`.*at least one object.*volume 2 without"):
        fit(tiny_network(), [IMAGE, IMAGE], [LABEL, LABEL * 0], output=tmp_path / "run")


def test_255_means_the_same_in_all_volumes():
    """Beside class ids, in one of them, it is "not annotated"; else two grey levels are a mask."""
    ids, mask = LABEL.copy(), LABEL * np.uint8(255)
    ids[16:] = 255
    read = partial(labelled_volumes, channels=1, num_classes=2, normalization="volume")
    alone = read([IMAGE], [mask])[0].label
    np.testing.assert_array_equal(alone[:], LABEL)
    beside = [volume.label.present.tolist() for volume in read([IMAGE, IMAGE], [ids, mask])]
    assert beside == [[0, 1, 255], [0, 255]]
    assert read([IMAGE, IMAGE], [ids, LABEL])[1].label.present.tolist() == [0, 1]
    with pytest.raises(ValueError, match="`labels`.*painted with 1 .255 is not ann.*volume 1 with"):
        fit(tiny_network(), IMAGE, ids, validation=[(IMAGE, mask)], output="run")
    masks = read([IMAGE, IMAGE], [LABEL, mask])
    assert [volume.label.present.tolist() for volume in masks] == [[0, 1], [0, 1]]


def test_a_network_does_not_go_on_with_a_run_of_auto(tmp_path):
    (tmp_path / "run/parts/1").mkdir(parents=True)
    (tmp_path / "run/parts/1/checkpoint.h5").touch()
    with pytest.raises(ValueError, match='`resume`. Expected model="auto"'):
        fit(tiny_network(), IMAGE, LABEL, output=tmp_path / "run", resume=True)


def test_networks_of_fixed_sizes_are_refused_at_once(tmp_path):
    model = build_model("C", input_shape=(64, 64, 1))
    with pytest.raises(ValueError, match=r"`model`.*free spatial sizes.*\(64, 64\)"):
        fit(model, IMAGE, LABEL, output=tmp_path, recipe="fast", steps=2)


@pytest.mark.parametrize(
    "text, inner, outer",
    [
        ("x:0:25", np.s_[:, :, 25:100], np.s_[:, :, 0:25]),
        ("z:8:10", np.s_[0:8, :, :], np.s_[8:10, :, :]),
    ],
)
def test_split(text, inner, outer):
    volume = np.arange(10 * 20 * 100).reshape(10, 20, 100)
    (band,) = HoldOut.parse(text).parts
    got = band.slices(volume.shape)
    np.testing.assert_array_equal(volume[got[0]], volume[inner])
    np.testing.assert_array_equal(volume[got[1]], volume[outer])


def test_several_volumes(tmp_path):
    """Of other sizes, types and intensities; two held-out parts."""
    image, label = phantom((20, 48, 80), seed=3)
    images, labels = [IMAGE, image.astype(np.uint16) * 100], [LABEL, label]
    unseen = phantom((16, 32, 32), seed=4)
    options = {"recipe": "quick", "steps_per_epoch": 4, "weights": [2, 1]}
    options["validation"] = [unseen, (unseen[0][::-1], unseen[1][::-1])]
    options["hold_out"] = ["x:0:32", None]
    summary = fit(tiny_network(), images, labels, output=tmp_path / "a", steps=8, **options)
    assert [v["name"] for v in summary["volumes"]] == ["volume 1", "volume 2"]
    assert summary["volumes"][1]["mean"] == pytest.approx(100 * image.mean(), rel=0.01)
    each = summary["held_out"]
    assert list(each) == ["volume 1 x:0:32", "volume 1", "volume 2"]
    assert summary["held_out_jaccard"] == pytest.approx(np.mean(list(each.values())))
    row = read(tmp_path / "a")[-1]
    assert float(row["val_jaccard"]) == pytest.approx(
        np.mean([float(row[f"val_jaccard {name}"]) for name in each]), abs=1e-5
    )
    with stopped_at(6):
        fit(tiny_network(), images, labels, output=tmp_path / "b", steps=8, **options)
    fewer = {**options, "validation": [unseen]}
    with pytest.raises(ValueError, match="`resume`"):
        fit(tiny_network(), images, labels, output=tmp_path / "b", steps=8, resume=True, **fewer)
    fit(tiny_network(), images, labels, output=tmp_path / "b", steps=8, resume=True, **options)
    one, other = load_pretrained(tmp_path / "a"), load_pretrained(tmp_path / "b")
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def written(folder, suffix):
    """Return image and labels as open files."""
    paths = [folder / f"{name}{suffix}" for name in ("image", "label")]
    for path, array in zip(paths, (IMAGE, LABEL * 255), strict=True):
        save_volume(path, array)
    return [open_volume(path) for path in paths]


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr("volseg_keras.training.data.labelled_volumes.free_memory", lambda: 1000)
    monkeypatch.setattr(Volume, "__array__", None)  # never as a whole


def seen(image, label):
    """Return all arrays that four steps of a training and its validation see."""
    request = Request(model=None, images=image, labels=label, output="", hold_out="x:0:32")
    found = read_volumes(request, 3, 1, 2, "volume")
    patches = make_patches(found.training, RECIPES["quick"], 3, 0, None)
    batches = [array for step in range(4) for array in patches.batch(step, 2)]
    (part,) = found.scored
    return [*batches, part.image[0:32], part.label[0:32], np.array(part.intensity.mean)]


@pytest.mark.parametrize("suffix", [".zarr", ".h5", ".tif", ".mrc", ".npy"])
def test_a_volume_larger_than_memory_is_read_patch_by_patch(suffix, tmp_path, little_memory):
    for got, want in zip(seen(*written(tmp_path, suffix)), seen(IMAGE, LABEL), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_patch_that_cannot_be_read_is_told_as_it_is(tmp_path, monkeypatch):
    """Not as an error of TensorFlow's."""
    draw = PatchSampler.__getitem__

    def damaged(sampler, index):
        require(index < 5, "volume", "an undamaged file", "a chunk of nonsense")
        return draw(sampler, index)

    monkeypatch.setattr(PatchSampler, "__getitem__", damaged)
    with pytest.raises(ValueError, match="`volume`. Expected an undamaged file"):
        fit(tiny_network(), IMAGE, LABEL, output=tmp_path / "run", recipe="quick", steps=6)


def test_training_from_files_is_that_from_memory(in_memory, tmp_path, little_memory):
    options = {"recipe": "quick", "hold_out": "x:0:32", "steps": 4, "steps_per_epoch": 4}
    (tmp_path / "a folder").mkdir()
    files = written(tmp_path / "a folder", ".zarr")
    fit(tiny_network(), *files, output=tmp_path / "file", **options)
    one, other = load_pretrained(in_memory), load_pretrained(tmp_path / "file")
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_batch_size_replaces_that_of_the_recipe(tmp_path, monkeypatch):
    sizes = []
    batch = fitting.batches
    monkeypatch.setattr(fitting, "batches", lambda p, n, s: sizes.append(n) or batch(p, n, s))
    _, summary = run(tmp_path / "a", 2, tiny_network(), batch_size=3)
    assert summary["batch"] == 3 and set(sizes) == {3}
    for wrong in (0, 1.5, True):
        with pytest.raises(ValueError, match="`batch_size`"):
            run(tmp_path / "b", 2, tiny_network(), batch_size=wrong)
