"""Test the synthetic volume: its kind, its share of mitochondria and its difficulty."""

import numpy as np
import pytest
from scipy import ndimage

from volseg_keras.datasets.phantom import annotated_phantom, phantom


def _best_band_jaccard(image, label):
    """Return the best Jaccard of all bands lo <= grey <= hi, one-sided ones included."""
    levels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    inside, outside = (
        np.concatenate([[0], np.cumsum(np.bincount(levels[label == k], minlength=256))])
        for k in (1, 0)
    )
    hits = inside[None, :] - inside[:, None]
    false = outside[None, :] - outside[:, None]
    return float(np.triu(hits / (inside[-1] + np.maximum(false, 0))).max())


def test_best_band_jaccard_finds_a_band():
    label = np.array([0, 1, 1, 0])
    assert _best_band_jaccard(np.array([10, 20, 30, 40]), label) == 1.0
    assert _best_band_jaccard(np.array([20, 20, 20, 20]), label) == 0.5


@pytest.mark.parametrize("seed", range(4))
def test_share_grey_levels_and_difficulty(seed):
    image, label = phantom((64, 128, 128), seed)
    assert 0.03 <= label.mean() <= 0.08
    assert 115 < image.mean() < 145 and 25 < image.std() < 45
    for sigma in (0, 1, 2):
        smooth = ndimage.gaussian_filter(image.astype("float32"), sigma)
        assert _best_band_jaccard(smooth, label) < 0.3
    pieces, count = ndimage.label(label)
    assert count >= 4 and np.bincount(pieces.ravel())[1:].max() > 2000


@pytest.mark.parametrize(
    "shape", [(16, 16, 16), (16, 64, 64), [17, 33, 65], (np.int64(40), 16, 90)]
)
def test_small_shapes_hold_both_classes(shape):
    for seed in range(3):
        image, label = phantom(shape, seed)
        assert image.dtype == label.dtype == np.uint8
        assert image.shape == label.shape == tuple(shape)
        assert set(np.unique(label)) == {0, 1}
        assert 0.01 < label.mean() < 0.1


def test_equal_seeds_repeat_and_others_differ():
    first, again, other = (phantom((24, 48, 48), seed) for seed in (3, 3, 4))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).mean() > 0.01


@pytest.mark.parametrize(
    "shape",
    [(8, 64), (15, 64, 64), (64, 64, 64, 1), (64.0, 64, 64), 64, None, "abc", (-64, 64, 64)],
)
def test_bad_shape_is_named(shape):
    with pytest.raises(ValueError, match="`shape`.*at least 16 voxels.*Received: shape=") as error:
        phantom(shape)
    assert "\n" not in str(error.value)


def test_some_sections_are_annotated():
    image, label = annotated_phantom((16, 64, 64), sections=2, seed=1)
    whole, truth = phantom((16, 64, 64), seed=1)
    np.testing.assert_array_equal(image, whole)
    np.testing.assert_array_equal(label[[4, 12]], truth[[4, 12]])
    assert set(np.flatnonzero(label.any(axis=(1, 2)))) <= {4, 12}
