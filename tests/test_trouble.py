"""What goes wrong while a volume is segmented: one line, no half file, work kept where there is."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from command import small_file_system, volseg
from networks import shallow_networks
from tiles import predict_slabs

from volseg_keras import build_model, open_volume, phantom, save_volume
from volseg_keras.inference.engines.output import label_map, to_labels
from volseg_keras.inference.engines.runtimes import keras_engine
from volseg_keras.inference.jobs.sinks import write_labels
from volseg_keras.inference.jobs.store import JobStore
from volseg_keras.networks.models import with_normalization
from volseg_keras.volumes.formats.registry import suffixes_with

WRITTEN = suffixes_with("write")

IMAGE = phantom((16, 32, 48), seed=3)[0]


@pytest.fixture(scope="module")
def network():
    with shallow_networks():
        return with_normalization(build_model("H"), 120.0, 30.0)


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    """A model and damaged volumes, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("all sorts")
    network.save(folder / "model.keras")
    whole = save_volume(folder / "whole.tif", IMAGE).read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) // 2])
    floats = IMAGE.astype(np.float32)
    floats[3, 4, 5] = np.nan
    save_volume(folder / "nan.npy", floats)
    save_volume(folder / "constant.npy", IMAGE * 0 + 9)
    with h5py.File(save_volume(folder / "a.h5", IMAGE), "a") as file:
        file["other"] = IMAGE
    broken = save_volume(folder / "broken.zarr", IMAGE)
    chunks = (path for path in (broken / "0").rglob("*") if path.is_file())
    max(chunks, key=lambda path: path.stat().st_size).write_bytes(b"nothing")
    return folder


@pytest.mark.parametrize(
    "name, options, told",
    [
        ("whole.tif", ("--axes", "tzyx"), "`axes`"),
        ("whole.tif", ("--axes", "zy"), "`axes`"),
        ("a.h5::/nothing", (), "nothing"),
        ("a.h5", (), "other"),
        ("cut.tif", (), "cut.tif"),
        ("broken.zarr", (), "broken.zarr"),
        ("nan.npy", (), "1 voxels that are not"),
        ("nan.npy", ("--normalize", "volume"), "1 voxels that are not"),
        ("nan.npy", ("--resume",), "1 voxels that are not"),
        ("constant.npy", (), "more than two grey levels"),
        ("whole.tif", ("-o", "/proc/labels.tif"), "writable"),
    ],
)
def test_one_line_and_no_half_file(name, options, told, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    output = () if "-o" in options else ("-o", tmp_path / "labels.tif")
    assert volseg("predict", name, "--model", "model.keras", *output, *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("volseg: Invalid value for `") and told in lines[-1]
    assert len([line for line in lines if line.startswith("volseg:")]) == 1
    store = JobStore.beside(tmp_path / "labels.tif")
    assert [path for path in tmp_path.iterdir() if path != store.folder] == []


def test_workers_without_dask_are_refused_before_any_work(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    output = "-o", tmp_path / "labels.tif", "--workers", 2
    assert volseg("predict", folder / "whole.tif", "--model", folder / "model.keras", *output) == 2
    assert "pip install dask distributed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_constant_volume_is_background_or_not_but_no_error(folder, tmp_path):
    arguments = ["predict", folder / "constant.npy", "-o", tmp_path / "labels.npy"]
    arguments += ["--normalize", "model"]
    assert volseg(*arguments, "--model", folder / "model.keras") == 0
    assert open_volume(tmp_path / "labels.npy").shape == IMAGE.shape


@pytest.fixture
def small_disk(tmp_path):
    with small_file_system(tmp_path / "small disk", "256k") as folder:
        yield folder


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_a_full_disk(options, folder, small_disk, tmp_path, capsys):
    """In one go nothing is left; block by block the job stays, and goes on when there is room."""
    noise = np.random.default_rng(0).integers(0, 255, (16, 200, 200)).astype(np.uint8)
    image, output = save_volume(tmp_path / "noise.npy", noise), small_disk / "labels.npy"
    arguments = ["predict", image, "--model", folder / "model.keras", "-o", output, *options]
    assert volseg(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "No space left" in lines[-1] and lines[-1].startswith("volseg:")
    assert not output.exists()
    left = list(small_disk.iterdir())
    assert left == ([JobStore.beside(output).folder] if options else [])
    if options:
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        assert volseg(*arguments) == 0
        assert open_volume(output).shape == noise.shape
        assert not JobStore.beside(output).folder.exists()


@pytest.mark.parametrize("suffix", WRITTEN)
def test_every_format_gives_the_labels_of_the_array(suffix, network, tmp_path, engine):
    image = open_volume(save_volume(tmp_path / f"a volume{suffix}", IMAGE, voxel_size=(8, 4, 4)))
    assert not isinstance(image, np.ndarray)
    slabs = (to_labels(values) for _, values in predict_slabs(engine, image, 3))
    write_labels(slabs, tmp_path / f"labels{suffix}", image, np.uint8)
    want = label_map(predict_slabs(engine, IMAGE, 3))
    np.testing.assert_array_equal(open_volume(tmp_path / f"labels{suffix}")[...], want)


@pytest.fixture(scope="module")
def engine(network):
    return keras_engine(network)


def test_a_seamless_prediction_is_that_of_one_piece():
    """The network of most context, whose weights were trained: none of its tiles shows."""
    from volseg_keras import load_pretrained

    engine = keras_engine(load_pretrained("H"))
    volume = phantom((16, 272, 208), seed=4)[0]
    tiled, whole = (
        np.concatenate([slab for _, slab in predict_slabs(engine, volume, 3, **options)])
        for options in ({"tile": (16, 208, 208), "seamless": True}, {"tile": (16, 272, 208)})
    )
    assert 1e-3 < whole.max()
    np.testing.assert_allclose(tiled, whole, atol=1e-3)
