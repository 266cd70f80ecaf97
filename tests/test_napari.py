"""The plugin of napari: its files, and its widget on an off-screen Qt, as a user presses it."""

import csv
import os
import re
import subprocess
import sys
import time
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("napari", reason="napari is not installed")
qt = pytest.importorskip("qtpy.QtWidgets", reason="Qt does not start", exc_type=ImportError)

from command import quick_recipe  # noqa: E402
from napari.components import ViewerModel  # noqa: E402
from napari.layers import Layer  # noqa: E402
from napari.utils.notifications import notification_manager  # noqa: E402
from npe2 import PluginManager, PluginManifest  # noqa: E402
from one_pixel import publish_one_pixel_networks  # noqa: E402
from qtpy.QtCore import QEvent, QThreadPool  # noqa: E402

from volseg_keras import open_volume, phantom, save_volume  # noqa: E402
from volseg_keras.napari_plugin.layers import (  # noqa: E402
    add_volumes,
    alignment_options,
    get_reader,
    write_labels,
)
from volseg_keras.napari_plugin.widget import SegmentAndTrain  # noqa: E402
from volseg_keras.pretrained import choice, presets  # noqa: E402
from volseg_keras.volumes.formats.registry import FORMATS  # noqa: E402

TRUTH = phantom((16, 64, 64), seed=0)[1] == 1
NOISE = np.random.default_rng(0).normal(0, 8, TRUTH.shape)
IMAGE = (180 - 100.0 * TRUTH + NOISE).astype(np.uint8)
SIZE = (20.0, 5.0, 5.0)
PAINTED = [2, 6, 9, 13]
CHANGES = ("inserted", "removed", "reordered", "renamed")  # of layers, as napari reports them
MANIFEST = Path(presets.__file__).parents[1] / "napari_plugin" / "napari.yaml"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish_one_pixel_networks(tmp_path_factory.mktemp("published"))


@pytest.fixture
def window(published, tmp_path, monkeypatch):
    """A viewer of an image that is read lazily, and the widget."""
    monkeypatch.setattr(presets, "PUBLISHED", (published,))
    monkeypatch.setattr(choice, "BEST", {2: ("Dark",), 3: ("Deep",)})
    save_volume(tmp_path / "stack.tif", IMAGE, voxel_size=SIZE)
    notification_manager.records.clear()
    with quick_recipe(), quick_recipe("finetune"):
        window = Window(tmp_path / "stack.tif")
        yield window
        window.close()


class Window:
    """A viewer and the widget, and what a user does with them."""

    def __init__(self, path):
        self.app = qt.QApplication.instance() or qt.QApplication([])
        self.viewer = ViewerModel()
        self.widget = SegmentAndTrain(self.viewer)
        for change in CHANGES:
            self.viewer.layers.events[change].connect(self.widget.reset_choices)
        ((image, options, _),) = get_reader(str(path))(str(path))
        self.viewer.add_image(image, **options)

    def press(self, text):
        next(button for button in self.widget.buttons if button.text() == text).click()

    def until(self, done, seconds=120):
        end = time.monotonic() + seconds
        while not done():
            self.app.processEvents()
            assert time.monotonic() < end, self.widget.state.text()
            time.sleep(0.005)

    def work(self, text):
        """Press a button and wait until its work is done."""
        self.press(text)
        self.until(lambda: self.widget.work.worker is None)

    def paint(self):
        self.press("New")
        labels = self.viewer.layers[-1]
        labels.data[PAINTED] = TRUTH[PAINTED]
        return labels

    def close(self):
        """Delete the widget, as napari does with the window."""
        if self.widget:
            for change in CHANGES:
                self.viewer.layers.events[change].disconnect(self.widget.reset_choices)
            self.widget.deleteLater()
            self.widget = None
            self.app.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        assert QThreadPool.globalInstance().waitForDone(60_000)


def told():
    return [record.message for record in notification_manager.records]


def test_manifest():
    (reader,) = PluginManifest.from_file(MANIFEST).contributions.readers
    assert set(reader.filename_patterns) == {f"*{suffix}" for suffix in FORMATS}
    command = [sys.executable, "-m", "npe2", "validate", str(MANIFEST)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "valid" in done.stdout, done.stdout + done.stderr
    for row in PluginManifest.from_file(MANIFEST).contributions.commands:
        module, name = row.python_name.split(":")
        assert callable(getattr(import_module(module), name))


def test_the_widget_opens_without_keras():
    heavy = "{'keras', 'tensorflow'}"
    code = "import sys, volseg_keras.napari_plugin.widget; "
    code += f"assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_are_read_lazily_and_written_where_they_lie(tmp_path):
    path = tmp_path / "stack.tif"
    save_volume(path, IMAGE, voxel_size=SIZE)
    ((data, options, kind),) = get_reader(str(path))(str(path))
    assert kind == "image" and not isinstance(data, np.ndarray) and options["scale"] == SIZE
    assert get_reader([str(path)]) is None and get_reader(str(tmp_path / "a.txt")) is None
    viewer = ViewerModel()
    add_volumes(viewer, {"image": data})
    labels = viewer.add_labels(TRUTH.astype(np.int32), scale=SIZE, units=3 * ("nm",))
    out = str(tmp_path / "labels.tif")
    attributes = labels.as_layer_data_tuple()[1]
    assert write_labels(out, labels.data, attributes) == [out]
    saved = open_volume(out)
    assert saved.dtype == np.uint8 and saved.voxel_size == SIZE
    assert get_reader(out)(out)[0][2] == "labels"
    add_volumes(viewer, {"labels": saved})
    viewer.layers[-1].data_setitem((np.array([0]), np.array([1]), np.array([2])), 3)
    assert viewer.layers[-1].data[0, 1, 2] == 3  # as painting does
    painted = viewer.layers[-1].as_layer_data_tuple()
    write_labels(out, *painted[:2])  # over what was opened
    assert open_volume(out)[0, 1, 2] == 3
    with pytest.raises(ValueError, match="`output`"):
        write_labels(str(path), labels.data, attributes | {"metadata": {"volume": data}})


def test_layers_lie_on_their_image():
    viewer = ViewerModel()
    image = viewer.add_image(IMAGE, scale=(4, 1, 1), translate=(40, 5, 6))
    labels = viewer.add_labels(TRUTH.astype(np.uint8), **alignment_options(image))
    assert labels.scale.tolist() == [4, 1, 1] and labels.translate.tolist() == [40, 5, 6]
    section = viewer.add_image(IMAGE[0], name="section")
    assert alignment_options(section)["axis_labels"] == tuple("zyx")


def test_a_round(window, tmp_path):
    """Segment, choose a threshold, train on some sections, segment again, go to the next."""
    widget, viewer = window.widget, window.viewer
    assert "Dark, 2D: sections of 20 nm" in widget.choice.text()
    assert [side.value() for side in widget.sides] == list(SIZE)
    window.work("Segment")
    found = viewer.layers["stack segmented"]
    assert (found.data == TRUTH).mean() > 0.95 and found.scale.tolist() == list(SIZE)
    assert viewer.layers["stack probability"].data.dtype == np.float32
    widget.threshold.setValue(0.99)
    few = np.count_nonzero(found.data)
    widget.threshold.setValue(0.01)
    assert np.count_nonzero(found.data) > few
    widget.threshold.setValue(0.5)
    window.work("Split touching objects")
    assert found.data.dtype == np.uint32 and found.data.max() > 0
    labels = window.paint()
    widget.minutes.setValue(0.1)
    run = Path(widget.run.text())
    assert run == tmp_path / "stack_runs" / "run_1"
    window.work("Train")
    assert told() == [] and (run / "model.keras").is_file()
    assert widget.model.currentText() == str(run) and widget.run.text().endswith("run_2")
    assert "held-out section" in widget.state.text()
    window.work("Segment")
    assert (found.data == TRUTH).mean() > 0.95 and f"Model {run}" in widget.state.text()
    before = labels.data.copy()
    window.work("Go to the next section")
    z = viewer.dims.current_step[0]
    assert z not in PAINTED and f"Section {z}:" in widget.state.text()
    assert np.flatnonzero((labels.data != before).any(axis=(1, 2))).tolist() == [z]
    assert viewer.layers.selection.active is labels and labels.visible and not found.visible
    labels.data[z] = 0
    labels.data[z, :3, :3] = 1  # what a user has painted stays as it is
    window.work("Go to the next section")
    assert labels.data[z].sum() == 9 and viewer.dims.current_step[0] != z


def offered(combo):
    return [combo.itemText(i) for i in range(combo.count())]


def section_of(widget):
    return int(re.match(r"Section (\d+):", widget.state.text())[1])


def test_results_are_not_offered_as_annotation(window):
    widget, viewer = window.widget, window.viewer
    mine = viewer.add_image(IMAGE, name="stack probability")  # a name that a result would take
    window.work("Segment")
    found = viewer.layers["stack segmented"]
    window.work("Split touching objects")
    assert offered(widget.labels) == [] and offered(widget.image) == ["stack", mine.name]
    assert mine.data is IMAGE and found.data.dtype == np.uint32
    window.press("Train")
    assert "`labels`" in told()[-1] and "paint some first" in told()[-1]
    ids = found.data.copy()
    window.work("Go to the next section")
    z, labels = section_of(widget), viewer.layers["stack annotation"]
    assert np.flatnonzero(labels.data.any(axis=(1, 2))).tolist() == [z]
    assert (found.data == ids).all() and len(told()) == 1
    drafted, count = labels.data.copy(), len(viewer.layers)
    found.name = "renamed"
    widget.threshold.setValue(0.9)
    assert len(viewer.layers) == count and found.data.dtype == np.uint8
    assert (labels.data == drafted).all()
    viewer.add_layer(Layer.create(*found.as_layer_data_tuple()))  # as napari duplicates it
    assert offered(widget.labels) == ["stack annotation", "renamed [1]"]


def test_the_choice_of_layers_follows_them(window):
    widget, viewer = window.widget, window.viewer
    labels = window.paint()
    viewer.add_labels(np.zeros(IMAGE.shape, np.uint8), name="other")
    viewer.add_image(IMAGE, name="second")
    viewer.layers.move(viewer.layers.index("other"), 0)
    labels.name, viewer.layers["stack"].name = "mine", "tissue"
    assert offered(widget.labels) == ["other", "mine"]
    assert widget.labels.currentText() == "mine" and widget.image.currentText() == "tissue"
    window.work("Go to the next section")
    drafted = section_of(widget)
    viewer.layers.remove(labels)
    viewer.add_points(np.zeros((1, 3)))
    assert widget.labels.currentIndex() == -1 and offered(widget.labels) == ["other"]
    window.press("Train")
    assert "paint some first" in told()[-1] and len(told()) == 1
    window.work("Go to the next section")
    made, z = viewer.layers["tissue annotation"], section_of(widget)
    assert widget.labels.currentText() == made.name and not viewer.layers["other"].data.any()
    assert np.flatnonzero(made.data.any(axis=(1, 2))).tolist() == [z] and z != drafted
    viewer.layers.remove("tissue")
    assert widget.image.currentIndex() == -1 and widget.choice.text() == "Open or choose a volume"


def step_of(widget):
    words = widget.state.text().split()
    return int(words[1]) if words[:1] == ["step"] else 0


def test_stop_keeps_the_best(window):
    widget = window.widget
    window.paint()
    run = Path(widget.run.text())
    window.press("Train")
    assert not widget.buttons[0].isEnabled() and widget.stop.isEnabled()
    window.until(lambda: step_of(widget) > 5)
    assert widget.bar.value() > 0 and "left" in widget.state.text()
    widget.stop.click()
    window.until(lambda: widget.work.worker is None)
    assert (run / "model.keras").is_file() and (run / "metrics.json").is_file()
    assert widget.model.currentText() == str(run) and told() == []
    window.work("Segment")
    assert "stack segmented" in window.viewer.layers


@pytest.mark.parametrize("steps", [0, 30])
def test_a_window_closed_while_training_loses_nothing(window, steps):
    widget, path = window.widget, window.viewer.layers[0].metadata["volume"].path
    window.paint()
    run = Path(widget.run.text())
    window.press("Train")
    window.until(lambda: step_of(widget) >= steps)
    window.close()
    assert not (run / "metrics.json").exists() and told() == []
    rows = history(run / "parts" / "1") if steps else []
    window.__init__(path)  # the program starts again
    window.paint()
    assert window.widget.run.text() == str(run)
    window.press("Train")
    window.until(lambda: step_of(window.widget) > 0)
    window.widget.stop.click()
    window.until(lambda: window.widget.work.worker is None)
    assert (run / "metrics.json").is_file() and told() == []
    assert history(run / "parts" / "1")[: len(rows)] == rows


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def test_errors_are_one_line(window):
    window.press("Train")
    window.press("Split touching objects")
    window.paint()
    window.viewer.layers[-1].data[:] = 0
    window.work("Train")
    window.widget.model.setCurrentText("missing")
    window.work("Segment")
    lines = told()
    assert len(lines) == 4 and all(line.count("\n") == 0 for line in lines)
    assert "`labels`" in lines[0] and "`image`" in lines[1] and "`model`" in lines[3]
    window.widget.run.setText(" ")
    window.press("Train")
    assert "`run`" in told()[-1]
    window.viewer.add_image(np.zeros((4, 8, 8, 3), np.uint8), rgb=True, name="colours")
    window.widget.image.setCurrentText("colours")
    window.press("Segment")
    assert "Split RGB" in told()[-1]


def test_a_stack_of_which_all_is_annotated(window):
    window.paint().data[:] = 1 + TRUTH
    window.work("Go to the next section")
    assert window.widget.state.text() == "No further section to suggest" and not told()


def test_a_voxel_size_that_a_user_knows(window):
    widget, viewer = window.widget, window.viewer
    viewer.add_image(IMAGE, name="silent")
    viewer.add_points(np.zeros((2, 3)))
    viewer.add_shapes(np.zeros((1, 4, 3)))
    viewer.add_surface((np.eye(3), np.array([[0, 1, 2]])))
    widget.image.setCurrentText("silent")
    assert [side.value() for side in widget.sides] == [0, 0, 0]
    for side in widget.sides:
        side.setValue(6)
        side.editingFinished.emit()
    layer = viewer.layers["silent"]
    assert layer.scale.tolist() == [6, 6, 6] and str(layer.units[0]) == "nanometer"
    layer.scale = (6.001, 6, 6)  # which a field shows as 6.00
    widget.sides[0].editingFinished.emit()
    assert layer.scale[0] == 6.001


def test_napari_finds_the_plugin(tmp_path):
    config = ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg")
    manifest = PluginManifest.from_file(MANIFEST)
    assert manifest.name == config["metadata"]["name"] == "volseg-keras"
    plugins = PluginManager.instance()
    plugins.discover()
    if manifest.name not in plugins:  # a checkout that is not installed
        plugins.register(manifest)
    path, viewer = str(tmp_path / "stack.tif"), ViewerModel()
    save_volume(path, IMAGE, voxel_size=SIZE)
    (layer,) = viewer.open(path, plugin=manifest.name)
    assert layer.source.path == path and layer.scale.tolist() == list(SIZE)
    image, labels = viewer.open_sample(manifest.name, "phantom")
    assert image.data.shape == labels.data.shape and labels.scale.tolist() == [5, 5, 5]
    assert labels.data.any(axis=(1, 2)).sum() == 4
    out = str(tmp_path / "annotation.tif")
    assert labels.save(out, plugin=manifest.name) == [out]
    assert open_volume(out).voxel_size == (5, 5, 5)
