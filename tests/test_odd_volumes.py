"""Odd but valid: byte orders, memory orders, thin and tiny volumes, one class, many files."""

import gc

import h5py
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg_keras import open_volume, save_volume, segmentation_scores
from volseg_keras.data.formats import FORMATS
from volseg_keras.data.patches import grey_statistics
from volseg_keras.inference.predict import predict_slabs, segment, standardised

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
@pytest.mark.parametrize("suffix", FORMATS)
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


@pytest.mark.parametrize("kind", KINDS)
def test_grey_levels_are_standardised(kind):
    mean, deviation = grey_statistics(KINDS[kind])
    levels = KINDS[kind].astype(float)
    assert mean == pytest.approx(levels.mean(), rel=1e-3)
    assert deviation == pytest.approx(levels.std(), rel=1e-3)
    tiles = standardised(lambda tile: tile, (mean, deviation))(KINDS[kind])
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
        labels = np.concatenate([part for part, _ in segment(slabs, threshold)])
        assert labels.shape == VOXELS.shape and (labels == level).all()


def test_files_are_closed(tmp_path):
    paths = [save_volume(tmp_path / f"v{suffix}", VOXELS) for suffix in FORMATS]
    for z, page in enumerate(VOXELS):
        save_volume(tmp_path / "slices" / f"{z}.tif", page[None])
    paths += [tmp_path / "slices", *(tmp_path / f"cut{suffix}" for suffix in FORMATS)]
    for path in paths[-len(FORMATS) :]:
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
