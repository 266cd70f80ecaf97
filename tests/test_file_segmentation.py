"""Volumes segmented block by block: cut, resumed, shared."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from subprocess import DEVNULL
from threading import Barrier
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import settled, shallow_networks

from volseg_keras import build_model, open_volume, phantom, save_volume
from volseg_keras.inference.jobs import file_segmentation, resumable_job
from volseg_keras.inference.jobs import store as job_store
from volseg_keras.inference.jobs.blocks import axis_plan, block_tile, blocks, predict_block
from volseg_keras.inference.jobs.file_segmentation import segment_file
from volseg_keras.inference.jobs.job import Job, OutputFiles, RequestedModels, SourceVolume
from volseg_keras.inference.jobs.store import JobStore
from volseg_keras.inference.jobs.stored_job import StoredJob
from volseg_keras.inference.options import PredictionOptions
from volseg_keras.inference.section_smoothing import SectionSmoothing
from volseg_keras.inference.segmenter import predict_volume
from volseg_keras.inference.tiled_prediction import halo_of, voxels_at_once
from volseg_keras.networks.models import with_normalization
from volseg_keras.postprocessing.pipeline import PostProcessing
from volseg_keras.volumes import writing
from volseg_keras.volumes.intensity import IntensityStatistics
from volseg_keras.volumes.volume import Volume


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "model.keras"
    with shallow_networks():
        with_normalization(build_model("H"), 120.0, 30.0).save(path)
    return str(path)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(resumable_job, "BLOCK", (64, 128, 128))


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
    halo = halo_of(3)
    options = block_tile(shape, size, 3, 100_000, halo), halo, SectionSmoothing(), None
    for block in blocks(shape, size):
        whole[block] = predict_block(lambda t: t[..., None], volume, block, 3, *options)[..., 0]
    np.testing.assert_array_equal(whole, volume)


def job_of(folder, models, volume=None, name="labels.zarr", scale=(1, 1, 1), **changes):
    """A job on a volume that is written first, where there is one."""
    source = SourceVolume(str(folder / "image.npy"), voxel_size=(5.0, 5.0, 5.0))
    if volume is not None:
        save_volume(source.path, volume)
    models = RequestedModels(models if isinstance(models, list) else [models], "openvino")
    options = {"prediction": PredictionOptions(scale=scale), "probability": True, **changes}
    return Job(source, folder / name, models, **options)


def start(job):
    return resumable_job.start_job(job, job.source.open())


def finish(begun, job, probability=None):
    files = OutputFiles(job.output, job.output.with_suffix(".png"), probability)
    return resumable_job.finish_job(begun, job, files)


@pytest.mark.parametrize("name", ["labels.zarr", "labels.tif", "labels.h5"])
def test_a_resumed_job_gives_what_an_unbroken_one_gives(tmp_path, network, small_blocks, name):
    volume = phantom((70, 150, 200), seed=1)[0]
    unbroken = job_of(tmp_path, network, volume, "unbroken.zarr")
    resumable_job.run_job(begun := start(unbroken))
    finish(begun, unbroken, tmp_path / "p.zarr")
    assert not begun.folder.exists()

    job = job_of(tmp_path, network, name=name)
    begun = start(job)
    with pytest.raises(FileExistsError, match="`resume`"):
        start(job)
    with pytest.raises(ValueError, match="threshold, 0.5, or a new output. Received: 0.7"):
        start(replace(job, threshold=0.7, resume=True))
    [resumable_job.run_block(str(begun.folder), i) for i in (0, 5)]
    again, seen = start(replace(job, resume=True)), []
    assert again.folder == begun.folder
    resumable_job.run_job(again, on_progress=lambda *counts: seen.append(counts))
    assert seen == [(n, 8) for n in range(2, 9)] and again.pending() == []
    share, center, _ = finish(again, job)
    found, whole = open_volume(tmp_path / name), open_volume(tmp_path / "unbroken.zarr")[...]
    np.testing.assert_array_equal(found[...], whole)
    assert found.voxel_size == (5, 5, 5) and share == pytest.approx(whole.mean())
    assert whole[center] == 1 or share == 0
    np.testing.assert_array_equal(whole, open_volume(tmp_path / "p.zarr")[...] >= 0.5)


def test_work_of_another_version_is_refused(tmp_path, network):
    volume = phantom((16, 32, 48), seed=1)[0]
    begun = start(job := job_of(tmp_path, network, volume, resume=True))
    file = begun.folder / "job.json"
    file.write_text(file.read_text().replace('"format": 3', '"format": 2'))
    with pytest.raises(ValueError, match="`resume`.*delete .*labels.zarr.part.* format 2"):
        start(job)


@pytest.mark.parametrize("deviation", [30.0, 31.0])
def test_constants_are_those_of_the_unfinished_work(deviation, tmp_path, network):
    def job(deviation, volume=None):
        given = PredictionOptions(normalization=(120.0, deviation))
        return job_of(tmp_path, network, volume, resume=True, prediction=given)

    begun = start(job(30.0, phantom((16, 32, 48), seed=1)[0]))
    if deviation == 30:
        assert start(job(deviation)).folder == begun.folder
        return
    with pytest.raises(ValueError, match="`resume`.*normalization, .*30.0"):
        start(job(deviation))


@pytest.mark.parametrize("change", [{"tta": False}, {"denoise": 0}])
def test_averages_of_several_models_are_not_changed_by_resuming(change, tmp_path, network):
    volume = phantom((16, 32, 48), seed=1)[0]
    job = job_of(tmp_path, [network, network], volume, resume=True)
    begun = start(job)
    assert start(job).folder == begun.folder
    with pytest.raises(ValueError, match=f"`resume`.*{next(iter(change))}, None"):
        start(replace(job, prediction=PredictionOptions(**change)))


def test_defaults_of_the_model_may_be_spelled_out_to_resume(tmp_path, network):
    job = job_of(tmp_path, network, phantom((16, 32, 48), seed=1)[0], resume=True)
    begun = start(job)
    spelled = PredictionOptions(tta=1, zooms=(1,), smoothing=0)
    assert start(replace(job, prediction=spelled)).folder == begun.folder


def test_another_volume_of_the_same_name_is_not_gone_on_with(tmp_path, network):
    job = job_of(tmp_path, network, phantom((16, 32, 48), seed=1)[0], resume=True)
    start(job)
    save_volume(job.source.path, phantom((16, 32, 48), seed=2)[0])
    with pytest.raises(ValueError, match="`resume`.*file .bytes, time."):
        start(job)


def test_a_tile_and_a_scale_that_are_given_are_taken(tmp_path, network):
    given = PredictionOptions(scale=(1, 0.5, 0.5), tile=(48, 64, 80))
    job = job_of(tmp_path, network, phantom((16, 32, 48), seed=1)[0], prediction=given)
    assert job.resolved(job.source.open())[0].prediction == given
    assert start(job).read().plan.tile == (16, 32, 48)  # no larger than the volume


def test_workers_share_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(resumable_job, "free_memory", lambda: 2**32)
    job = job_of(tmp_path, "H", workers=4)
    assert resumable_job.memory_of_worker(job) == 2**30
    assert voxels_at_once(3, memory=2**30) * 80 <= 2**30 / 3
    with pytest.raises(ValueError, match="`workers`"):
        replace(job, cluster="tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    "resume, threshold, error", [(True, 0.5, None), (True, 0.7, ValueError), (False, 0.5, OSError)]
)
def test_a_job_that_another_process_starts_meanwhile(
    resume, threshold, error, tmp_path, network, monkeypatch
):
    """It is gone on with like any unfinished one, if it is the same and `resume` is set."""
    create = JobStore.create

    def beaten(store, stored):
        other = replace(stored.identity, threshold=threshold)
        create(store, StoredJob(other, stored.plan, "the other one"))
        create(store, stored)

    monkeypatch.setattr(JobStore, "create", beaten)
    job = job_of(tmp_path, network, phantom((16, 32, 48), seed=1)[0], resume=resume)
    if error is None:
        assert start(job).read().id == "the other one"
        return
    with pytest.raises(error, match="`resume`" if resume else "no other run writes"):
        start(job)
    assert JobStore.beside(job.output).read().id == "the other one"


@pytest.mark.parametrize("text", ['{"format": 2}', '{"format": 3}', "{}", "{"])
def test_a_job_of_another_kind_is_refused(text, tmp_path, network):
    job = job_of(tmp_path, network, phantom((16, 32, 48), seed=1)[0], resume=True)
    (start(job).folder / "job.json").write_text(text)
    with pytest.raises(ValueError) as error:
        start(job)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ValueError):
        JobStore.beside(job.output).read()


def test_a_wrong_model_is_told_before_the_volume_is_read(tmp_path, network, monkeypatch):
    monkeypatch.setattr(Volume, "__getitem__", None)
    for way in ({}, {"resume": True}):
        job = job_of(tmp_path, [network, str(tmp_path / "none")], np.zeros((4, 5, 6)), **way)
        with pytest.raises(ValueError, match="`model`.*none"):
            segment_file(job)
    assert [path.name for path in tmp_path.iterdir()] == ["image.npy"]


def test_what_cannot_be_written_is_told_before_the_work(tmp_path, network, monkeypatch):
    monkeypatch.setattr(writing, "free_memory", lambda: 1000)
    monkeypatch.setattr(Volume, "__getitem__", None)
    job = job_of(tmp_path, [network], np.zeros((4, 10, 20), np.uint8), "labels.nii.gz")
    with pytest.raises(ValueError, match=r"another format than \.nii.*labels\.nii\.gz"):
        segment_file(job)


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.ome.tif", "a.OME.tiff", "a.nii.gz"])
def test_files_beside_an_output_have_its_format(name, tmp_path):
    files = OutputFiles.of(job_of(tmp_path, "H", np.zeros((4, 8, 8)), name, probability=True))
    assert files.probability.name == name.replace("a.", "a_probability.", 1)
    assert files.picture.name == "a_overlay.png"


@pytest.mark.parametrize("postprocessing", [PostProcessing(), PostProcessing(3, instances=True)])
def test_small_and_large_volumes_go_the_same_way(postprocessing, tmp_path, monkeypatch):
    """In memory and in the store, from Python and without a display."""
    volume, results = phantom((40, 96, 96), seed=2)[0], []
    for name, limit in (("memory.tif", 2**27), ("store.tif", 0)):
        monkeypatch.setattr(file_segmentation, "MOST_IN_MEMORY", limit)
        job = job_of(tmp_path, "H", volume, name, postprocessing=postprocessing)
        results.append(segment_file(job))
        assert results[-1].files.picture.is_file()
    one, other = (open_volume(tmp_path / name) for name in ("memory.tif", "store.tif"))
    assert one.dtype == other.dtype == postprocessing.dtype and one.voxel_size == (5, 5, 5)
    np.testing.assert_array_equal(one[...], other[...])
    assert results[0].summary == results[1].summary and results[0].summary.share > 0
    files = [open_volume(tmp_path / f"{name}_probability.tif") for name in ("memory", "store")]
    np.testing.assert_array_equal(*(file[...] for file in files))


def test_a_process_that_does_a_second_job_of_one_output_does_that_one(tmp_path, network):
    volume = phantom((16, 32, 32), seed=1)[0]
    probability = predict_volume(network, volume, engine="openvino")[..., 1]
    low, high = probability.min(), probability.max()
    assert high - low > 2 / 256
    for threshold in (float(low + share * (high - low)) for share in (0.3, 0.7)):
        job = job_of(tmp_path, network, volume, "labels.tif", threshold=threshold)
        resumable_job.run_job(begun := start(job))
        finish(begun, job)
        share = open_volume(tmp_path / "labels.tif")[...].mean()
        assert share == pytest.approx((probability >= threshold).mean(), abs=0.05)


def test_a_folder_called_as_a_model_is_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "H").mkdir()
    job = job_of(tmp_path, "H", phantom((16, 32, 32))[0], "labels.tif")
    resumable_job.run_job(begun := start(job))
    finish(begun, job)
    assert open_volume("labels.tif").shape == (16, 32, 32)


def test_a_job_is_found_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert JobStore.beside("labels.zarr").folder == tmp_path / ".labels.zarr.part"


def test_a_half_written_job_is_begun_again(tmp_path, network):
    volume = phantom((16, 32, 32), seed=1)[0]
    job = job_of(tmp_path, network, volume)
    (start(job).folder / "job.json").unlink()
    assert start(job).read().identity.shape == (16, 32, 32)


def test_of_runs_that_start_together_one_begins(tmp_path, network):
    job = job_of(tmp_path, network, phantom((16, 32, 32), seed=1)[0], resume=True)
    stored = start(job).read()
    store = JobStore(tmp_path / "store")

    def begin(number):
        meeting.wait()
        try:
            store.create(replace(stored, id=str(number)))
        except FileExistsError:
            return None
        return str(number)

    meeting = Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        begun = [number for number in pool.map(begin, range(4)) if number]
    assert begun == [store.read().id] and list(store.array("labels").shape) == [16, 32, 32]
    assert not list(tmp_path.glob(".part-*"))


def test_a_job_agrees_with_the_volume_in_one_go(tmp_path, network):
    volume = phantom((40, 96, 96), seed=2)[0]
    job = job_of(tmp_path, network, volume)
    resumable_job.run_job(begun := start(job))
    finish(begun, job, tmp_path / "p.zarr")
    whole = predict_volume(network, volume, engine="openvino")[..., 1]
    np.testing.assert_array_equal(open_volume(tmp_path / "p.zarr")[...], whole)


@pytest.mark.parametrize("name", ["labels.zarr", "labels.tif"])
def test_a_job_interrupted_at_its_end_loses_nothing(tmp_path, network, name, monkeypatch):
    """While the pyramid of the labels is written, and while the folder is removed."""
    suffix = name.removeprefix("labels")
    files = tmp_path / name, tmp_path / f"probability{suffix}"
    job = job_of(tmp_path, network, phantom((40, 160, 160), seed=2)[0], name)
    resumable_job.run_job(begun := start(job))
    complete, remove = job_store.finish_zarr, shutil.rmtree

    def broken_off(array, size):
        complete(array, size)
        if array.name == "labels.zarr":
            raise KeyboardInterrupt

    def half(path, **options):
        for part in ("0", "done"):
            remove(next(path.glob(f"**/{part}"), path), ignore_errors=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(job_store, "finish_zarr", broken_off)
    if suffix == ".zarr":
        with pytest.raises(KeyboardInterrupt):
            finish(begun, job, files[1])
        assert not any(file.exists() for file in files)
    monkeypatch.setattr(job_store, "finish_zarr", complete)
    monkeypatch.setattr(job_store, "shutil", SimpleNamespace(rmtree=half))
    with pytest.raises(KeyboardInterrupt):
        finish(begun, job, files[1])
    monkeypatch.undo()
    labels, probability = (open_volume(file)[...] for file in files)
    np.testing.assert_array_equal(labels, probability >= 0.5)
    assert labels.any() and not begun.is_begun
    assert len(start(replace(job, resume=True)).pending()) == 1


def test_instances_of_a_job_interrupted_at_its_end_are_found_again(tmp_path, network, monkeypatch):
    """While the labels are moved into place: they are found in the probability, which is kept."""
    volume = phantom((40, 96, 96), seed=2)[0]
    steps = PostProcessing(instances=True)
    unbroken = job_of(tmp_path, network, volume, "unbroken.zarr", postprocessing=steps)
    resumable_job.run_job(begun := start(unbroken))
    finish(begun, unbroken, tmp_path / "unbroken_probability.zarr")
    job = job_of(tmp_path, network, postprocessing=steps)
    resumable_job.run_job(begun := start(job))

    def interrupted(*paths):
        raise KeyboardInterrupt

    broken = SimpleNamespace(move=interrupted, rmtree=shutil.rmtree)
    monkeypatch.setattr(resumable_job, "shutil", broken)
    with pytest.raises(KeyboardInterrupt):
        finish(begun, job, tmp_path / "probability.zarr")
    monkeypatch.undo()
    finish(start(replace(job, resume=True)), job, tmp_path / "probability.zarr")
    found, want = (open_volume(tmp_path / f"{n}.zarr")[...] for n in ("labels", "unbroken"))
    np.testing.assert_array_equal(found, want)
    assert (tmp_path / "probability.zarr").exists()


def wait_for(count, folder):
    """Wait until at least so many blocks are done."""
    end = time.monotonic() + 120
    while len(list((folder / "done").glob("[0-9]*.json"))) < count:
        assert time.monotonic() < end, "no progress"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_job_killed_three_times_gives_what_an_unbroken_one_gives(tmp_path, network, small_blocks):
    volume = phantom((70, 150, 200), seed=1)[0]
    unbroken = start(job_of(tmp_path, network, volume, "unbroken.zarr"))
    resumable_job.run_job(unbroken)
    broken = start(job_of(tmp_path, network))
    code = "import sys; from volseg_keras.inference.jobs import resumable_job, store; "
    code += "resumable_job.run_job(store.JobStore(sys.argv[1]))"
    for done in (1, 3, 6):
        process = subprocess.Popen([sys.executable, "-c", code, broken.folder], stderr=DEVNULL)
        wait_for(done, broken.folder)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert broken.pending()
    resumable_job.run_job(broken)
    same_arrays(broken, unbroken)


def test_what_a_killed_worker_left_is_no_block(tmp_path, network, small_blocks):
    begun = start(job_of(tmp_path, network, phantom((70, 150, 200), seed=1)[0]))
    total, seen = len(begun.pending()), []
    (begun.folder / "done" / "part1234.0.json").touch()
    resumable_job.run_job(begun, on_progress=lambda *numbers: seen.append(numbers))
    assert seen == [(done, total) for done in range(total + 1)]


def same_arrays(one, other):
    """Assert that two finished jobs hold the same voxels."""
    for name in job_store.ARRAYS:
        np.testing.assert_array_equal(one.array(name)[...], other.array(name)[...])


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed(tmp_path, network, small_blocks):
    distributed = pytest.importorskip("distributed")
    volume = phantom((70, 150, 200), seed=1)[0]
    alone = start(job_of(tmp_path, network, volume, "alone.zarr"))
    resumable_job.run_job(alone)
    shared, killed = start(job_of(tmp_path, network)), []

    def kill_one(done, total):
        if done == 2 and not killed:
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options, silence_logs=50) as cluster:
        with distributed.Client(cluster) as client:
            pids = client.run(os.getpid)
        assert len(set(pids.values())) == 2
        address = cluster.scheduler_address
        resumable_job.run_job(shared, cluster=address, on_progress=kill_one)
    assert killed and shared.pending() == []
    same_arrays(shared, alone)


@shallow_networks()
def test_a_crop_by_its_volumes_statistics_is_the_crop_of_the_prediction():
    volume = phantom((16, 96, 112), seed=1)[0]
    model, constants = settled("H"), IntensityStatistics.of(volume)
    inside, reach = (slice(None), slice(0, 80), slice(0, 96)), 64
    whole = predict_volume(model, volume, normalization="volume")
    crop = predict_volume(model, volume[inside], normalization=constants)
    kept = (slice(None), slice(0, 80 - reach), slice(0, 96 - reach))
    np.testing.assert_allclose(crop[kept], whole[kept], atol=1e-3)
    other = predict_volume(model, volume[inside], normalization="volume")
    assert np.abs(other[kept] - whole[kept]).max() > 1e-3


@shallow_networks()
def test_a_job_of_two_models_and_other_voxels(tmp_path, network, small_blocks):
    keras.utils.set_random_seed(7)
    other = tmp_path / "other.keras"
    with_normalization(build_model("H"), 110.0, 20.0).save(other)
    volume, scale = phantom((40, 96, 96), seed=2)[0], (1, 0.5, 0.5)
    job = job_of(tmp_path, [network, str(other)], volume, scale=scale)
    resumable_job.run_job(begun := start(job))
    finish(begun, job, tmp_path / "p.zarr")
    both = [
        predict_volume(model, volume, engine="openvino", scale=scale) for model in (network, other)
    ]
    found = open_volume(tmp_path / "p.zarr")[...]
    np.testing.assert_allclose(found, np.mean(both, axis=0)[..., 1], atol=0.02)
    # One model has constants of its own, and the other has not.
    build_model("H").save(other)
    begun = start(job_of(tmp_path, [network, str(other)], volume))
    resumable_job.run_job(begun)
    found = begun.array("probability")[...]
    mixed = predict_volume([network, str(other)], volume, engine="openvino")[..., 1]
    np.testing.assert_allclose(found, mixed, atol=0.02)
    with pytest.raises(ValueError, match="num_classes. Received: 2, 3"):
        predict_volume([network, build_model("C", num_classes=3)], volume)
