import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg_keras import phantom, predict_volume
from volseg_keras.networks.metadata import Normalization
from volseg_keras.volumes import intensity_measurement
from volseg_keras.volumes.intensity import IntensityStatistics
from volseg_keras.volumes.padding import RUN, in_rows

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(40, 256, (20, 40, 44)).astype(np.uint8)


def pair(image):
    found = IntensityStatistics.of(image)
    return found.mean, found.deviation


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, ">u2", np.int32])
def test_mean_and_deviation(dtype):
    image = (IMAGE.astype(np.float64) - 100 * (np.dtype(dtype).kind != "u")).astype(dtype)
    low, high = np.percentile(image, (0.1, 99.9), method="inverted_cdf")
    want = np.clip(image, low, high).astype(float)
    assert pair(image) == pytest.approx((want.mean(), want.std()), rel=1e-6)
    assert IntensityStatistics.of(image).padding == ()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_few_saturated_voxels_change_nothing(dtype):
    image = IMAGE.astype(dtype)
    spoilt = image.copy()
    spoilt.flat[:: image.size // 8] = 60_000
    assert pair(spoilt) == pytest.approx(pair(image), rel=0.02)


@pytest.mark.parametrize("constant, value", [("SAMPLED", 2000), ("LARGE", 4000)])
def test_a_large_volume_is_sampled(constant, value, monkeypatch):
    monkeypatch.setattr(intensity_measurement, constant, value)
    image = RNG.normal(5, 2, (20, 30, 40)).astype(np.float32)
    pieces = []
    found = IntensityStatistics.of(image, lambda done, total: pieces.append((done, total)))
    assert (found.mean, found.deviation) == pytest.approx((5, 2), rel=0.06)
    assert pieces[-1][0] == pieces[-1][1] == len(pieces)


FRAMES = {
    "zeros": ([(0, 0), (30, 17), (25, 40)], 0),
    "maximum": ([(0, 0), (20, 20), (20, 20)], 255),
    "blank sections": ([(3, 5), (0, 0), (0, 0)], 128),
    "all around": ([(4, 3), (30, 17), (25, 40)], 0),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", FRAMES)
def test_padding_does_not_count(name, dtype):
    width, value = FRAMES[name]
    image = IMAGE.astype(dtype)
    framed = np.pad(image, width, constant_values=value)
    found = IntensityStatistics.of(framed)
    assert (found.mean, found.deviation) == pytest.approx(pair(image), rel=1e-3)
    assert found.padding == (value,)
    inside = tuple(slice(a, n - b) for (a, b), n in zip(width, framed.shape, strict=True))
    standardized = found.standardize(framed)
    # But voxels of that level that touch the padding.
    assert found.padded(framed)[inside].mean() < 1e-3
    want = IntensityStatistics.of(image).standardize(image)
    assert np.mean(np.abs(standardized[inside] - want) > 0.01) < 1e-3
    # Padding becomes the image mirrored, as at the border of a file.
    want = np.pad(standardized[inside], width, mode="reflect")
    assert np.mean(np.abs(standardized - want) > 0.01) < 1e-2
    # A block that cuts the padding off after few voxels knows it too.
    corner = np.s_[:, :, : width[2][0] + 5] if width[2][0] else np.s_[:4]
    np.testing.assert_array_equal(found.padded(framed[corner]), found.padded(framed)[corner])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("lost", [np.s_[:], np.s_[:, 40:]])
def test_a_section_that_was_lost_among_many_is_padding(lost, dtype):
    image = np.random.default_rng(0).integers(60, 200, (200, 64, 64)).astype(dtype)
    clean = IntensityStatistics.of(image)
    image[77][lost] = 0
    found = IntensityStatistics.of(image)
    assert found.padding == (0,) and found.mean == pytest.approx(clean.mean, rel=1e-3)
    padded = found.padded(image[70:80])
    assert padded[7][lost].all() and padded.sum() == padded[7][lost].size


def test_a_constant_section_is_padding_where_it_was_not_measured():
    """Like a volume so large that only some of its sections are."""
    image = np.random.default_rng(0).integers(60, 200, (4, 64, 64, 2), np.uint8)
    image[2, ..., 1] = 90
    found = IntensityStatistics((130.0, 130.0), (40.0, 40.0))
    assert found.padded(image)[2, ..., 1].all() and found.padded(image).sum() == 64 * 64
    mirrored = found.standardize(image)
    np.testing.assert_array_equal(mirrored[2, ..., 1], mirrored[0, ..., 1])
    assert found.padded(image[:, :32, :32]) is None  # it may be flat by nature


def test_single_voxels_of_the_level_of_padding_are_tissue():
    image = IMAGE.copy()
    image[5, 10, 10:18] = 0
    framed = np.pad(image, [(0, 0), (0, 0), (60, 0)])
    padded = IntensityStatistics.of(framed).padded(framed)
    assert padded[:, :, :60].all() and not padded[:, :, 60:].any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=80), st.integers(1, 20))
def test_rows_are_those_of_at_least_so_many_voxels(line, length):
    mask = np.array(line)[None, None]
    found = in_rows(mask, length)[0, 0] if len(line) >= length else mask[0, 0] & False
    text = "".join("x" if voxel else " " for voxel in line)
    want = [
        len(text[:i].rsplit(" ", 1)[-1]) + len(text[i:].split(" ", 1)[0]) >= length and voxel
        for i, voxel in enumerate(line)
    ]
    assert found.tolist() == want


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 1000), st.floats(-1000, 1000))
def test_gain_and_offset_make_no_difference(gain, offset):
    image = IMAGE.astype(np.float64)
    one, other = (IntensityStatistics.of(v).standardize(v) for v in (image, image * gain + offset))
    np.testing.assert_allclose(one, other, atol=0.01)


@pytest.mark.parametrize(
    "image, message",
    [
        (np.full((4, 20, 20), 7), "only 7"),
        (IMAGE > 128, "only 0 and 1 .labels"),
        (np.where(IMAGE > 128, 255, 0).astype(np.uint8), "only 0 and 255 .labels"),
        (np.where(IMAGE > 128, np.nan, 1.0), "finite"),
    ],
)
def test_volumes_that_nothing_good_can_come_of(image, message):
    with pytest.raises(ValueError, match=f"`image`.*{message}"):
        IntensityStatistics.of(image)


def test_flat_images_count_as_a_whole():
    cartoon = np.repeat(RNG.integers(0, 5, (6, 10, 4)) * 50, RUN, axis=2).astype(np.uint8)
    found = IntensityStatistics.of(cartoon)
    assert found.padding == () and found.mean == pytest.approx(cartoon.mean())


def test_each_channel_has_its_own():
    image = np.stack([IMAGE, IMAGE // 2 + 7], axis=-1)
    found = IntensityStatistics.of(image)
    assert found.mean == pytest.approx([IMAGE.mean(), (IMAGE // 2).mean() + 7], rel=1e-3)
    standardized = found.standardize(image)
    np.testing.assert_allclose(standardized.mean((0, 1, 2)), 0, atol=0.01)
    np.testing.assert_allclose(standardized.std((0, 1, 2)), 1, atol=0.02)


def test_intensities_of_another_network():
    """A network that standardises by constants of its own gets intensities of these."""
    given = IntensityStatistics.of(IMAGE).standardize(IMAGE, Normalization(100.0, 20.0))
    assert (given.mean(), given.std()) == pytest.approx((100, 20), rel=1e-2)


CHANGES = {
    "darker": lambda v: v - 30,
    "half the contrast": lambda v: v * 0.5 + 60,
    "16 bits": lambda v: (v * 257).astype(np.uint16),
    "0 to 1": lambda v: (v / 255).astype(np.float32),
    "signed": lambda v: (v - 128).astype(np.int8),
    "in a frame": lambda v: np.pad(v, [(24, 24), (48, 48), (48, 48)]).astype(np.uint8),
}


@pytest.fixture(scope="module")
def plain():
    image = np.clip(phantom((32, 96, 96))[0], 31, 255)
    return image, predict_volume("mito-3d", image)[..., 1] >= 0.5


@pytest.mark.parametrize("name", CHANGES)
def test_the_published_model_does_not_mind(name, plain):
    image, want = plain
    found = predict_volume("mito-3d", CHANGES[name](image.astype(np.float64)))[..., 1] >= 0.5
    if name == "in a frame":
        outside = found.copy()
        inside = np.s_[24:-24, 48:-48, 48:-48]
        found, outside[inside] = found[inside], False
        assert not outside.any()
    assert (found & want).sum() / (found | want).sum() > (0.95 if name == "in a frame" else 0.97)


@pytest.mark.parametrize(
    "shape", [(3, 20_000, 20_000), (10, 40_000, 40_000), (1, 60_000, 9_000), (10, 8000, 8000)]
)
def test_of_few_large_sections_some_rows_of_each_are_read(shape):
    class Volume:
        dtype, read = np.dtype(np.uint8), []

        def __getitem__(self, key):
            self.read.append((key[0].start, key[1]))
            return np.arange(100, dtype=np.uint8).reshape(1, 1, 100)

    volume = Volume()
    volume.shape = shape
    assert len(list(intensity_measurement._pieces(volume, None)))
    sections, rows = zip(*volume.read, strict=True)
    assert sorted(set(sections)) == list(range(shape[0]))
    read = sum(min(part.stop, shape[1]) - part.start for part in rows) * shape[2]
    assert 2**27 < read < 2**29
    gaps = np.diff(sorted({0, shape[1], *(part.start for part in rows)}))
    assert gaps.max() < shape[1] / 8  # they are all over the section


def test_statistics_and_padding_are_told_in_a_line():
    told = "Intensities are standardised: mean 120, deviation 30"
    hint = "(--normalize sets others)"
    assert str(IntensityStatistics(120.0, 30.0)) == f"{told} {hint}"
    padding = "padding of 0 and 255 is background"
    assert str(IntensityStatistics(120.0, 30.0, (0.0, 255.0))) == f"{told}; {padding} {hint}"
    assert "mean 1, deviation 3; mean 2, deviation 4 (" in str(
        IntensityStatistics([1.0, 2.0], [3.0, 4.0])
    )
