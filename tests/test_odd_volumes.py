"""Odd but valid: byte orders, memory orders, thin and tiny volumes, one class, many files."""

import gc
from functools import partial

import h5py
import keras
import numpy as np
import psutil
import pytest
from command import volseg
from hypothesis import example, given, settings
from hypothesis import strategies as st
from networks import settled, shallow_networks
from tiles import predict_slabs

from volseg_keras import (
    PatchSampler,
    clean_labels,
    instances,
    measure,
    open_volume,
    predict_volume,
    save_volume,
    segmentation_scores,
)
from volseg_keras.inference.engines.output import label_map
from volseg_keras.inference.engines.wrappers import Standardized
from volseg_keras.networks.models import with_normalization
from volseg_keras.volumes.formats.registry import suffixes_with
from volseg_keras.volumes.intensity import IntensityStatistics

WRITTEN = suffixes_with("write")

RNG = np.random.default_rng(0)
VOXELS = RNG.integers(0, 1000, (5, 6, 7)).astype(np.uint16)


def write_npy(path, voxels):
    np.save(path.with_suffix(".npy"), voxels)
    return path.with_suffix(".npy")


def write_hdf5(path, voxels):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["raw"] = voxels
    return path.with_suffix(".h5")


KINDS = {
    "big-endian": VOXELS.astype(">u2"),
    "Fortran order": np.asfortranarray(VOXELS),
    "big-endian, Fortran order, floats": np.asfortranarray(VOXELS.astype(">f4") - 500),
    "64 bits": VOXELS.astype(np.int64) - 500,
    "half floats": VOXELS.astype(np.float16) - 500,
    "outliers": np.where(VOXELS > 990, 65535, VOXELS).astype(np.uint16),
}


@pytest.mark.parametrize("write", [write_npy, write_hdf5])
@pytest.mark.parametrize("kind", KINDS)
def test_every_order_is_read_and_tiled(kind, write, tmp_path):
    voxels, path = KINDS[kind], write(tmp_path / "v", KINDS[kind])
    path.chmod(0o444)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[1:, 2, ::3], voxels[1:, 2, ::3])
    np.testing.assert_array_equal(whole(volume), voxels)


def whole(volume, dims=3):
    """Tile a volume through an engine that does nothing."""
    parts = predict_slabs(lambda tile: tile[..., None], volume, dims)
    return np.concatenate([slab for _, slab in parts])[..., 0]


@pytest.mark.parametrize(
    "shape", [(1, 6, 7), (5, 1, 7), (5, 6, 1), (1, 1, 7), (1, 6, 3), (1, 1, 1)]
)
@pytest.mark.parametrize("suffix", WRITTEN)
def test_one_voxel_thick(suffix, shape, tmp_path):
    voxels = VOXELS[tuple(slice(n) for n in shape)]
    volume = open_volume(save_volume(tmp_path / f"v{suffix}", voxels))
    assert volume.shape == shape
    np.testing.assert_array_equal(whole(volume), voxels)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 60)] * 3),
    dims=st.sampled_from([2, 3]),
    kind=st.sampled_from(["u1", ">u2", "<f4", "i2"]),
)
def test_any_size_is_tiled_from_a_read_only_map(shape, dims, kind, tmp_path_factory):
    voxels = (np.random.default_rng(sum(shape)).normal(size=shape) * 100).astype(kind)
    volume = np.load(write_npy(tmp_path_factory.mktemp("maps") / "v", voxels), mmap_mode="r")
    assert not volume.flags.writeable
    np.testing.assert_array_equal(whole(volume, dims), voxels)


@pytest.fixture(scope="module")
def pointwise():
    """Networks without context: the probability of a voxel is a function of its grey level."""
    networks = {}
    for dims in (2, 3):
        inputs = keras.Input((None,) * dims + (1,))
        layer = getattr(keras.layers, f"Conv{dims}D")(2, 1, activation="softmax")
        networks[dims] = keras.Model(inputs, layer(inputs))
        layer.set_weights([np.array([0, 1.5]).reshape((1,) * dims + (1, 2)), np.array([0, -0.3])])
    return networks


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 200)] * 3), dims=st.sampled_from([2, 3]))
@example(shape=(1, 1, 1), dims=3)
@example(shape=(1, 200, 200), dims=3)
@example(shape=(200, 1, 17), dims=2)
@example(shape=(200, 200, 200), dims=3)
def test_any_size_is_predicted(shape, dims, pointwise):
    volume = np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)
    found = predict_volume(pointwise[dims], volume, normalization=(100, 30))
    want = (1 / (1 + np.exp(0.3 - 1.5 * (np.arange(256) - 100) / 30))).astype(np.float32)
    assert found.shape == (*shape, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found[..., 1], want[volume], atol=1e-5)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "C.keras"
    with shallow_networks():
        with_normalization(settled("C"), 130.0, 400.0).save(path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_order_is_segmented_as_its_plain_copy(kind, network, tmp_path):
    """By the default engine, from a read-only map."""
    mapped = np.load(write_npy(tmp_path / "v", KINDS[kind]), mmap_mode="r")
    plain = np.array(mapped, mapped.dtype.newbyteorder("="), order="C")
    one, other = (predict_volume(network, volume) for volume in (mapped, plain))
    np.testing.assert_array_equal(one, other)
    assert np.isfinite(one).all() and one.std() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_grey_levels_are_standardised(kind):
    found = IntensityStatistics.of(KINDS[kind])
    mean, deviation = found.mean, found.deviation
    levels = KINDS[kind].astype(float)
    assert mean == pytest.approx(levels.mean(), rel=1e-3)
    assert deviation == pytest.approx(levels.std(), rel=1e-3)
    tiles = Standardized(lambda tile: tile, found)(KINDS[kind])
    np.testing.assert_allclose(tiles, (levels - mean) / deviation, atol=1e-3)
    assert tiles.dtype == np.float32 and np.isfinite(tiles).all()


@pytest.mark.parametrize("truth", [0, 1])
@pytest.mark.parametrize("found", [0, 1])
def test_scores_of_one_class(truth, found):
    y_true, y_pred = np.full((4, 5, 6), truth), np.full((4, 5, 6), found)
    scores = segmentation_scores(y_true, y_pred, num_classes=2)
    want = float(truth == found)
    # A class that is in neither map counts as found; one that is in a map alone does not.
    assert [c["jaccard"] for c in scores["classes"]] == [want, want]
    assert scores["voc"] == want
    assert all(0 <= value <= 1 for c in scores["classes"] for value in c.values())


def test_one_class_is_segmented():
    for level, threshold in ((0.0, 0.5), (1.0, 0.5)):
        slabs = predict_slabs(lambda tile, p=level: np.full((*tile.shape, 1), p), VOXELS, 3)
        labels = label_map(slabs, threshold)
        assert labels.shape == VOXELS.shape and (labels == level).all()


@pytest.mark.parametrize("level", [0, 1])
def test_labels_of_one_class(level, tmp_path, capsys):
    labels, image = np.full((6, 20, 24), level, np.uint8), np.resize(VOXELS, (6, 20, 24))
    rows = measure(labels, (5, 5, 5))
    assert [row["voxels"] for row in rows] == level * [labels.size]
    assert all(row["touches_border"] for row in rows)
    np.testing.assert_array_equal(instances(labels.astype(np.float32)), labels)
    cleaned = clean_labels(labels, median=3, fill_holes=True, min_size=50)
    np.testing.assert_array_equal(cleaned, labels)
    sampler = partial(PatchSampler, image, labels, (4, 16, 16))
    if level:
        assert sampler()[0].label.all()
    else:
        with pytest.raises(ValueError, match="foreground"):
            sampler()
    for name, voxels in (("labels", labels), ("image", image)):
        save_volume(tmp_path / f"{name}.npy", voxels)
    files = (tmp_path / "labels.npy",) * 2
    options = ("--instances", "--image", tmp_path / "image.npy")
    assert volseg("evaluate", *files, *options) == 0
    assert f"{level} true and {level} predicted instances" in capsys.readouterr().out


def test_files_are_closed(tmp_path):
    paths = [save_volume(tmp_path / f"v{suffix}", VOXELS) for suffix in WRITTEN]
    for z, page in enumerate(VOXELS):
        save_volume(tmp_path / "slices" / f"{z}.tif", page[None])
    paths += [tmp_path / "slices", *(tmp_path / f"cut{suffix}" for suffix in WRITTEN)]
    for path in paths[-len(WRITTEN) :]:
        raw = (tmp_path / f"v{path.name[3:]}").read_bytes() if path.suffix != ".zarr" else b""
        path.write_bytes(raw[: len(raw) // 2])

    def read(paths):
        for path in paths:
            try:
                assert open_volume(path)[1:, 2, 3].shape == (4,)
            except ValueError:
                assert path.name.startswith("cut")

    read(paths)
    gc.collect()
    before, process = psutil.Process().num_fds(), psutil.Process()
    read(paths * (300 // len(paths) + 1))
    gc.collect()
    assert process.num_fds() == before
