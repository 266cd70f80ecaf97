"""Labels as people have them: masks of any grey levels, floats, gaps; and what is refused."""

import tracemalloc
import warnings

import imagecodecs
import numpy as np
import pytest
from command import volseg

from volseg_keras import open_volume, save_volume
from volseg_keras.volumes.labels import (
    are_labels,
    class_ids,
    class_ids_with_gaps,
    count_classes,
    in_smallest_type,
    present_ids,
    whole_numbers,
)

MASK = np.zeros((6, 24, 32), bool)
MASK[1:5, 4:15, 6:20] = True
THREE = MASK.astype(np.uint8) + (np.indices(MASK.shape)[2] > 12) * MASK

MASKS = {
    "0 and 1": MASK.astype(np.uint8),
    "booleans": MASK,
    "0 and 128": MASK * np.uint8(128),
    "0 and 255": MASK * np.uint8(255),
    "0 and 255, with a sign": (MASK * np.uint8(255)).view(np.int8),
    "-128 and 127": np.where(MASK, 127, -128).astype(np.int8),
    "100 and 200": np.where(MASK, 200, 100).astype(np.uint8),
    "0 and 65535": MASK * np.uint16(65535),
    "0 and 1000 of 64 bits": MASK * np.int64(1000),
    "0.0 and 1.0": MASK.astype(np.float32),
    "0.0 and 255.0": MASK * 255.0,
    "0.0 and 65535.0": MASK * np.float32(65535),
    "half floats": MASK.astype(np.float16),
}


def test_labels_are_counted_in_little_memory():
    labels = np.zeros((4, 1000, 1000), np.uint8)
    labels[3, 5:, 5:] = 7
    tracemalloc.start()
    assert present_ids(labels) == [7]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1e7  # not eight bytes a voxel


@pytest.mark.parametrize("kind", MASKS)
def test_two_grey_levels_are_a_mask(kind, tmp_path):
    found = class_ids(MASKS[kind])
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, MASK)
    np.testing.assert_array_equal(class_ids(found), MASK)
    read = open_volume(save_volume(tmp_path / "a.npy", MASKS[kind]))
    np.testing.assert_array_equal(class_ids(read), MASK)


CLASSES = {
    "0 1 2": [0, 1, 2],
    "of floats": [0.0, 2.0, 1.0],
    "not annotated": [0, 1, 255],
    "not annotated, of floats": [0.0, 3.0, 255.0],
    "without background": [1, 2],
    "a class and not annotated": [3, 255],
    "one class of several": [0, 2],
    "a gap": [0, 1, 3],
}


@pytest.mark.parametrize("kind", CLASSES)
def test_class_ids_stay(kind):
    np.testing.assert_array_equal(class_ids(np.array(CLASSES[kind])), CLASSES[kind])


REFUSED = {
    "JPEG of a mask": [0, 3, 6, 251, 249, 255],
    "resampled": [0, 64, 128, 191, 255],
    "grey levels of classes": [0, 100, 200],
    "a trimap": [0, 128, 255],
    "65535 beside others": [0, 1, 65535],
    "-1 beside others": [-1, 0, 1],
    "probabilities": [0.0, 0.25, 1.0],
    "no number": [0.0, np.nan],
    "without end": [0.0, np.inf],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_labels_is_refused_with_a_way_out(kind):
    with pytest.raises(ValueError, match="`label`. Expected .*(mask|threshold)") as error:
        class_ids(np.array(REFUSED[kind]))
    assert len(str(error.value).splitlines()) == 1


def test_ids_with_gaps_are_components_all_the_same():
    ids = np.array([[0, 40, 0, 90, 0, 200]], np.uint8)[None]
    np.testing.assert_array_equal(class_ids_with_gaps(ids), ids)
    found = whole_numbers(np.array([0.0, 70_000.0, -3.0]))
    assert found.dtype == np.int32 and found.tolist() == [0, 70_000, -3]


@pytest.mark.parametrize(
    "present, told",
    [
        ([0, 1], None),
        ([0, 1, 2, 255], None),
        ([0], None),
        ([1], None),
        ([0, 2], "3 classes, 0 to 2, have no voxel of 1"),
        ([0, 1, 5], "no voxel of 2, 3, 4"),
        ([1, 2], "no voxel of 0"),
        ([*range(40)], "39 classes, up to 39: are they grey levels, or ids of instances"),
        ([*range(0, 120, 3)], "39 classes, up to 117: are they grey levels"),
    ],
)
def test_gaps_are_told_before_any_work(present, told):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        count = count_classes(np.array(present, np.uint8))
    assert count == max(2, 1 + max(i for i in present if i != 255))
    assert [told in str(w.message) for w in caught] == ([True] if told else [])


def test_commands_take_masks_and_floats(tmp_path, capsys):
    truth = save_volume(tmp_path / "truth.tif", MASK * np.uint8(254), voxel_size=(5, 5, 5))
    labels = save_volume(tmp_path / "labels.tif", MASK.astype(np.float32), voxel_size=(5, 5, 5))
    assert volseg("evaluate", labels, truth, "--instances") == 0
    told = capsys.readouterr().out
    assert "VOC 100.0 %" in told and "1 true and 1 predicted" in told
    page = tmp_path / "page.html"
    assert volseg("report", truth, "--labels", labels, "--truth", truth, "-o", page) == 0
    assert volseg("measure", labels, "-o", tmp_path / "m.csv", "--components") == 0
    assert "1 objects" in capsys.readouterr().out
    blurred = save_volume(tmp_path / "blurred.tif", MASK * np.float32(0.5))
    assert volseg("evaluate", blurred, truth) == 2
    assert "as in label > 0.5" in capsys.readouterr().err


def test_a_mask_of_jpeg_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    for z, page in enumerate(MASK * np.uint8(255)):
        decoded = imagecodecs.jpeg_decode(imagecodecs.jpeg_encode(page, level=80))
        imagecodecs.imwrite(tmp_path / "labels" / f"{z}.png", decoded)
    image = save_volume(tmp_path / "image.tif", MASK * np.uint8(9))
    assert volseg("train", image, tmp_path / "labels", "-o", tmp_path / "run") == 2
    assert "label > 127" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "volume, labels",
    [
        (THREE, True),
        (MASK * np.uint8(255), True),
        (np.arange(6 * 24 * 32).reshape(MASK.shape), True),  # instances
        (np.arange(6 * 24 * 32).reshape(MASK.shape).astype(np.uint16), False),
        (MASK * np.float32(0.5), False),
    ],
)
def test_labels_are_told_from_grey_levels(volume, labels):
    assert are_labels(volume) == labels


@pytest.mark.parametrize(
    "highest, dtype", [(0, np.uint8), (255, np.uint8), (256, np.uint16), (2**16, np.uint32)]
)
def test_labels_take_no_more_bits_than_they_need(highest, dtype):
    found = in_smallest_type(MASK * np.int64(highest))
    assert found.dtype == dtype and found.max() == highest
    instances = np.arange(256).reshape(1, 16, 16)
    assert in_smallest_type(instances).dtype == np.uint16  # 255 is one of them
    with pytest.raises(ValueError, match="`labels`. Expected none below 0"):
        in_smallest_type(-1 - MASK.astype(np.int8))
