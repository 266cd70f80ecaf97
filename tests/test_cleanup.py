import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volseg_keras.postprocessing.filters import fill_holes, median, remove_small
from volseg_keras.postprocessing.instance_ids import as_instances, components


@st.composite
def label_maps(draw, top=3, kinds=(np.uint8, np.uint32)):
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    share = draw(st.floats(0.1, 0.9))
    labels = rng.integers(1, top + 1, shape) * (rng.random(shape) < share)
    return labels.astype(draw(st.sampled_from(kinds)))


def shell(depth=7):
    """A hollow cube of label 2."""
    labels = np.zeros((depth, 9, 9), np.uint8)
    labels[1:6, 1:6, 1:6] = 2
    labels[2:5, 2:5, 2:5] = 0
    return labels


@settings(max_examples=40, deadline=None)
@given(label_maps(top=1), st.sampled_from([1, 3, 5, (1, 3, 5)]))
def test_the_vote_of_two_classes_is_the_median(labels, size):
    want = ndimage.median_filter(labels, size if isinstance(size, tuple) else (size,) * 3)
    found = median(labels, size)
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(found, median(labels.astype(np.float32), size))


def test_the_vote_of_three_classes():
    labels = np.zeros((1, 3, 6), np.uint8)
    labels[0, :, 3:] = 2
    labels[0, 1, 1] = labels[0, 1, 4] = 1
    want = np.zeros_like(labels)
    want[0, :, 3:] = 2
    np.testing.assert_array_equal(median(labels, (1, 3, 3)), want)


@pytest.mark.parametrize("size", [0, 2, -3, (3, 3, 4)])
def test_sides_of_a_median_are_odd(size):
    with pytest.raises(ValueError, match="`size`"):
        median(np.zeros((3, 3, 3), np.uint8), size)


@settings(max_examples=60, deadline=None)
@given(label_maps(), st.integers(0, 8))
def test_only_components_of_fewer_voxels_go(labels, least):
    want = labels.copy()
    for label in range(1, 4):
        parts, count = ndimage.label(labels == label)
        for i in range(1, count + 1):
            if np.count_nonzero(parts == i) < least:
                want[parts == i] = 0
    np.testing.assert_array_equal(remove_small(labels, least), want)


def test_masks_stay_masks():
    mask = np.zeros((4, 5, 6), bool)
    mask[0, 0, 0] = mask[2:4, 2:4, 2:4] = True
    found = remove_small(mask, 2)
    assert found.dtype == bool and found.sum() == 8
    assert components(mask).max() == 2 and components(mask).dtype == np.uint32


@settings(max_examples=60, deadline=None)
@given(label_maps(top=1))
def test_holes_of_a_mask_are_those_of_scipy(labels):
    single = len(labels) == 1
    want = (
        ndimage.binary_fill_holes(labels[0])[None] if single else ndimage.binary_fill_holes(labels)
    )
    np.testing.assert_array_equal(fill_holes(labels), want)


def changed(place, value):
    labels = shell()
    labels[place] = value
    return labels


@pytest.mark.parametrize(
    "labels, filled",
    [
        (shell(), 27),
        (shell()[:5], 0),  # open where the volume ends
        (changed((3, 3, 5), 0), 0),  # a channel
        (changed((3, 3, 5), 1), 0),  # between two objects
        (changed((3, 3, 3), 2), 26),  # with an island
        (changed((3, 3, 3), 1), 0),
    ],
)
def test_a_hole_is_closed_and_of_one_object(labels, filled):
    before = labels.copy()
    found = fill_holes(labels)
    np.testing.assert_array_equal(labels, before)
    assert np.count_nonzero(found == 2) - np.count_nonzero(labels == 2) == filled
    np.testing.assert_array_equal(found[labels > 0], labels[labels > 0])


@pytest.mark.parametrize(
    "row, ids, classes, joined",
    [
        ([0, 255, 0, 255], [0, 1, 0, 2], [0, 1, 0, 1], True),  # a mask
        ([0, 1, 2, 255], [0, 1, 2, 0], [0, 1, 2, 255], True),  # classes, and not annotated
        (np.uint32([7, 0, 7, 0]), [1, 0, 2, 0], [1, 0, 1, 0], True),  # a mask of 32 bits
        (np.uint32([7, 9, 7, 0]), [7, 9, 7, 0], [1, 1, 1, 0], False),  # ids
        (np.array([True, False, True, True]), [1, 0, 2, 2], [1, 0, 1, 1], True),
    ],
)
def test_instances_of_a_label_map(row, ids, classes, joined):
    labels = np.asarray(row, getattr(row, "dtype", np.uint8)).reshape(1, 1, 4)
    found = as_instances(labels)
    assert found.ids.ravel().tolist() == ids and found.class_ids.ravel().tolist() == classes
    assert found.are_components == joined


def test_holes_of_a_volume_one_voxel_thick_are_filled():
    filled = np.zeros((1, 9, 9), np.uint8)
    filled[:, 1:6, 1:6] = 2
    np.testing.assert_array_equal(fill_holes(shell()[3:4]), filled)


@pytest.mark.parametrize("dtype", [">u2", ">i4", ">u8"])
def test_labels_of_the_other_byte_order(dtype):
    labels = shell()
    swapped = labels.astype(dtype)
    np.testing.assert_array_equal(components(swapped), components(labels))
    labels[6, 8, 8] = swapped[6, 8, 8] = 3
    found = remove_small(swapped, 5)
    assert found.dtype == swapped.dtype
    np.testing.assert_array_equal(found, shell())
    labels[6, 8, 8] = swapped[6, 8, 8] = 0
    assert as_instances(swapped).are_components
