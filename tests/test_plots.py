"""Tests of the PNG figures."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from volseg_keras.report import plots
from volseg_keras.report.curve import training_curve
from volseg_keras.report.planes import PLANES
from volseg_keras.report.plots import PREDICTION, TRUTH, draw_cover, overlay

HEADER = "step,seconds,loss,jaccard,learning_rate,mvoxel_per_s,val_jaccard\n"
BLUE = "#0072b2"


class Planes:
    """A lazy array: slicing works, and anything that would read it whole does not."""

    def __init__(self, array):
        self._array, self.shape, self.read = array, array.shape, []
        self.dtype = array.dtype

    def __getitem__(self, key):
        self.read.append(key)
        return self._array[key]

    def __array__(self, *args, **kwargs):
        raise AssertionError("read as a whole")


def pixels(png, color, legend=False):
    """Counts the pixels near a colour above the legend, or with it."""
    rgb = imread(png)[..., :3]
    rgb = rgb if legend else rgb[:-95]
    return int((np.abs(rgb - to_rgb(color)).max(-1) < 0.08).sum())


def volume(shape, box=None):
    image = np.random.default_rng(0).integers(0, 255, shape).astype("uint8")
    labels = np.zeros(shape, "int32")
    if box is not None:
        labels[box] = 7
    return image, labels


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((24, 48, 64), "bool"),
        ((1, 200, 100), "int16"),
    ],
)
def test_overlay_outlines_the_foreground_only(tmp_path, shape, dtype):
    image, labels = volume(shape, np.s_[:])
    empty = np.zeros_like(labels)
    png = overlay(image.astype(dtype), labels, tmp_path / "new" / "full.png", empty)
    assert png == tmp_path / "new" / "full.png"
    assert pixels(png, PREDICTION) > 60 and pixels(png, TRUTH) == 0
    png = overlay(image.astype(dtype), empty, tmp_path / "new" / "none.png", labels)
    assert pixels(png, PREDICTION) == 0 and pixels(png, TRUTH) > 60
    assert sorted(p.name for p in png.parent.iterdir()) == ["full.png", "none.png"]


def test_overlay_is_to_scale(tmp_path):
    wide = imread(overlay(*volume((10, 50, 200)), tmp_path / "wide.png")).shape
    tall = imread(overlay(*volume((10, 200, 50)), tmp_path / "tall.png")).shape
    assert wide[1] > 2 * wide[0] and tall[0] > tall[1]
    voxel = 6.5 / 210 * 160
    assert wide[0] - 1.75 * 160 == pytest.approx(60 * voxel, abs=2)
    assert tall[0] - 1.75 * 160 == pytest.approx(210 * voxel, abs=2)


def test_overlay_draws_voxels_as_they_are(tmp_path):
    options = {"path": tmp_path / "a.png", "voxel_size": (40, 8, 8)}
    tall = imread(overlay(*volume((20, 50, 100)), **options)).shape
    cubes = imread(overlay(*volume((100, 50, 100)), tmp_path / "b.png")).shape
    assert tall == pytest.approx(cubes, abs=1)


def test_overlay_of_a_section_is_one_panel(tmp_path):
    found = imread(overlay(*volume((1, 100, 200), np.s_[:, 20:60, 20:60]), tmp_path / "a.png"))
    assert found.shape[0] == pytest.approx((1.75 + 3.25) * 160, abs=2)


def test_overlay_without_truth_names_none(tmp_path):
    image, labels = volume((8, 32, 32), np.s_[2:6, 8:20, 8:20])
    alone = overlay(image, labels, tmp_path / "alone.png")
    assert pixels(alone, PREDICTION) > 60 and pixels(alone, TRUTH, legend=True) == 0
    assert pixels(overlay(image, labels, alone, labels), TRUTH, legend=True) > 0


def test_overlay_moves_to_the_foreground(tmp_path):
    image, labels = volume((20, 40, 40), np.s_[6:8, 12:18, 25:28])
    assert pixels(overlay(image, labels, tmp_path / "found.png"), PREDICTION) > 100
    middle = overlay(image, labels, tmp_path / "middle.png", center=(10, 20, 20))
    assert pixels(middle, PREDICTION) == 0


def test_overlay_reads_three_planes_of_a_lazy_volume(tmp_path):
    lazy = [Planes(array) for array in volume((8, 30, 40), np.s_[:])]
    png = overlay(*lazy, tmp_path / "lazy.png")
    every = slice(None)
    assert pixels(png, PREDICTION) > 60
    for array in lazy:
        assert array.read == [(4, every, every), (every, 15, every), (every, every, 20)]


@pytest.mark.parametrize(
    ("image", "labels", "truth", "message"),
    [
        (
            (4, 8, 8),
            (4, 8, 9),
            None,
            r"`prediction`. Expected the shape \(4, 8, 8\) of `image`. "
            r"Received: shape \(4, 8, 9\)",
        ),
        ((4, 8, 8), (4, 8, 8), (3, 8, 8), r"`truth`.*Received: shape \(3, 8, 8\)"),
        ((8, 8), (8, 8), None, r"`image`.*Received: shape \(8, 8\)"),
    ],
)
def test_overlay_refuses_shapes_that_differ(tmp_path, image, labels, truth, message):
    truth = None if truth is None else np.zeros(truth)
    with pytest.raises(ValueError, match="Invalid value for " + message):
        overlay(np.zeros(image), np.zeros(labels), tmp_path / "a.png", truth)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rows", "held_out"),
    [
        (["10,2,1.2,0.1,0.001,3,0.4"], True),
        (["10,2,1.2,0.1,0.001,3,", "20,4,0.9,0.3,0.001,3,"], False),
        (["10,2,1.2,0.1,0.001,3,", "20,4,nan,0.3,0.001,3,0.25", "30,6,0.5,0.4,0.0,3,0.2"], True),
        (["10,2,1.2,0.1,0.001,3,0.4", "20,4,0."], True),
    ],
)
def test_training_curve_marks_held_out_values_where_there_are_any(tmp_path, rows, held_out):
    history = tmp_path / "history.csv"
    history.write_text(HEADER + "\n".join(rows))
    png = training_curve(history, tmp_path / "new" / "curve.png")
    assert imread(png).shape[:2] == (960, 1120)
    assert (pixels(png, BLUE, legend=True) > 50) == held_out
    assert [p.name for p in png.parent.iterdir()] == ["curve.png"]


@pytest.mark.parametrize("ended_early", [False, True])
def test_training_curve_joins_the_parts_of_a_training(ended_early, tmp_path, monkeypatch):
    first, last = "10,60,1.2,0.1,0.1,3,0.4\n20,90,1,0.2,0.1,3,\n", "5,30,0.8,0.3,0.1,3,\n"
    (tmp_path / "parts/1").mkdir(parents=True)
    (tmp_path / "parts/1/history.csv").write_text(HEADER + first)
    (tmp_path / "history.csv").write_text(HEADER + (first if ended_early else last))
    titles, marks = [], []
    monkeypatch.setattr(Axes, "set_title", lambda self, title, **_: titles.append(title))
    monkeypatch.setattr(Axes, "annotate", lambda self, text, *_, **__: marks.append(text))
    png = training_curve(tmp_path / "history.csv", tmp_path / "curve.png")
    assert titles == ["20 steps in 1.5 minutes" if ended_early else "25 steps in 2.0 minutes"]
    assert marks == ["kept 0.400" if ended_early else "trained further: 0.400"]
    assert pixels(png, BLUE, legend=True) > 50


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ((0.1, 0.9, 0.3, 0.4, 0.5), "kept 0.500"),  # the best one is of a high learning rate
        ((0.1, 0.2, 0.3, 0.7, 0.5), "kept 0.700"),
        ((0.1, 0.6, 0.3, 0.4, ""), "kept 0.600"),  # stopped before the end
    ],
)
def test_training_curve_marks_the_weights_that_are_kept(scores, kept, tmp_path, monkeypatch):
    rows = [f"{10 * i},{i},1,0.1,0.1,3,{score}" for i, score in enumerate(scores, 1)]
    (tmp_path / "history.csv").write_text(HEADER + "\n".join(rows))
    marks = []
    monkeypatch.setattr(Axes, "annotate", lambda self, text, *_, **__: marks.append(text))
    training_curve(tmp_path / "history.csv", tmp_path / "curve.png")
    assert marks == [kept]


def test_training_curve_refuses_an_empty_history(tmp_path):
    (tmp_path / "history.csv").write_text(HEADER)
    with pytest.raises(ValueError, match="Invalid value for `history`"):
        training_curve(tmp_path / "history.csv", tmp_path / "curve.png")
    assert not (tmp_path / "curve.png").exists()


def test_ids_are_shaded_each_in_a_colour(tmp_path):
    image, labels = volume((40, 40, 40))
    labels[5:35, 5:35, 5:20], labels[5:35, 5:35, 20:35] = 1, 2
    hues = []
    for dtype in ("uint8", "uint32"):
        rgb = imread(overlay(image // 8, labels.astype(dtype), tmp_path / "a.png"))[..., :3]
        high, low = rgb.max(-1), rgb.min(-1)
        shaded = rgb[(high - low > 0.2) & (np.abs(rgb - to_rgb(PREDICTION)).max(-1) > 0.3)]
        hues.append({tuple(row) for row in np.argsort(shaded, axis=-1).tolist()})
    assert len(hues[0]) < len(hues[1])


def test_a_cover_is_twice_as_wide_as_high_and_marks_its_right_half(tmp_path):
    image, labels = volume((40, 60), np.s_[10:20, 12:30])
    png = imread(draw_cover(image, labels, tmp_path / "new" / "cover.png"))[..., :3]
    height, width = png.shape[:2]
    assert width == 2 * height
    marked = np.abs(png - to_rgb(PREDICTION)).max(-1) < 0.08
    assert marked[:, width // 2 :].any() and not marked[:, : width // 2].any()


def test_large_planes_are_thinned_along_long_sides_only(monkeypatch):
    monkeypatch.setattr(plots, "LARGEST", 20)
    volume = np.arange(6 * 50 * 30).reshape(6, 50, 30)
    at = zip(PLANES, (3, 24, 10), strict=True)
    yx, zx, zy = (plots.subsampled(plane.of(volume, position)) for plane, position in at)
    np.testing.assert_array_equal(yx, volume[3, ::3, ::2])
    np.testing.assert_array_equal(zx, volume[:, 24, ::2])
    np.testing.assert_array_equal(zy, volume[:, ::3, 10].T)
