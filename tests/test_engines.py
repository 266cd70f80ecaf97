import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from networks import settled, shallow_networks

from volseg_keras import export_savedmodel, load_pretrained, phantom, predict_volume, save_volume
from volseg_keras.inference.engines import runtimes
from volseg_keras.inference.engines.graph_cache import KEPT, graph_key
from volseg_keras.inference.open_model import open_model
from volseg_keras.inference.segmenter import RECENT
from volseg_keras.networks.models import split_normalization, with_normalization
from volseg_keras.pretrained.presets import published
from volseg_keras.resources import usable_cores
from volseg_keras.volumes.formats.registry import suffixes_with


@pytest.fixture(scope="module", autouse=True)
def shallow():
    with shallow_networks():
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Saved networks that mark a good part of the phantom."""
    folder = tmp_path_factory.mktemp("some models")
    for name in ("C", "H", "U-Net"):
        with_normalization(settled(name), 130.0, 40.0).save(folder / f"{name}.keras")
    return folder


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    """The SavedModel of one of them."""
    folder = tmp_path_factory.mktemp("an export") / "saved"
    return export_savedmodel(load_pretrained(models / "C.keras"), folder)


IMAGE = phantom((20, 48, 64), seed=3)[0]
BFLOAT16 = 0.006  # mean error of the probabilities of untrained networks, which are near a half


@pytest.mark.parametrize(
    "name, dtype",
    [
        ("H.keras", "u1"),
        ("U-Net.keras", "u1"),
        *[("C.keras", dtype) for dtype in ("u1", "u2", ">u2", "i2", "f4", "f8")],
        (published()["mito-3d"], "u1"),  # the one network here of all its blocks
    ],
    ids=lambda value: Path(value).name,
)
def test_openvino_agrees_with_keras(models, name, dtype):
    path, image = models / name, IMAGE.astype(dtype)
    want = predict_volume(path, image, engine="keras")
    got = predict_volume(path, image, engine="openvino")
    assert got.shape == want.shape and got.dtype == np.float32
    assert np.abs(got - want).mean() < BFLOAT16
    assert (want[..., 1] >= 0.5).any() and (want[..., 1] < 0.5).any()


def test_onnxruntime_agrees_with_keras(models):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    want = predict_volume(models / "H.keras", IMAGE, engine="keras")
    got = predict_volume(models / "H.keras", IMAGE, engine="onnxruntime")
    assert np.abs(got - want).max() < 1 / 512 + 1e-4


@pytest.mark.slow
def test_a_model_in_memory_and_a_savedmodel(models, saved):
    model, _ = split_normalization(load_pretrained(models / "C.keras"))
    want = predict_volume(model, IMAGE)
    assert np.abs(predict_volume(model, IMAGE, engine="openvino") - want).mean() < BFLOAT16
    assert np.abs(predict_volume(saved, IMAGE, engine="openvino") - want).mean() < BFLOAT16
    with pytest.raises(ValueError, match="`engine`"):
        open_model(saved, "onnxruntime")


@pytest.mark.slow
def test_a_savedmodel_is_averaged_with_a_run(models, saved):
    got = predict_volume([models / "C.keras", saved], IMAGE, engine="openvino")
    want = predict_volume(models / "C.keras", IMAGE, engine="openvino")
    assert got.shape == want.shape and np.abs(got - want).mean() < BFLOAT16


def test_another_network_is_run_by_keras(tmp_path):
    import keras

    inputs = keras.Input((None, None, None, 1))
    model = keras.Model(inputs, keras.layers.Conv3D(2, 1, activation="softmax")(inputs))
    assert predict_volume(model, IMAGE).shape == (*IMAGE.shape, 2)
    with pytest.raises(ValueError, match="`model`"):
        predict_volume(model, IMAGE, engine="openvino")
    model.save(tmp_path / "own.keras")
    with pytest.warns(UserWarning, match="with Keras"):
        assert predict_volume(tmp_path / "own.keras", IMAGE).shape == (*IMAGE.shape, 2)


def test_three_classes(tmp_path):
    path = tmp_path / "three.keras"
    with_normalization(settled("C", num_classes=3), 130.0, 40.0).save(path)
    want = predict_volume(path, IMAGE, engine="keras")
    got = predict_volume(path, IMAGE, engine="openvino")
    assert got.shape == (*IMAGE.shape, 3) and np.abs(got - want).mean() < BFLOAT16
    np.testing.assert_allclose(got.sum(-1), 1, atol=1e-2)


def test_no_folder_is_left_and_none_is_needed(models, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    want = predict_volume(models / "C.keras", IMAGE)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    RECENT.clear()
    np.testing.assert_array_equal(predict_volume(models / "C.keras", IMAGE), want)
    RECENT.clear()
    gc.collect()
    left = {path.name for path in tmp_path.iterdir()}
    assert {name for name in left if not name.startswith("__autograph_generated")} == {"file"}


@pytest.mark.slow
def test_graphs_that_nobody_uses_leave_the_cache(models, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = [models / "C.keras", models / "U-Net.keras"]
    paths = [tmp_path / "volseg_keras" / graph_key(file, "openvino") for file in files]
    open_model(files[0], "openvino")
    (about,) = paths[0].rglob("volseg.json")
    os.utime(about, (0, time.time() - KEPT + 1000))
    half = paths[0] / "part.of a killed process"
    half.mkdir()
    os.utime(half, (0, time.time() - KEPT - 1000))
    open_model(files[0], "openvino")  # used: young again
    open_model(files[1], "openvino")
    assert about.is_file() and not half.exists()
    os.utime(about, (0, time.time() - KEPT - 1000))
    shutil.rmtree(paths[1])
    open_model(files[1], "openvino")  # written anew
    assert not about.exists() and list(paths[1].rglob("volseg.json"))


PREDICT = """
import sys
import numpy as np, volseg_keras
image = volseg_keras.phantom((16, 64, 64))[0]
segmenter = volseg_keras.Segmenter(sys.argv[1], engine="openvino")
print("ready", flush=True)
sys.stdin.readline()
for size in (32, 48, 64):
    for depth in (4, 8, 16):
        assert np.isfinite(segmenter(image[:depth, :size, :size])).all()
"""


@pytest.mark.slow
def test_processes_compile_a_model_at_once(models, tmp_path):
    """They share a cache, in which each finds what others are writing."""
    command = [sys.executable, "-c", PREDICT, str(models / "C.keras")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    processes = [subprocess.Popen(command, env=environment, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(300) for process in processes] == [0] * 4


def test_a_model_of_two_channels_is_refused_at_once():
    from volseg_keras import build_model

    with pytest.raises(ValueError, match="2 channels"):
        predict_volume(build_model("C", in_channels=2), IMAGE)


def test_a_wrong_tile_is_refused_before_the_engine_starts(models):
    with pytest.raises(ValueError, match="`tile`"):
        predict_volume(models / "C.keras", IMAGE, tile=(96, 96, 90))


def test_bfloat16_that_changes_labels_is_not_used(models, monkeypatch):
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU does not compute in bfloat16")
    want = predict_volume(models / "H.keras", IMAGE, engine="keras")
    monkeypatch.setattr(runtimes, "CHANGED", -1)
    monkeypatch.setattr(runtimes, "SPECKS", -1)
    with pytest.warns(UserWarning, match="float32"):
        got = predict_volume(models / "H.keras", IMAGE, engine="openvino")
    assert np.abs(got - want).max() < 1 / 512 + 1e-4


@pytest.mark.parametrize("suffix", suffixes_with("write"))
def test_every_format_is_segmented_alike(models, suffix, tmp_path):
    path = save_volume(tmp_path / f"some image{suffix}", IMAGE)
    got, want = (predict_volume(models / "C.keras", image) for image in (path, IMAGE))
    np.testing.assert_array_equal(got, want)


WITHOUT_KERAS = """
import sys, numpy as np, volseg_keras
image = np.load(sys.argv[2])
assert volseg_keras.predict_volume(sys.argv[1], image).shape == (*image.shape, 2)
assert not {"keras", "tensorflow"} & set(sys.modules)
"""


def test_the_second_use_of_a_file_needs_no_keras(models, tmp_path):
    np.save(tmp_path / "image.npy", IMAGE)
    path = models / "H.keras"
    predict_volume(path, IMAGE, engine="openvino")
    subprocess.run([sys.executable, "-c", WITHOUT_KERAS, path, tmp_path / "image.npy"], check=True)


def test_a_changed_file_is_another_model(models, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes((models / "H.keras").read_bytes())
    first = predict_volume(path, IMAGE)
    path.write_bytes((models / "C.keras").read_bytes())
    assert not np.array_equal(predict_volume(path, IMAGE), first)


def test_an_unknown_engine(models):
    with pytest.raises(ValueError, match="auto, keras, openvino, onnxruntime"):
        predict_volume(models / "H.keras", IMAGE, engine="abacus")


@pytest.mark.parametrize("factor, maps", [(1, 2), (2, 1), (2, 3)])
def test_unfold_is_the_inverse_of_laying_voxels_side_by_side(factor, maps):
    full = np.random.default_rng(0).integers(0, 255, (2, 4, 6, 8, maps), np.uint8)
    z, y, x = (n // factor for n in full.shape[1:4])
    folded = full.reshape(2, z, factor, y, factor, x, factor, maps)
    folded = folded.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(2, z, y, x, -1)
    np.testing.assert_array_equal(runtimes.unfold(folded, full.shape[1:4]), full)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_cores_are_those_of_the_affinity():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
