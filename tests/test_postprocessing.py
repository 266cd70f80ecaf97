"""What is done with a prediction: filtered, parted in instances, cleaned."""

import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from command import volseg
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg_keras import clean_labels, instances, open_volume, save_volume
from volseg_keras.inference.jobs import resumable_job
from volseg_keras.inference.jobs.job import Job, OutputFiles, RequestedModels, SourceVolume
from volseg_keras.networks.models import with_normalization
from volseg_keras.postprocessing import pipeline
from volseg_keras.postprocessing.filters import fill_holes, median, remove_small
from volseg_keras.postprocessing.instance_ids import components
from volseg_keras.postprocessing.pipeline import MedianFiltered, PostProcessing
from volseg_keras.pretrained.presets import published
from volseg_keras.pretrained.stored_facts import StoredFacts

SIDES = (8.0, 5.0, 5.0)
CENTERS = [(20, 30, 30), (20, 30, 54), (40, 90, 90), (64, 128, 64)]


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 12)] * 3),
    st.integers(0, 99),
    st.sampled_from([1, 3, 5]),
    st.integers(1, 200),
    st.sampled_from([np.float32, np.uint8]),
)
def test_a_filter_in_slabs_is_that_of_the_whole(shape, seed, size, voxels, dtype):
    values = np.random.default_rng(seed).integers(0, 3, shape).astype(dtype)
    counts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SLAB_VOXELS", voxels)
        filtered = MedianFiltered(values, size)
        slabs = list(filtered.slabs(lambda *done: counts.append(done)))
        block = filtered[:3, 1:5, 2:]
    whole = median(values, size)
    np.testing.assert_array_equal(np.concatenate(slabs), whole)
    np.testing.assert_array_equal(block, whole[:3, 1:5, 2:])
    assert counts == [(i, len(slabs)) for i in range(1, len(slabs) + 1)]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 99),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.sampled_from([None, 1, 4, 9]),
)
def test_labels_are_filtered_then_filled_then_sifted(seed, size, fill, least):
    labels = np.random.default_rng(seed).integers(0, 3, (6, 7, 8)).astype(np.uint8)
    found = clean_labels(labels, median=size, fill_holes=fill, min_size=least)
    want = median(labels, size)
    want = fill_holes(want) if fill else want
    np.testing.assert_array_equal(found, remove_small(want, least or 0))
    again = clean_labels(found, min_size=least)
    np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize(
    "options", [{"median": 2}, {"median": 0}, {"min_size": 0}, {"median": 3.0}, {"min_size": "9"}]
)
def test_numbers_out_of_range(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}`"):
        clean_labels(np.zeros((3, 4, 5), np.uint8), **options)


@pytest.mark.parametrize("labels", [np.zeros((3, 4), np.uint8), np.zeros((3, 4, 5), np.uint32)])
def test_only_class_ids_are_cleaned(labels):
    with pytest.raises(ValueError, match="`labels`"):
        clean_labels(labels)


def test_a_volume_larger_than_memory_is_told(tmp_path):
    huge = (2**16, 2**16, 2**16)
    with pytest.warns(UserWarning, match="GiB"):
        PostProcessing(fill_holes=True).check_output(huge, tmp_path / "a.tif")
    PostProcessing(median=3, instances=True, min_size=9).check_output(huge, tmp_path / "a.tif")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run whose model takes bright voxels for foreground, and a volume of noisy balls."""
    folder = tmp_path_factory.mktemp("postprocessing")
    rng = np.random.default_rng(0)
    grid = np.ogrid[:70, :140, :150]
    image = np.full((70, 140, 150), 60.0)
    for center, radius in zip(CENTERS, (12, 12, 18, 9), strict=True):
        ball = sum((g - c) ** 2 for g, c in zip(grid, center, strict=True)) <= radius**2
        image[ball] = 190
    image[38:43, 88:93, 88:93] = 60  # a hole
    image += rng.normal(0, 20, image.shape)
    save_volume(folder / "image.npy", image.clip(0, 255).astype(np.uint8))
    for classes in (2, 3):
        (folder / f"run{classes}").mkdir()
        bright(classes).save(folder / f"run{classes}" / "model.keras")
    (folder / "run2" / "metrics.json").write_text('{"threshold": 0.75}')
    return folder


def bright(classes):
    inputs = keras.Input((None, None, None, 1))
    conv = keras.layers.Conv3D(classes, 1, activation="softmax")
    model = keras.Model(inputs, conv(inputs))
    kernel = np.zeros((1, 1, 1, 1, classes), np.float32)
    kernel[..., 1] = 2
    conv.set_weights([kernel, np.zeros(classes, np.float32)])
    return with_normalization(model, 120.0, 40.0)


def predict(folder, output, *options, run="run2"):
    source = ("predict", folder / "image.npy", "--voxel-size", "8,5,5", "-o", output)
    return volseg(*source, "--model", folder / run, "--engine", "keras", *options)


def expected(probability, threshold, steps):
    """What a prediction becomes, by the whole volume."""
    if steps.instances:
        ids = instances(
            median(probability, steps.median),
            threshold,
            voxel_size=SIDES,
            min_size=steps.min_size or 100,
        )
        return fill_holes(ids) if steps.fill_holes else ids
    labels = median((probability >= threshold).astype(np.uint8), steps.median)
    labels = fill_holes(labels) if steps.fill_holes else labels
    return remove_small(labels, steps.min_size or 0)


CASES = [
    (("--median", 3), PostProcessing(3)),
    (("--fill-holes", "--min-size", 40), PostProcessing(fill_holes=True, min_size=40)),
    (("--instances",), PostProcessing(instances=True)),
    (
        ("--instances", "--median", 3, "--fill-holes", "--min-size", 500, "--threshold", "auto"),
        PostProcessing(3, True, True, 500),
    ),
]


@pytest.mark.parametrize("options, steps", CASES, ids=lambda value: str(value)[:50])
def test_the_command_gives_what_the_whole_volume_gives(
    options, steps, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(resumable_job, "BLOCK", (64, 128, 128))
    whole, blocks = tmp_path / "whole.tif", tmp_path / "blocks.zarr"
    assert predict(folder, whole, "--probability", *options) == 0
    told = capsys.readouterr().out
    assert predict(folder, blocks, "--resume", *options) == 0
    probability = open_volume(tmp_path / "whole_probability.tif")[...]
    threshold = 0.75 if "auto" in options else 0.5
    want = expected(probability, threshold, steps)
    if steps.instances and steps.median > 1:  # two of the balls touch
        assert sorted(want[c] for c in CENTERS) == [1, 2, 3, 4] and components(want > 0).max() == 3
    for path in (whole, blocks):
        found = open_volume(path)
        assert found.dtype == want.dtype and found.voxel_size == SIDES
        np.testing.assert_array_equal(found[...], want)
    assert ("Threshold of the model: 0.75" in told) == ("auto" in options)
    assert (f"{want.max()} instances" in told) == steps.instances
    assert f"({np.mean(want > 0):.1%} foreground" in told
    names = ["blocks.zarr", "blocks_overlay.png", "whole.tif"]
    names += ["whole_overlay.png", "whole_probability.tif"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_an_interrupted_clean_up_is_gone_on_with(folder, tmp_path, monkeypatch):
    job = Job(
        SourceVolume(str(folder / "image.npy"), voxel_size=SIDES),
        tmp_path / "ids.zarr",
        RequestedModels(folder / "run2", "keras"),
        postprocessing=PostProcessing(3, instances=True),
    )
    image, files = job.source.open(), OutputFiles.of(job)
    store = resumable_job.start_job(job, image)
    resumable_job.run_job(store)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="full"):

        def full(*_):
            raise OSError("the disk is full")

        patch.setattr(np, "save", full)
        resumable_job.finish_job(store, job, files)
    again = resumable_job.start_job(replace(job, resume=True), image)
    assert not job.output.exists() and again.folder == store.folder and again.pending() == []
    found = resumable_job.finish_job(again, job, files)
    ids = open_volume(job.output)[...]
    assert found.highest == ids.max() > 3 and ids[found.center] > 0 and not store.folder.exists()
    assert found.share == pytest.approx(np.mean(ids > 0))


def test_the_file_behind_a_link_is_written(folder, tmp_path):
    link, disk = tmp_path / "ids.tif", tmp_path / "other"
    disk.mkdir()
    (disk / "ids.tif").touch()
    link.symlink_to(disk / "ids.tif")
    job = Job(
        SourceVolume(str(folder / "image.npy"), voxel_size=SIDES),
        link,
        RequestedModels(folder / "run2", "keras"),
        postprocessing=PostProcessing(3),
    )
    store = resumable_job.start_job(job, job.source.open())
    resumable_job.run_job(store)
    resumable_job.finish_job(store, job, OutputFiles.of(job))
    assert link.is_symlink() and open_volume(disk / "ids.tif").shape == job.source.open().shape
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.tif", "other"]


@pytest.mark.parametrize(
    "options, told",
    [
        (("--median", "4"), "`median`"),
        (("--min-size", "0"), "`min_size`"),
        (("--threshold", "most"), "or auto"),
        (("--threshold", "1"), "`threshold`"),
        (("--instances", "-o", "ids.mrc"), "32-bit"),
    ],
)
def test_wrong_options_are_told_first(options, told, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert predict(folder, "out.tif", *options) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("way", [(), ("--resume",)])
def test_instances_are_of_one_foreground(way, folder, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out.tif"
    assert predict(folder, output, "--instances", *way, run="run3") == 2
    assert "`instances`" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text, value",
    [(None, 0.5), ("{}", 0.5), ('{"threshold": 0.4}', 0.4), ('{"threshold": 2}', None)],
)
def test_the_threshold_of_a_run(text, value, folder, tmp_path):
    (tmp_path / "model.keras").write_bytes((folder / "run2" / "model.keras").read_bytes())
    if text:
        (tmp_path / "metrics.json").write_text(text)
    if value:
        for model in (tmp_path, tmp_path / "model.keras"):
            assert StoredFacts.of(model).threshold == value
        return
    with pytest.raises(ValueError, match="stored with"):
        StoredFacts.of(tmp_path)


def test_the_threshold_of_a_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    assert StoredFacts.of(tmp_path) == StoredFacts()
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "volseg.json").write_text(json.dumps({"threshold": 0.3}))
    assert StoredFacts.of(tmp_path).threshold == 0.3
    told = json.loads(published()["h"].with_name("metrics.json").read_text())
    assert StoredFacts.of("H").threshold == told["threshold"]


def test_the_threshold_of_the_model_that_predicts(folder, tmp_path):
    """A published folder holds a SavedModel too, but its .keras file is what is opened."""
    shutil.copy(folder / "run2" / "model.keras", tmp_path)
    (tmp_path / "metrics.json").write_text('{"threshold": 0.4, "voxel_size": [8, 4, 4]}')
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "volseg.json").write_text("{}")
    stored = StoredFacts.of(tmp_path)
    assert stored.threshold == 0.4 and stored.voxel_size_range == ((8, 4, 4), (8, 4, 4))
    (tmp_path / "model.keras").unlink()
    assert StoredFacts.of(tmp_path) == StoredFacts()
