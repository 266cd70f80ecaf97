"""Volumes segmented block by block: cut, resumed, shared."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from subprocess import DEVNULL
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg_keras import build_model, load_pretrained, open_volume, phantom, save_volume
from volseg_keras.inference import runner as job
from volseg_keras.inference.blocks import axis_plan, block_tile, blocks, predict_block
from volseg_keras.inference.open_model import predict_volume
from volseg_keras.networks.models import with_normalization
from volseg_keras.volumes.intensity import Intensity

OPTIONS = {"tta": False, "seamless": False, "scale": (1, 1, 1), "probability": True}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "model.keras"
    with_normalization(build_model("H"), 120.0, 30.0).save(path)
    return str(path)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(job, "BLOCK", (64, 128, 128))


@given(
    size=st.integers(1, 300),
    block=st.integers(1, 150),
    tile=st.integers(20, 90),
    halo=st.integers(0, 6),
    fade=st.integers(0, 2),
)
@settings(max_examples=200, deadline=None)
def test_blocks_of_an_axis_keep_every_voxel_once(size, block, tile, halo, fade):
    kept = []
    for start in range(0, size, block):
        stop = min(start + block, size)
        plan = axis_plan(size, slice(start, stop), tile, halo, fade)
        assert plan[0].keep_start == start and plan[-1].keep_stop == stop
        for i in plan:
            assert 0 <= i.start <= i.keep_start < i.keep_stop <= i.stop
            assert i.start == 0 or i.keep_start - i.start >= halo
            assert i.stop >= size or i.stop - i.keep_stop >= halo
            kept += range(i.keep_start + i.fade, i.keep_stop)
    assert kept == list(range(size))


@given(shape=st.tuples(*[st.integers(1, 70)] * 3), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_blocks_of_what_does_nothing_are_the_volume(shape, seed):
    volume = np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)
    whole = np.zeros(shape, np.uint8)
    size = (16, 32, 32)
    tile = block_tile(shape, size, 3, 100_000)
    for block in blocks(shape, size):
        whole[block] = predict_block(lambda t: t[..., None], volume, block, 3, tile)[..., 0]
    np.testing.assert_array_equal(whole, volume)


def start(folder, network, volume, name="labels.zarr", **changes):
    source = {"path": str(folder / "image.npy"), "axes": None, "voxel_size": (5.0, 5.0, 5.0)}
    if volume is not None:
        save_volume(source["path"], volume)
    what = {"model": network, "engine": "openvino", "threshold": 0.5, **OPTIONS, **changes}
    return job.start_job(folder / name, source, **what)


@pytest.mark.parametrize("name", ["labels.zarr", "labels.tif", "labels.h5"])
def test_a_resumed_job_gives_what_an_unbroken_one_gives(tmp_path, network, small_blocks, name):
    volume = phantom((70, 150, 200), seed=1)[0]
    folder = start(tmp_path, network, volume, "unbroken.zarr")
    job.run_job(folder)
    job.finish_job(folder, tmp_path / "unbroken.zarr", tmp_path / "p.zarr")
    assert not folder.exists()

    folder = start(tmp_path, network, None, name)
    with pytest.raises(FileExistsError, match="`resume`"):
        start(tmp_path, network, None, name)
    with pytest.raises(ValueError, match="threshold, 0.5. Received: 0.7"):
        start(tmp_path, network, None, name, threshold=0.7, resume=True)
    run, seen = partial(job.run_block, str(folder)), []
    [run(i) for i in (0, 5)]
    assert start(tmp_path, network, None, name, resume=True) == folder
    job.run_job(folder, on_block=lambda *counts: seen.append(counts))
    assert seen == [(n, 8) for n in range(2, 9)] and job.pending(folder) == []
    share, center, _ = job.finish_job(folder, tmp_path / name)
    found, whole = open_volume(tmp_path / name), open_volume(tmp_path / "unbroken.zarr")[...]
    np.testing.assert_array_equal(found[...], whole)
    assert found.voxel_size == (5, 5, 5) and share == pytest.approx(whole.mean())
    assert whole[center] == 1 or share == 0
    np.testing.assert_array_equal(whole, open_volume(tmp_path / "p.zarr")[...] >= 0.5)


def test_a_process_that_does_a_second_job_of_one_output_does_that_one(tmp_path, network):
    volume = phantom((16, 32, 32), seed=1)[0]
    probability = predict_volume(network, volume, engine="openvino")[..., 1]
    low, high = probability.min(), probability.max()
    assert high - low > 2 / 256
    for threshold in (float(low + share * (high - low)) for share in (0.3, 0.7)):
        folder = start(tmp_path, network, volume, "labels.tif", threshold=threshold)
        job.run_job(folder)
        job.finish_job(folder, tmp_path / "labels.tif")
        share = open_volume(tmp_path / "labels.tif")[...].mean()
        assert share == pytest.approx((probability >= threshold).mean(), abs=0.05)


def test_a_folder_called_as_a_model_is_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "H").mkdir()
    folder = start(tmp_path, "H", phantom((16, 32, 32))[0], "labels.tif")
    job.run_job(folder)
    job.finish_job(folder, "labels.tif")
    assert open_volume("labels.tif").shape == (16, 32, 32)


def test_a_job_is_found_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert job.job_folder("labels.zarr") == tmp_path / ".labels.zarr.part"


def test_a_half_written_job_is_begun_again(tmp_path, network):
    volume = phantom((16, 32, 32), seed=1)[0]
    folder = start(tmp_path, network, volume)
    (folder / job.JOB).unlink()
    assert start(tmp_path, network, volume) == folder
    assert json.loads((folder / job.JOB).read_text())["shape"] == [16, 32, 32]
    shutil.rmtree(folder)


def test_a_job_agrees_with_the_volume_in_one_go(tmp_path, network):
    volume = phantom((40, 96, 96), seed=2)[0]
    folder = start(tmp_path, network, volume)
    job.run_job(folder)
    job.finish_job(folder, tmp_path / "labels.zarr", tmp_path / "p.zarr")
    whole = predict_volume(network, volume, engine="openvino")[..., 1]
    np.testing.assert_array_equal(open_volume(tmp_path / "p.zarr")[...], whole)


@pytest.mark.parametrize("name", ["labels.zarr", "labels.tif"])
def test_a_job_interrupted_at_its_end_loses_nothing(tmp_path, network, name, monkeypatch):
    """While the pyramid of the labels is written, and while the folder is removed."""
    suffix = name.removeprefix("labels")
    files = tmp_path / name, tmp_path / f"probability{suffix}"
    folder = start(tmp_path, network, phantom((40, 160, 160), seed=2)[0], name)
    job.run_job(folder)
    finish, remove = job.finish_zarr, shutil.rmtree

    def broken_off(store, size):
        finish(store, size)
        if store.name == "labels.zarr":
            raise KeyboardInterrupt

    def half(path, **options):
        for part in ("0", "done"):
            remove(next(path.glob(f"**/{part}"), path), ignore_errors=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "finish_zarr", broken_off)
    if suffix == ".zarr":
        with pytest.raises(KeyboardInterrupt):
            job.finish_job(folder, *files)
        assert not any(file.exists() for file in files)
    monkeypatch.setattr(job, "finish_zarr", finish)
    monkeypatch.setattr(job, "shutil", SimpleNamespace(rmtree=half))
    with pytest.raises(KeyboardInterrupt):
        job.finish_job(folder, *files)
    monkeypatch.undo()
    labels, probability = (open_volume(file)[...] for file in files)
    np.testing.assert_array_equal(labels, probability >= 0.5)
    assert labels.any() and not (folder / job.JOB).exists()
    assert len(job.pending(start(tmp_path, network, None, name, resume=True))) == 1


def wait_for(count, folder):
    """Wait until at least so many blocks are done."""
    end = time.monotonic() + 120
    while len(list((folder / "done").glob("*.json"))) < count:
        assert time.monotonic() < end, "no progress"
        time.sleep(0.02)


def test_a_job_killed_three_times_gives_what_an_unbroken_one_gives(tmp_path, network, small_blocks):
    volume = phantom((70, 150, 200), seed=1)[0]
    unbroken = start(tmp_path, network, volume, "unbroken.zarr")
    job.run_job(unbroken)
    folder = start(tmp_path, network, None)
    code = (
        "import sys; from pathlib import Path; from volseg_keras.inference import runner as job; "
    )
    code += "job.run_job(Path(sys.argv[1]))"
    for done in (1, 3, 6):
        process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=DEVNULL)
        wait_for(done, folder)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert job.pending(folder)
    job.run_job(folder)
    same_arrays(folder, unbroken)


def same_arrays(folder, other):
    """Assert that two finished jobs hold the same voxels."""
    for name in job.STORES:
        a, b = (zarr.open_array(f / f"{name}.zarr" / "0", mode="r")[...] for f in (folder, other))
        np.testing.assert_array_equal(a, b)


def test_two_workers_of_which_one_is_killed(tmp_path, network, small_blocks):
    distributed = pytest.importorskip("distributed")
    volume = phantom((70, 150, 200), seed=1)[0]
    alone = start(tmp_path, network, volume, "alone.zarr")
    job.run_job(alone)
    folder, killed = start(tmp_path, network, None), []

    def kill_one(done, total):
        if done == 2 and not killed:
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options, silence_logs=50) as cluster:
        with distributed.Client(cluster) as client:
            pids = client.run(os.getpid)
        assert len(set(pids.values())) == 2
        job.run_job(folder, cluster=cluster.scheduler_address, on_block=kill_one)
    assert killed and job.pending(folder) == []
    same_arrays(folder, alone)


def test_a_crop_by_its_volumes_statistics_is_the_crop_of_the_prediction():
    volume = phantom((32, 160, 176), seed=1)[0]
    model, constants = load_pretrained("H"), Intensity.of(volume)
    inside, reach = (slice(None), slice(0, 112), slice(0, 128)), 96
    whole = predict_volume(model, volume, normalization="volume")
    crop = predict_volume(model, volume[inside], normalization=constants)
    kept = (slice(None), slice(0, 112 - reach), slice(0, 128 - reach))
    np.testing.assert_allclose(crop[kept], whole[kept], atol=1e-3)
    other = predict_volume(model, volume[inside], normalization="volume")
    assert np.abs(other[kept] - whole[kept]).max() > 1e-3


def test_a_job_of_two_models_and_other_voxels(tmp_path, network, small_blocks):
    keras.utils.set_random_seed(7)
    other = tmp_path / "other.keras"
    with_normalization(build_model("H"), 110.0, 20.0).save(other)
    volume, scale = phantom((40, 96, 96), seed=2)[0], (1, 0.5, 0.5)
    folder = start(tmp_path, [network, str(other)], volume, scale=scale)
    job.run_job(folder)
    job.finish_job(folder, tmp_path / "labels.zarr", tmp_path / "p.zarr")
    both = [
        predict_volume(model, volume, engine="openvino", scale=scale) for model in (network, other)
    ]
    found = open_volume(tmp_path / "p.zarr")[...]
    np.testing.assert_allclose(found, np.mean(both, axis=0)[..., 1], atol=0.02)
    # One model has constants of its own, and the other has not.
    build_model("H").save(other)
    folder = start(tmp_path, [network, str(other)], volume)
    job.run_job(folder)
    found = open_volume(folder / "probability.zarr")[...]
    mixed = predict_volume([network, str(other)], volume, engine="openvino")[..., 1]
    np.testing.assert_allclose(found, mixed, atol=0.02)
    with pytest.raises(ValueError, match="spatial_dims. Received: 3, 2"):
        predict_volume([network, build_model("C")], volume)
