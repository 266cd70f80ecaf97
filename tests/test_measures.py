import csv
import math

import numpy as np
import pytest
from command import volseg
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from volseg_keras import measure, phantom, save_volume
from volseg_keras.postprocessing import measures
from volseg_keras.postprocessing.instance_ids import components, instances_to_measure

SIDES = [(5, 5, 5), (40, 6, 6), (7, 11, 5)]


def ellipsoid(radii, sides=(1, 1, 1), pad=2):
    """An ellipsoid of radii in nm, and the middle of its volume."""
    shape = [2 * (math.ceil(r / s) + pad) + 1 for r, s in zip(radii, sides, strict=True)]
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    parts = (
        ((g - n // 2) * s / r) ** 2 for g, n, s, r in zip(grid, shape, sides, radii, strict=True)
    )
    return (sum(parts) <= 1).astype(np.uint8)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(2, 10), st.integers(1, 10), st.integers(1, 10)),  # not a single section
    st.integers(0, 2**32),
    st.sampled_from(SIDES),
    st.sampled_from([1, 1000, 2**30]),
)
def test_against_regionprops(shape, seed, sides, factor):
    rng = np.random.default_rng(seed)
    labels = (rng.integers(0, 6, shape) * factor).astype(np.uint32)
    rows = measure(labels, sides)
    small = labels // factor
    props = regionprops(small, spacing=sides)
    assert [row["id"] for row in rows] == [p.label * factor for p in props]
    for row, p in zip(rows, props, strict=True):
        assert tuple(row) == measures.COLUMNS and row["class"] == 1
        assert row["voxels"] == len(p.coords)
        assert row["volume_um3"] == pytest.approx(p.area * 1e-9)
        center = [row[f"centroid_{a}_voxels"] * s for a, s in zip("zyx", sides, strict=True)]
        assert center == pytest.approx(list(p.centroid))
        for i, a in enumerate("zyx"):
            box = row[f"box_{a}_start_voxels"], row[f"box_{a}_stop_voxels"]
            assert box == (p.bbox[i], p.bbox[i + 3])
        own = small == p.label
        inside = np.count_nonzero(own[1:-1, 1:-1, 1:-1])
        assert row["touches_border"] == (inside < row["voxels"])
        assert row["surface_um2"] > 0
        if len(set(sides)) == 1:
            # Inertia about an axis is the spread along the others; a voxel is a box.
            inertia = np.array(p.inertia_tensor_eigvals)
            spread = inertia.sum() / 2 - inertia + sides[0] ** 2 / 12
            ratio = math.sqrt(spread.max() / spread.min())
            assert row["elongation"] == pytest.approx(ratio, rel=1e-6)


@pytest.mark.parametrize(
    "sides, percent", [((1, 1, 1), 2), ((5, 5, 5), 2), ((2, 1, 1), 3), ((8, 1, 1), 3)]
)
@pytest.mark.parametrize("radius", [8, 12, 20])
def test_the_surface_of_a_ball(radius, sides, percent):
    radius *= max(sides)
    (row,) = measure(ellipsoid((radius,) * 3, sides), sides)
    assert row["surface_um2"] * 1e6 == pytest.approx(4 * math.pi * radius**2, rel=percent / 100)
    assert row["volume_um3"] * 1e9 == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.02)
    assert row["elongation"] == pytest.approx(1, abs=0.02)
    assert not row["touches_border"]


@pytest.mark.parametrize("sides", [(1, 1, 1), (4, 1, 1), (3, 2, 1)])
@pytest.mark.parametrize("radii", [(24, 12, 12), (12, 36, 18), (15, 15, 45)])
def test_the_elongation_of_an_ellipsoid(radii, sides):
    (row,) = measure(ellipsoid(radii, sides), sides)
    assert row["elongation"] == pytest.approx(max(radii) / min(radii), rel=0.05)


def test_a_voxel_is_a_box():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = 1
    (row,) = measure(labels, (40, 5, 5))
    assert row["elongation"] == pytest.approx(8) and row["volume_um3"] == pytest.approx(1e-6)
    assert 0 < row["surface_um2"] <= 2 * (40 * 5 * 2 + 25) * 1e-6
    assert measure(labels * 0, (5, 5, 5)) == []


@pytest.mark.parametrize(
    "labels, sides, name",
    [
        (np.zeros((3, 4), int), (5, 5, 5), "labels"),
        (np.zeros((3, 4, 5)), (5, 5, 5), "labels"),
        (np.full((3, 4, 5), -1), (5, 5, 5), "labels"),
        (np.zeros((3, 4, 5), int), None, "voxel_size"),
        (np.zeros((3, 4, 5), int), (5, 5), "voxel_size"),
    ],
)
def test_wrong_input(labels, sides, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        measure(labels, sides)


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_what_python_measures(tmp_path, monkeypatch, capsys):
    label = phantom((32, 64, 96), seed=0)[1]
    ids, sides = components(label), (8, 4, 4)
    save_volume(tmp_path / "ids.tif", ids, voxel_size=sides)
    save_volume(tmp_path / "mask.npy", label * np.uint8(255))
    out = tmp_path / "m.csv"
    assert volseg("measure", tmp_path / "ids.tif", "-o", out) == 0
    want = [
        {k: f"{v:.6g}" if isinstance(v, float) else str(v) for k, v in row.items()}
        for row in measure(ids, sides)
    ]
    assert len(want) >= 2 and read(out) == want
    assert f"({len(want)} objects)" in capsys.readouterr().out

    mask = ("measure", tmp_path / "mask.npy", "--voxel-size", "8,4,4", "-o", tmp_path / "c.csv")
    assert volseg(*mask) == 2
    assert "--components" in capsys.readouterr().err
    assert volseg(*mask, "--components") == 0
    assert read(tmp_path / "c.csv") == want
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "ids.tif", "m.csv", "mask.npy"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32])
def test_classes_of_any_type_that_lie_on_several_objects_are_told(dtype, tmp_path):
    labels = np.zeros((8, 8, 24), dtype)
    labels[2:5, 2:5, 2:5] = labels[2:5, 2:5, 8:11] = 1
    labels[2:5, 2:5, 14:17] = 2
    np.save(tmp_path / "labels.npy", labels)
    arguments = "measure", tmp_path / "labels.npy", "-o", tmp_path / "m.csv", "--voxel-size=5,5,5"
    with pytest.warns(UserWarning, match="--components if they are classes"):
        assert volseg(*arguments) == 0


def test_an_image_is_not_measured_without_a_word():
    image = phantom((16, 64, 64))[0]
    with pytest.warns(UserWarning, match="are they grey levels"):
        instances_to_measure(image, False, "image.tif")


def test_the_thickness_of_a_single_section_is_told(tmp_path):
    labels = np.zeros((1, 8, 8), np.uint16)
    labels[0, 2:5, 2:5] = 7
    save_volume(tmp_path / "one.tif", labels, voxel_size=(5, 5, 5))
    arguments = "measure", tmp_path / "one.tif", "-o", tmp_path / "m.csv"
    with pytest.warns(UserWarning, match="taken to be 5 nm thick"):
        assert volseg(*arguments) == 0


def test_components_of_classes_keep_their_class(tmp_path, monkeypatch):
    labels = np.zeros((5, 5, 12), np.uint8)
    labels[1:4, 1:4, 1:4], labels[1:4, 1:4, 4:7], labels[1:4, 1:4, 8:11] = 1, 2, 1
    labels[0] = 255  # not annotated
    save_volume(tmp_path / "labels.tif", labels, voxel_size=(5, 5, 5))
    arguments = ("measure", tmp_path / "labels.tif", "-o", tmp_path / "m.csv", "--components")
    assert volseg(*arguments) == 0
    rows = read(tmp_path / "m.csv")
    assert [(row["class"], row["voxels"]) for row in rows] == [
        ("1", "27"),
        ("2", "27"),
        ("1", "27"),
    ]


@pytest.mark.parametrize(
    "name, options, told",
    [
        ("silent.npy", (), "--voxel-size"),
        ("silent.npy", ("--voxel-size", "5,5"), "three positive numbers"),
        ("silent.npy", ("--voxel-size", "5,5,5", "-o", "m.txt"), "NAME.csv"),
        ("missing.tif", (), "missing.tif"),
    ],
)
def test_the_command_refuses(name, options, told, tmp_path, monkeypatch, capsys):
    save_volume(tmp_path / "silent.npy", np.ones((4, 5, 6), np.uint16))
    monkeypatch.chdir(tmp_path)
    assert volseg("measure", name, "-o", "m.csv", *options) == 2
    assert told in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["silent.npy"]


def test_classes_of_several_objects_are_told(tmp_path):
    labels = np.zeros((4, 5, 9), np.uint8)
    labels[1:3, 1:3, 1:3] = labels[1:3, 1:3, 5:7] = 1
    labels[:, 4] = 2
    save_volume(tmp_path / "a.npy", labels)
    arguments = ("measure", tmp_path / "a.npy", "--voxel-size", "5,5,5", "-o", tmp_path / "m.csv")
    with pytest.warns(UserWarning, match="--components if they are classes"):
        assert volseg(*arguments) == 0
    assert volseg(*arguments, "--components") == 0
    assert sorted(row["class"] for row in read(tmp_path / "m.csv")) == ["1", "1", "2"]


@pytest.mark.parametrize("thick", [1, 2, 4])
@pytest.mark.parametrize("side", [6, 8, 10, 24])
def test_the_surface_of_what_is_thin(side, thick):
    labels = np.zeros((thick + 4, 40, 40), np.uint8)
    labels[2 : 2 + thick, 5 : 5 + side, 5 : 5 + side] = 1
    (row,) = measure(labels, (40, 5, 5))
    box = 2 * (5 * side) ** 2 + 4 * 5 * side * 40 * thick
    assert 0.5 * box < 1e6 * row["surface_um2"] <= box


def test_objects_of_one_section_are_measured_in_it():
    labels = np.zeros((1, 20, 20), np.uint8)
    labels[0, 5:15, 5:15] = 1
    labels[0, 17:, 17:] = 2
    square, corner = measure(labels, (40, 5, 5))
    assert square["elongation"] == pytest.approx(1)
    assert not square["touches_border"] and corner["touches_border"]


def test_one_object_is_no_mask_of_several(tmp_path, monkeypatch):
    save_volume(tmp_path / "one.npy", ellipsoid((6, 6, 6)).astype(np.uint32) * 9)
    arguments = ("measure", tmp_path / "one.npy", "--voxel-size", "5,5,5", "-o", tmp_path / "m.csv")
    assert volseg(*arguments) == 0
    assert [row["id"] for row in read(tmp_path / "m.csv")] == ["9"]


@pytest.mark.parametrize("first", [2**31, 2**60])
def test_ids_of_64_bits_are_told_apart(first):
    labels = np.zeros((3, 4, 8), np.uint64)
    labels[1, 1:3, 1:4], labels[1, 1:3, 4:6] = first, first + 1
    rows = measure(labels, (5, 5, 5))
    assert [(row["id"], row["voxels"]) for row in rows] == [(first, 6), (first + 1, 4)]
