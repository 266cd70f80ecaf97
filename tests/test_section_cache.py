"""Sections that are decoded as a whole are decoded once, and read as without a cache."""

from collections import Counter

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
from command import volseg
from hypothesis import given
from hypothesis import strategies as st

from volseg_keras import open_volume, phantom, save_volume
from volseg_keras.inference.jobs import section_cache
from volseg_keras.inference.jobs.section_cache import SectionCache, with_cache
from volseg_keras.volumes.formats import slice_folder

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 6, 7), np.uint8)


class Counted:
    """A volume of whole sections that counts how often each is decoded."""

    shape, dtype, pieces = IMAGE.shape, IMAGE.dtype, (1, 6, 7)

    def __init__(self):
        self.decoded = Counter()

    def __getitem__(self, key):
        """Read a block."""
        sections = key[0] if isinstance(key, tuple) else key
        self.decoded.update(range(*sections.indices(len(IMAGE))))
        return IMAGE[key]


spans = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: slice(*sorted(pair)))


@given(
    count=st.integers(1, 50),
    keys=st.lists(st.tuples(spans, spans, spans), min_size=1, max_size=8),
    run=st.integers(1, 2**10),
)
def test_a_block_is_read_as_without_the_cache(count, keys, run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(section_cache, "DECODED", run)
        cache = SectionCache(Counted(), count, None)
        for key in keys:
            np.testing.assert_array_equal(cache[key], IMAGE[key])
            np.testing.assert_array_equal(cache[key[0]], IMAGE[key[0]])


@pytest.mark.parametrize("small", [2**28, 0])
def test_sections_of_a_row_of_blocks_are_decoded_once(small, tmp_path, monkeypatch):
    monkeypatch.setattr(section_cache, "SMALL_BYTES", small)
    volume = Counted()
    cache = SectionCache(volume, 12, tmp_path)
    for start in range(0, 40, 8):
        for x in range(7):
            for z in range(max(0, start - 2), min(40, start + 10), 2):
                key = slice(z, z + 4 if z + 4 <= start + 10 else start + 10), slice(0, 6), slice(x)
                np.testing.assert_array_equal(cache[key], IMAGE[key])
    assert volume.decoded == Counter(range(40))
    assert isinstance(cache.kept, np.memmap) == (small == 0)
    assert list(tmp_path.iterdir()) == []  # the file has no name


def written(path, image):
    """Write an image in the format that a name stands for; return what is opened."""
    if path.name == "slices":
        path.mkdir()
        for z, section in enumerate(image):
            (path / f"{z:03}.png").write_bytes(imagecodecs.png_encode(section))
    elif path.suffix == ".tif":
        compression = "zlib" if path.stem == "compressed" else None
        tifffile.imwrite(path, image, compression=compression)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            chunks = (1, *image.shape[1:]) if path.stem == "sections" else (8, 16, 512)
            file.create_dataset("image", data=image, chunks=chunks)
    else:
        save_volume(path, image)
    return path


@pytest.mark.parametrize(
    "name, cached",
    [
        ("slices", True),
        ("compressed.tif", True),
        ("a.nii.gz", True),
        ("sections.h5", True),
        ("plain.tif", False),
        ("a.npy", False),
        ("a.nii", False),
        ("a.mrc", False),
        ("a.zarr", False),
        ("blocks.h5", False),
    ],
)
def test_what_is_stored_in_wide_pieces_is_cached(name, cached, tmp_path):
    image = phantom((16, 32, 1100))[0]
    volume = open_volume(written(tmp_path / name, image))
    found = with_cache(volume, 8, tmp_path, 1024)
    assert isinstance(found, SectionCache) == cached
    block = slice(3, 9), slice(5, 30), slice(1000, 1100)
    np.testing.assert_array_equal(found[block], image[block])
    assert with_cache(volume, 8, tmp_path, 1100) is volume


def test_a_wide_section_is_decoded_once_for_its_blocks(tmp_path, monkeypatch):
    image, decoded = phantom((16, 32, 2100))[0], Counter()
    folder = written(tmp_path / "slices", image)
    read = slice_folder.read_png
    monkeypatch.setattr(slice_folder, "read_png", lambda path: decoded.update([path]) or read(path))
    outputs = tmp_path / "a.tif", tmp_path / "b.tif"
    assert volseg("predict", folder, "--model", "C", "-o", outputs[0], "--resume") == 0
    most = max(decoded.values())
    save_volume(tmp_path / "image.npy", image)
    assert volseg("predict", tmp_path / "image.npy", "--model=C", "-o", outputs[1], "--resume") == 0
    np.testing.assert_array_equal(*(open_volume(path)[...] for path in outputs))
    monkeypatch.setattr("volseg_keras.inference.jobs.resumable_job.with_cache", lambda v, *_: v)
    decoded.clear()
    assert volseg("predict", folder, "--model", "C", "-o", tmp_path / "c.tif", "--resume") == 0
    assert max(decoded.values()) >= most + 2
