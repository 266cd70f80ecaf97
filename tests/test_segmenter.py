"""Models that are opened once: `Segmenter`, and what `predict_volume` keeps."""

import os
import shutil
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import settled, shallow_networks

from volseg_keras import (
    Segmenter,
    build_model,
    open_volume,
    phantom,
    predict_volume,
    save_volume,
)
from volseg_keras.inference import segmenter
from volseg_keras.inference.engines import runtimes
from volseg_keras.inference.engines.runtimes import OpenVinoEngineFactory, first_changed_class
from volseg_keras.inference.jobs.job import RequestedModels, checked_threshold
from volseg_keras.inference.lru_cache import LruCache
from volseg_keras.inference.options import PredictionOptions
from volseg_keras.inference.prediction import Prediction, check_size
from volseg_keras.networks.models import split_normalization, with_normalization
from volseg_keras.volumes.intensity import IntensityStatistics
from volseg_keras.volumes.volume import Volume, as_volume

IMAGE = phantom((20, 48, 64), seed=3)[0]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "C.keras"
    with shallow_networks():
        with_normalization(settled("C"), 130.0, 40.0).save(path)
    return path


@pytest.fixture
def path(file, tmp_path):
    """A file of a network, of which nothing is kept yet."""
    segmenter.RECENT.clear()
    yield Path(shutil.copy(file, tmp_path))
    segmenter.RECENT.clear()


def counted(monkeypatch, owner, name):
    """Count the calls of a function from now on, in a list."""
    calls, function = [], getattr(owner, name)

    def count(*arguments, **options):
        calls.append(arguments)
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, count)
    return calls


def test_a_model_is_opened_and_compiled_once(path, monkeypatch):
    opened = counted(monkeypatch, segmenter, "open_model")
    compiled = counted(monkeypatch, OpenVinoEngineFactory, "_compile")
    want = predict_volume(path, IMAGE, engine="openvino")
    first = len(compiled)
    for image in (IMAGE, np.flip(IMAGE), IMAGE + 1):
        assert predict_volume(path, image, engine="openvino").shape == want.shape
    assert len(opened) == 1 and len(compiled) == first >= 1
    one = Segmenter(path, engine="openvino")
    np.testing.assert_array_equal(one(IMAGE), want)
    count = len(compiled)
    for _ in range(3):
        np.testing.assert_array_equal(one(IMAGE), want)
    assert len(compiled) == count and one.metadata["num_classes"] == 2


def test_labels_of_a_segmenter(path):
    one, done = Segmenter(path), []
    probability = one(IMAGE, on_progress=lambda *counts: done.append(counts))
    assert done == [(i, 20) for i in range(1, 21)] and one.labels(IMAGE).dtype == np.uint8
    np.testing.assert_array_equal(one.labels(IMAGE), probability[..., 1] >= 0.5)
    low = float(np.quantile(probability[..., 1], 0.2))
    assert one.labels(IMAGE, low).mean() > 0.7
    predict_volume(path, IMAGE, on_progress=lambda *counts: done.append(counts))
    assert len(done) == 40


@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_changed_weights_are_noticed(engine, path, monkeypatch):
    started = counted(monkeypatch, runtimes, "keras_engine")
    model = keras.saving.load_model(path, compile=False)
    before = predict_volume(model, IMAGE, engine=engine)
    np.testing.assert_array_equal(predict_volume(model, IMAGE, engine=engine), before)
    model.set_weights([0.5 * weights for weights in model.get_weights()])
    after = predict_volume(model, IMAGE, engine=engine)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(after, Segmenter(model, engine="keras")(IMAGE), atol=0.01)
    # Its own, and the one of the segmenter that it is compared with.
    assert len(started) == (2 if engine == "keras" else 1)


def test_constants_of_a_model_are_noticed(path):
    network, _ = split_normalization(keras.saving.load_model(path, compile=False))
    inside = [with_normalization(network, mean, 40.0) for mean in (100.0, 150.0)]
    one, other = (predict_volume(m, IMAGE, normalization="model") for m in inside)
    assert np.abs(one - other).max() > 0.001


def test_a_file_written_anew_is_opened_anew(path):
    before = predict_volume(path, IMAGE, engine="keras")
    model = keras.saving.load_model(path, compile=False)
    model.set_weights([0.5 * weights for weights in model.get_weights()])
    model.save(path)
    assert np.abs(predict_volume(path, IMAGE, engine="keras") - before).max() > 0.01
    path.unlink()
    with pytest.raises(ValueError, match="`model`"):
        predict_volume(path, IMAGE)


@pytest.mark.parametrize("normalization", [(120.0, 30.0), [120, 30], np.array([120.0, 30.0])])
def test_normalization_by_numbers_of_any_kind(normalization, path):
    want = predict_volume(path, (IMAGE.astype(np.float32) - 120) / 30, normalization=(0, 1))
    got = predict_volume(path, IMAGE, normalization=normalization)
    np.testing.assert_allclose(got, want, atol=1 / 128)


def test_given_statistics_leave_padding_out(path):
    framed = np.pad(IMAGE, [(0, 0), (24, 24), (24, 24)])
    found = predict_volume(path, framed, normalization=(120, 30))[..., 1]
    frame = np.ones(framed.shape, bool)
    frame[:, 24:-24, 24:-24] = False
    assert (found[frame] < 1 / 128).all()
    known = predict_volume(path, framed, normalization=IntensityStatistics(120.0, 30.0, (0.0,)))
    np.testing.assert_array_equal(found, known[..., 1])


@pytest.mark.parametrize("scale", [(1, 1, 1), np.ones(3)])
def test_a_given_scale_is_not_replaced(scale):
    volume = as_volume(IMAGE, (8.0, 8.0, 8.0))
    _, options = Segmenter(scale=scale)._ready(volume)
    assert options.scale == (1, 1, 1)
    assert Segmenter()._ready(volume)[1].scale != (1, 1, 1)


def test_a_threshold_out_of_range_is_told_before_the_work(path):
    for threshold in (0, 1, 40, "auto"):
        with pytest.raises(ValueError, match="`threshold`. Expected a number between 0 and 1"):
            Segmenter(path).labels(IMAGE, threshold)


@pytest.mark.parametrize(
    "options",
    [
        {"normalization": "mean"},
        {"normalization": np.zeros(3)},
        {"scale": (1, 2)},
        {"scale": (1, 2, 0)},
        {"scale": 2},
        {"scale": ("a", 1, 1)},
        {"tile": 64},
        {"smoothing": "a"},
        {"zooms": "a"},
    ],
)
def test_wrong_options(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}`") as error:
        PredictionOptions(**options)
    assert len(str(error.value).splitlines()) == 1


def test_auto_alone_in_a_list_is_auto():
    assert RequestedModels("auto").is_auto and RequestedModels(["auto"]).is_auto
    assert (
        RequestedModels("mito-3d").names == ("mito-3d",) and not RequestedModels("mito-3d").is_auto
    )
    volume = as_volume(IMAGE, (8.0, 8.0, 8.0))
    assert Segmenter(["auto"])._ready(volume)[1] == Segmenter()._ready(volume)[1]


def test_a_wrong_engine_is_told_before_a_model_is_chosen():
    with pytest.raises(ValueError, match="`engine`"):
        Segmenter(engine="opnvino")
    with pytest.raises(ValueError, match="`engine`"):
        predict_volume("auto", IMAGE, engine="opnvino")


@pytest.mark.parametrize("threshold", [None, [0.5], "half"])
def test_a_threshold_of_another_type_is_told(threshold):
    with pytest.raises(ValueError, match="`threshold`. Expected a number between 0 and 1"):
        checked_threshold(threshold)


def test_a_lazy_volume_stays_so(path, tmp_path, monkeypatch):
    file = save_volume(tmp_path / "image.h5", IMAGE)
    want = predict_volume(path, IMAGE)
    monkeypatch.setattr(Volume, "__array__", None)  # never as a whole
    for volume in (open_volume(file), file, str(file)):
        np.testing.assert_array_equal(predict_volume(path, volume), want)
    np.testing.assert_array_equal(predict_volume(path, IMAGE.tolist()), want)


@pytest.mark.parametrize(
    "model, volume, options, name",
    [
        ("H", np.zeros((0, 64, 64), np.uint8), {}, "volume"),
        ("H", np.zeros((8, 64, 64), complex), {}, "volume"),
        (None, np.zeros((8, 64, 64)), {}, "model"),
        ("H", np.zeros((8, 64, 64)), {"normalization": ((1, 2), (3, 4))}, "normalization"),
        ("H", np.zeros((8, 64, 64)), {"tile": "abc"}, "tile"),
    ],
)
def test_wrong_arguments_are_named(model, volume, options, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        predict_volume(model, volume, **options)


@pytest.mark.parametrize("engine", ["keras", "openvino"])
@shallow_networks()
def test_a_model_of_fixed_sizes_is_refused(engine):
    model = build_model("C", input_shape=(64, 64, 1))
    with pytest.raises(ValueError, match="`model`. Expected a network of free spatial sizes"):
        predict_volume(model, IMAGE, engine=engine)


def test_a_wrong_model_is_told_before_a_file_is_read(tmp_path, monkeypatch):
    file = save_volume(tmp_path / "image.npy", IMAGE)
    monkeypatch.setattr(Volume, "__getitem__", None)
    monkeypatch.setattr("volseg_keras.inference.open_model.open_graph", None)  # nor is H opened
    for model in ("nothing", ["H", "nothing"]):
        with pytest.raises(ValueError, match="`model`"):
            predict_volume(model, file)
        with pytest.raises(ValueError, match="`model`"):
            Segmenter(model)


def test_threads_share_a_model(path):
    images = [np.roll(IMAGE, shift, axis=2) for shift in range(4)]
    one, found = Segmenter(path), {}
    want = [one(image) for image in images]

    def run(i):
        found[i] = one(images[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, image in enumerate(want):
        np.testing.assert_array_equal(found[i], image)


def test_the_precision_is_chosen_for_every_volume_and_kept_for_the_same(path, monkeypatch):
    one = Segmenter(path, engine="openvino")
    one(IMAGE)
    factory = one._predictor.engine_factory._factory
    monkeypatch.setattr(runtimes, "cpu_has_bfloat16", lambda: True)
    compared = []

    def compare(sample):
        compared.append(sample)
        return [(2, 100 * len(compared), 1000)]

    monkeypatch.setattr(factory, "_compare", compare)
    samples = [np.full((16, 16, 16), value, np.float32) for value in (0, 1)]
    for _ in range(3):
        factory(samples[0])
    assert len(compared) == 1
    for _ in range(2):
        with pytest.warns(UserWarning, match="change 200"):
            factory(samples[1])
    assert len(compared) == 2


def test_bfloat16_may_change_a_hundred_labels_or_one_percent_of_a_class():
    assert first_changed_class([]) is None
    assert first_changed_class([(1, 0, 100_000), (2, 100, 1000), (3, 1000, 100_000)]) is None
    assert first_changed_class([(1, 0, 9), (2, 101, 1000), (3, 500, 1000)]) == (2, 101, 1000)


def test_the_values_used_last_are_kept():
    kept, made = LruCache(2), []
    for key in "abaacab":
        assert kept.get(key, lambda key=key: made.append(key) or key.upper()) == key.upper()
    assert made == ["a", "b", "c", "b"] and [key for key, _ in kept.items()] == ["a", "b"]
    kept.abandon()
    assert not kept.items()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_forked_process_opens_models_itself():
    segmenter.RECENT.get("a model", object)
    child = os.fork()
    if not child:
        os._exit(len(segmenter.RECENT.items()))
    assert os.waitpid(child, 0)[1] == 0
    segmenter.RECENT.clear()


def test_a_prediction_is_kept_to_look_at(path):
    done = []
    found = Prediction.of(IMAGE, path, lambda *tiles: done.append(tiles))
    assert done[-1][0] == done[-1][1] and found.threshold == 0.5 and str(path) in found.description
    probability = predict_volume(path, IMAGE)[..., 1]
    np.testing.assert_array_equal(found.probability, probability)
    for threshold in (0.3, 0.5):
        np.testing.assert_array_equal(found.labels(threshold), probability >= threshold)
    ids = found.instances(0.3)
    assert ids.dtype == np.uint32 and not ids[found.labels(0.3) == 0].any()
    with pytest.raises(ValueError, match="`volume`. Expected at most"):
        check_size((10**5, 10**5, 10**5))
