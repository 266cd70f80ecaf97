"""Tests of the page, of `volseg report` and of `volseg view`."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import webbrowser
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tifffile
from chromium import Chromium
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygon
from PIL import Image
from scipy import ndimage
from test_cli import volseg
from test_plots import HEADER, Planes

from volseg_keras import open_volume, phantom, save_volume
from volseg_keras.cli.common import VolumeOptions
from volseg_keras.napari_plugin import viewer
from volseg_keras.report import slices
from volseg_keras.report.instance_sizes import instance_sizes, size_histogram
from volseg_keras.report.page import write_page
from volseg_keras.report.planes import PLANES
from volseg_keras.report.slices import outline
from volseg_keras.segmentation_page import Layers, display_name
from volseg_keras.volumes.volume import as_volume

SHAPE = (20, 48, 72)
ALL = (
    "--labels labels.tif --truth truth.tif --probability probability.tif --run run "
    "--instances ids.tif"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A phantom, a shifted answer to it, and a page of everything."""
    folder = tmp_path_factory.mktemp("my data")
    image, truth = phantom(SHAPE, seed=3)
    labels = np.roll(truth, 2, axis=2)
    files = {"volume": image, "truth": truth * np.uint8(255), "labels": labels}
    files["probability"] = ndimage.gaussian_filter(labels.astype("float32"), 1)
    files["ids"] = ndimage.label(labels)[0].astype("uint16")
    for name, array in files.items():
        save_volume(folder / f"{name}.tif", array, voxel_size=(8, 4, 4))
    tifffile.imwrite(folder / "short.tif", image[1:], photometric="minisblack")
    (folder / "run").mkdir()
    (folder / "run" / "history.csv").write_text(
        HEADER + "25,9,1.2,.3,1e-3,1,\n50,18,.9,.5,0,1,.6\n"
    )
    arguments = [folder / a if "--" not in a else a for a in ALL.split()]
    assert volseg("report", folder / "volume.tif", *arguments, "-o", folder / "page.html") == 0
    return folder


def data_of(html):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', html)[1]
    )


def decoded(picture):
    return Image.open(io.BytesIO(base64.b64decode(picture)))


def test_the_page_stands_alone(folder):
    html = (folder / "page.html").read_text()
    assert not re.search(r"https?://|<link|@import|url\(|<iframe|fetch\(", html)
    sources = re.findall(r"""(?:src|href)\s*=\s*["'](.{0,22})""", html)
    assert len(sources) == 4 and all(source.startswith("data:image/") for source in sources)
    assert "default-src 'none'" in html and "$" not in html
    assert html.count("<h2>") == 3 and "20 × 48 × 72 voxels, uint8" in html


def test_the_page_prints_the_scores_of_the_command(folder, capsys):
    assert volseg("evaluate", folder / "labels.tif", folder / "truth.tif") == 0
    numbers = re.findall(r"\d+\.\d", capsys.readouterr().out)
    html = (folder / "page.html").read_text()
    assert re.findall(r"<(?:td|strong)>(\d+\.\d)<", html) == numbers
    assert len(numbers) == 7 and numbers[-1] != "100.0"


@pytest.mark.parametrize(
    "name, across, down, cut", [("xy", 2, 1, 0), ("xz", 2, 0, 1), ("yz", 0, 1, 2)]
)
def test_pictures_are_the_slices_of_the_volume(folder, name, across, down, cut):
    data = data_of((folder / "page.html").read_text())
    plane = next(plane for plane in data["planes"] if plane["name"] == name)
    image, probability = (
        np.moveaxis(open_volume(folder / f"{file}.tif")[...], (cut, down, across), (0, 1, 2))
        for file in ("volume", "probability")
    )
    cuts = data["cuts"]["zyx"[cut]]
    assert len(cuts) == len(plane["grey"]) == min(64, SHAPE[cut])
    for k in (0, len(cuts) // 3, len(cuts) - 1):
        grey = np.asarray(decoded(plane["grey"][k]), "float32")
        expected = image[cuts[k]].astype("float32")
        assert grey.shape == expected.shape
        assert np.corrcoef(grey.ravel(), expected.ravel())[0, 1] > 0.97
        alpha = np.asarray(decoded(plane["probability"][k]).convert("RGBA"))[..., 3]
        assert np.abs(alpha / 180 - probability[cuts[k]]).max() < 0.08


@pytest.mark.parametrize("shape", [(150, 20, 900), (1, 800, 30), (1700, 9, 8)])
def test_big_volumes_are_thinned_and_read_lazily(tmp_path, shape):
    labels = np.zeros(shape, "uint8")
    labels[shape[0] // 2 :, 5, 3:] = 1
    image = Planes(np.broadcast_to(np.arange(shape[2], dtype="uint16") * 9, shape))
    data = data_of(write_page(tmp_path / "new" / "page.html", image, labels).read_text())
    assert [plane["name"] for plane in data["planes"]] == (
        ["xy"] if shape[0] == 1 else [plane.name for plane in PLANES]
    )
    for plane in data["planes"]:
        assert max(plane["pixels"]) <= 768 and len(plane["grey"]) == len(plane["labels"]) <= 64
        assert decoded(plane["grey"][0]).size == tuple(plane["pixels"][::-1])
        assert any(plane["labels"])
    ramp = np.asarray(decoded(data["planes"][0]["grey"][0]), "float32")[-1]
    assert np.abs(ramp - np.linspace(0, 255, ramp.size)).max() < 12
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_slabs_without_a_slice_along_z(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "SLAB", 2**16)
    image = np.broadcast_to(np.arange(200, dtype="uint8")[:, None, None], (200, 16, 800))
    data = data_of(write_page(tmp_path / "page.html", image).read_text())
    xy = data["planes"][0]
    grey = [int(np.asarray(decoded(plane))[0, 0]) for plane in xy["grey"]]
    assert len(grey) == 64 and grey == sorted(grey)


def filled(path, shape):
    """Pixels whose centre lies inside an SVG path of half pixels."""
    centres = 2 * np.stack(np.indices(shape)[::-1], -1).reshape(-1, 2) + 1
    inside = np.zeros(len(centres), bool)
    for part in path.split("M")[1:]:
        start, steps = part.rstrip("z").split("l")
        steps = np.fromstring(steps, int, sep=" ").reshape(-1, 2)
        points = np.cumsum([np.fromstring(start, int, sep=" "), *steps], axis=0)
        inside ^= Polygon([*points, points[0]], closed=True).contains_points(centres)
    return inside.reshape(shape)


@given(
    arrays("uint8", st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1))
)
@settings(max_examples=80, deadline=None)
def test_outlines_enclose_the_labels(mask):
    mask = ndimage.zoom(mask, 4, order=0)
    np.testing.assert_array_equal(filled(outline(mask), mask.shape), mask > 0)


def test_ids_that_floats_take_for_one_are_outlined_apart():
    plane = np.full((4, 8), 2**60, np.uint64)
    plane[:, 4:] += np.uint64(1)
    assert outline(plane).count("M") == 2


def test_labels_that_touch_are_outlined_apart():
    labels = np.repeat([[0, 4, 70_000, 0]], 5, axis=0)
    assert outline(labels).count("M") == 2
    assert outline(labels > 0).count("M") == 1
    assert outline(labels * 0) == "" == outline(-labels)


@pytest.mark.parametrize(
    "arguments, told",
    [
        (
            "report volume.tif --labels short.tif -o a.html",
            "`labels`. Expected the shape (20, 48, 72)",
        ),
        (f"report short.tif {ALL} -o a.html", "(19, 48, 72)"),
        (ALL.replace("truth.tif", "short.tif"), "`truth`"),
        (ALL.replace("ids.tif", "short.tif"), "`instances`"),
        (ALL.replace("ids.tif", "probability.tif"), "`instances`. Expected integers"),
        (ALL.replace("--run run", "--run nothing"), "history.csv"),
        ("report volume.tif --labels missing.tif -o a.html", "missing.tif"),
        ("report volume.tif --labels labels.tif -o a.pdf", "`output`"),
        ("report volume.tif --labels labels.tif -o run/history.csv/a.html", "writable folder"),
        ("report volume.tif --labels labels.tif --truth probability.tif -o a.html", "`truth`"),
        ("report volume.tif --labels probability.tif -o a.html", "`labels`. Expected integers"),
        ("view volume.tif --labels short.tif", "`labels`"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, told, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    if arguments.startswith("--"):
        arguments = f"report volume.tif {arguments} -o a.html"
    assert volseg(*arguments.split()) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "Invalid" in line]
    assert len(errors) == 1 and errors[0].startswith("volseg: Invalid value for `")
    assert told in errors[0] and not Path("a.html").exists()


@pytest.mark.parametrize(
    "name, shape, value, expected",
    [
        ("truth", (4, 5, 7), 0, r"the shape \(4, 5, 6\) of `image`"),
        ("probability", (4, 5), 0.5, r"the shape \(4, 5, 6\) of `image`"),
        ("labels", (4, 5, 6), 0.5, "integers"),
        ("instances", (4, 5, 6), 1j, "integers"),
    ],
)
def test_layers_have_one_shape_and_labels_are_integers(name, shape, value, expected):
    other = {name: as_volume(np.full(shape, value))}
    with pytest.raises(ValueError, match=f"`{name}`. Expected {expected}"):
        Layers(as_volume(np.zeros((4, 5, 6))), **other)


def test_layers_hold_floats_without_fractions_as_integers():
    ones = np.ones((4, 5, 6), "float32")
    layers = Layers(as_volume(ones), instances=as_volume(ones, name="folder/a.h5::/b/ids"))
    assert layers.image.dtype == "float32" and layers.instances.dtype == "uint8"
    assert list(layers.by_name()) == ["image", "instances"]
    assert display_name(layers.instances) == "a.h5::/b/ids"


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_probabilities_lie_between_0_and_1(tmp_path, value):
    image = np.zeros((4, 5, 6), "float32")
    with pytest.raises(ValueError, match="`probability`"):
        write_page(tmp_path / "a.html", image, probability=image + np.float32(value))
    assert not list(tmp_path.iterdir())


def test_sizes_of_instances(tmp_path):
    ids = np.random.default_rng(0).integers(0, 9, (37, 5, 6)) * 1000
    sizes = instance_sizes(Planes(ids))
    assert sorted(sizes) == sorted(np.unique(ids, return_counts=True)[1][1:])
    for values, size in ((sizes, None), (sizes[:1], (5, 5, 5)), (sizes[:0], None)):
        png = size_histogram(values, tmp_path / "sizes.png", size)
        assert len(np.unique(np.asarray(Image.open(png)))) > 10


def test_view_opens_the_page_without_napari(folder, monkeypatch, capsys):
    opened = []
    monkeypatch.setitem(sys.modules, "napari", None)
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    assert volseg("view", folder / "volume.tif", "--labels", folder / "labels.tif") == 0
    path = Path(capsys.readouterr().out.split("Opened ")[1].strip())
    assert opened == [path.as_uri()]
    assert data_of(path.read_text())["layers"] == ["grey", "labels"]
    path.unlink(), path.parent.rmdir()


def test_predict_opens_it_too(folder, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setitem(sys.modules, "napari", None)
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    output = ("-o", tmp_path / "labels.tif", "--probability", "--view")
    assert volseg("predict", folder / "volume.tif", "--model", "D", *output) == 0
    path = Path(opened[0].removeprefix("file://"))
    assert data_of(path.read_text())["layers"] == ["probability", "grey", "labels"]
    path.unlink(), path.parent.rmdir()


def test_options_of_the_volume_do_not_change_how_results_are_read(tmp_path, monkeypatch):
    """A cube, whose labels could be read by its axes too, and a file that exists already."""
    shown = []
    monkeypatch.setattr(viewer, "show", shown.append)
    monkeypatch.setattr(viewer, "has_napari", lambda: False)
    grey = phantom((24, 24, 24))[0]
    np.save(tmp_path / "cube.npy", grey.T)
    output = ("-o", tmp_path / "labels.zarr", "--view", "--model", "D")
    assert volseg("predict", tmp_path / "cube.npy", "--axes", "xyz", *output) == 0
    (layers,) = shown
    np.testing.assert_array_equal(layers.image, grey)
    np.testing.assert_array_equal(layers.labels, open_volume(tmp_path / "labels.zarr"))


def test_a_window_in_another_process_gets_all_options(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(viewer, "has_napari", lambda: True)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: given.append(command))
    options = VolumeOptions(axes="zyx", time=1, level=0, voxel_size="8,4,4.5")
    viewer.show_written(tmp_path / "a.tif", {"labels": tmp_path / "b.tif"}, asdict(options))
    (python, _, program, arguments) = given[0]
    assert python == sys.executable
    shown = {**asdict(options), "voxel_size": [8, 4, 4.5]}
    files = {"volume": str(tmp_path / "a.tif"), "written": {"labels": str(tmp_path / "b.tif")}}
    assert json.loads(arguments) == {**files, "options": shown}
    monkeypatch.setattr(sys, "argv", ["-c", arguments])
    monkeypatch.setattr(viewer, "show_files", lambda **files: given.append(files))
    exec(program)
    assert given[1] == json.loads(arguments)


def test_without_napari_nothing_of_qt_is_imported(folder, tmp_path):
    code = """if True:
        import sys, webbrowser
        from volseg_keras.napari_plugin.viewer import show
        from volseg_keras.segmentation_page import Layers
        from volseg_keras.volumes.volume import open_volume
        sys.modules["napari"], webbrowser.open = None, bool
        show(Layers(open_volume(sys.argv[1])))
        assert not [name for name in sys.modules if "qt" in name.lower()]
    """
    environment = {**os.environ, "DISPLAY": ":0", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code, folder / "volume.tif"]
    subprocess.run(command, check=True, env=environment)
    assert len(list(tmp_path.glob("volseg_*/view.html"))) == 1


@pytest.fixture(scope="module")
def browser():
    with Chromium() as browser:
        yield browser


CENTRE = "(b => [b.left + b.width / 2, b.top + b.height / 2])({}.getBoundingClientRect())"
SHOWN = "[...document.querySelectorAll('img.grey')].map(i => i.src)"
VALUES = "[...document.querySelectorAll('input[type=range]')].map(i => +i.value)"


def test_input_moves_the_slices(folder, browser):
    browser.open(folder / "page.html")
    data = data_of((folder / "page.html").read_text())

    def pictures():
        return [
            f"data:image/jpeg;base64,{plane['grey'][k]}"
            for plane, k in zip(data["planes"], browser.run(VALUES), strict=True)
        ]

    before, values = browser.run(SHOWN), browser.run(VALUES)
    assert before == pictures()
    left = browser.run("(b => [b.left + 3, b.top + b.height / 2])(z.getBoundingClientRect())")
    browser.click(*left)
    assert browser.run(VALUES) == [0, *values[1:]]
    assert browser.run(SHOWN) == pictures() and browser.run(SHOWN)[0] != before[0]
    browser.press("ArrowRight", 39)
    assert browser.run(VALUES)[0] == 1
    browser.run("document.activeElement.blur()")
    browser.press("ArrowRight", 39)
    assert browser.run(VALUES)[0] == 2 and browser.run(SHOWN) == pictures()
    browser.click(*browser.run(CENTRE.format("document.querySelector('.stage')")))
    middle = [
        abs(k - len(data["cuts"][axis]) / 2)
        for axis, k in zip("zyx", browser.run(VALUES), strict=True)
    ]
    assert browser.run(VALUES)[0] == 2 and max(middle[1:]) <= 1
    assert browser.run(
        "z.getAttribute('aria-valuetext') + document.querySelector('output').value"
    ).startswith("z = 2z = 2")


def test_layers_are_toggled(folder, browser):
    browser.open(folder / "page.html")
    shows = "document.querySelector('.stage .{}')"
    assert browser.run(shows.format("labels") + ".getAttribute('d').length") > 20
    assert browser.run(shows.format("probability") + ".hidden") is True
    for name in ("labels", "probability"):
        box = CENTRE.format(f"document.querySelector('[data-layer={name}] input')")
        browser.click(*browser.run(box))
    assert browser.run(shows.format("labels") + ".getAttribute('d')") == ""
    assert browser.run(shows.format("probability") + ".decode().then(() => 1)") == 1
    assert browser.run(shows.format("probability") + ".naturalWidth") == SHAPE[2]


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window_and_nothing_is_loaded(folder, browser, width):
    browser.open(folder / "page.html", width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    loaded = browser.run("performance.getEntriesByType('resource').map(e => e.name)")
    assert all(name.startswith("data:") for name in loaded)
    assert browser.run("[...document.images].every(i => i.alt || i.hidden)")
