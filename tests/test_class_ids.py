import numpy as np
import pytest

from volseg_keras import open_volume, save_volume
from volseg_keras.training.data.annotated_sections import without_unpainted
from volseg_keras.volumes import marked_voxels
from volseg_keras.volumes.class_ids import ArrayClassIds
from volseg_keras.volumes.crop import Crop, cropped
from volseg_keras.volumes.file_class_ids import FileClassIds

RNG = np.random.default_rng(0)
LABEL = (RNG.random((70, 300, 20)) < 0.1).astype(np.uint8)
LABEL[0] = 255


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    path = tmp_path_factory.mktemp("a folder") / "label.zarr"
    save_volume(path, LABEL)
    return open_volume(path)


KEYS = [np.s_[:], np.s_[3], np.s_[2:9, 5], np.s_[:, ::3, 1:], np.s_[-4:, :, -3], np.s_[..., 2:4]]


@pytest.mark.parametrize("key", KEYS[:-1], ids=str)
def test_a_part_of_a_file_is_that_of_an_array(key, volume):
    part = np.s_[3:66, 20:, :15]
    crop = cropped(volume, part)
    assert isinstance(crop, Crop) and crop.shape == (63, 280, 15)
    np.testing.assert_array_equal(crop[key], LABEL[part][key])
    np.testing.assert_array_equal(np.asarray(cropped(LABEL, part)), np.asarray(crop))
    again = cropped(crop, np.s_[2:, :9, :])
    np.testing.assert_array_equal(again[:], LABEL[part][2:, :9])


def test_a_part_of_several_channels():
    image = np.stack([LABEL, LABEL + 1], axis=-1)
    crop = Crop(image, np.s_[3:66, 20:, :15])
    assert crop.ndim == 4 and crop.shape == (63, 280, 15, 2)
    np.testing.assert_array_equal(crop[1:4, 7], image[4:7, 27, :15])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_class_ids_of_a_file(key, dtype):
    ids = FileClassIds.scan(LABEL.astype(dtype))
    np.testing.assert_array_equal(ids[key], LABEL[key])
    mask = FileClassIds.scan((LABEL == 1).astype(dtype) * 255)
    np.testing.assert_array_equal(np.asarray(mask), LABEL == 1)
    part = mask.cropped(np.s_[1:5, :, 3:])
    np.testing.assert_array_equal(part[:], LABEL[1:5, :, 3:] == 1)


def test_labels_that_are_no_classes_are_refused():
    with pytest.raises(ValueError, match="`label`"):
        FileClassIds.scan(LABEL.astype(np.int32) - 1)


def test_the_digest_is_the_same_in_memory_and_in_a_file(volume):
    """So that a run may be resumed where another amount of memory is free."""
    want, told = ArrayClassIds(LABEL).digest(), []
    in_file = FileClassIds.scan(volume)
    assert in_file.digest(lambda *done: told.append(done)) == want
    blocks = len(told)
    assert in_file.digest(lambda *done: told.append(done)) == want
    assert len(told) == blocks > 0  # the file was read once
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    changed = LABEL.copy()
    changed[9, 9, 9] ^= 1
    assert FileClassIds.scan(changed).digest() == ArrayClassIds(changed).digest() != want


def test_classes_by_section():
    label = np.where(LABEL == 1, 1 + np.arange(20) % 3, LABEL).astype(np.uint8)
    label[5:9] = 0
    want = {z: set(np.unique(label[z])) - {0, 255} for z in (*range(1, 5), *range(9, 70))}
    for one in (ArrayClassIds(label), FileClassIds.scan(label)):
        assert one.classes_by_section() == want and list(one.classes_by_section()) == list(want)
    left = FileClassIds.scan(label).without_sections(np.arange(70) > 30)
    assert max(left.classes_by_section()) == 30


def test_foreground_voxels_of_a_file_are_those_of_an_array(volume):
    told = []
    ids = FileClassIds.scan(volume, lambda *done: told.append(done))
    assert told[-1] == (4, 4)
    for one in (ids, ArrayClassIds(LABEL)):
        found = one.foreground_voxels(255)
        np.testing.assert_array_equal(np.sort(found), np.flatnonzero(LABEL == 1))
    part = np.s_[:9, 40:290, 3:17]
    found = ids.cropped(part).foreground_voxels(255)
    np.testing.assert_array_equal(np.sort(found), np.flatnonzero(LABEL[part] == 1))
    with pytest.raises(ValueError, match="foreground"):
        ids.cropped(np.s_[:1, :, :]).foreground_voxels(255)
    with pytest.raises(ValueError, match="foreground"):
        ArrayClassIds(LABEL[:1]).foreground_voxels(255)


def test_foreground_is_kept_though_most_of_a_file_is_not_annotated(monkeypatch):
    monkeypatch.setattr(marked_voxels, "MOST_KEPT", 500)
    label = np.full(LABEL.shape, 255, np.uint8)
    label[5], label[9, 3, 2:8] = 0, 1
    ids = FileClassIds.scan(label)
    np.testing.assert_array_equal(ids.foreground_voxels(255), np.flatnonzero(label == 1))
    mask = FileClassIds.scan(np.where(label == 1, 255, 0))
    np.testing.assert_array_equal(mask.foreground_voxels(255), np.flatnonzero(label == 1))


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("elsewhere", [0, 1])  # 1 is what a white section of a mask becomes
@pytest.mark.parametrize("white", [1, 255])
def test_unpainted_sections_of_a_file_are_those_of_an_array(white, elsewhere, key):
    label = np.where(LABEL == 1, 1, 0).astype(np.uint8)
    label[3:40] = label[66:] = elsewhere
    want, count = without_unpainted(ArrayClassIds(label))
    found, unpainted = without_unpainted(FileClassIds.scan(white * label))
    assert count == unpainted == 42 and len(found) == len(want)
    np.testing.assert_array_equal(found[key], want[key])
    np.testing.assert_array_equal(found.foreground_voxels(255), want.foreground_voxels(255))
    sections = want.annotated_sections(255)
    np.testing.assert_array_equal(found.annotated_sections(255), sections)
    part = found.cropped(np.s_[1:45, 10:, :])
    np.testing.assert_array_equal(part[:], want[1:45, 10:])
    np.testing.assert_array_equal(part.annotated_sections(255), [0, 1, *range(39, 44)])


def test_sections_of_background_alone_are_annotated():
    label = np.full(LABEL.shape, 255, np.uint8)
    label[5], label[9, 3, 2:8], label[11, 0, 0] = 0, 1, 0
    in_file = FileClassIds.scan(label)
    for one in (ArrayClassIds(label), in_file, without_unpainted(in_file)[0]):
        assert set(one.annotated_sections(255)) >= {5, 9, 11}
    assert in_file.annotated_sections(255).tolist() == [5, 9, 11]


def test_of_very_many_foreground_voxels_some_are_kept(monkeypatch):
    monkeypatch.setattr(marked_voxels, "MOST_KEPT", 500)
    found, every = ArrayClassIds(LABEL).foreground_voxels(255), np.flatnonzero(LABEL == 1)
    assert 200 <= len(found) <= 500 and set(found) <= set(every)
    # From everywhere.
    assert np.ptp(found) > 0.9 * np.ptp(every)
    gaps = np.diff(np.searchsorted(every, np.sort(found)))
    assert gaps.max() < 8 * len(every) / len(found)
