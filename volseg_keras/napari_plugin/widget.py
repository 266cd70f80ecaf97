"""The dock widget: image, segment, train, next. Every step calls one function of the library."""

from functools import partial
from threading import Event

import napari
import numpy as np
from napari.layers import Image, Labels
from qtpy import QtCore
from qtpy import QtWidgets as qt
from superqt import QLabeledDoubleSlider

from ..errors import require
from ..inference.prediction import Prediction
from ..pretrained.choice import AUTO, choose_model
from ..pretrained.presets import published
from ..training.run_folders import next_run, train_or_resume
from ..training.suggest import draft_section, suggest
from ..volumes.paths import containing_file
from .layers import (
    add_volumes,
    alignment_options,
    mark_result,
    result_name,
    spatial_options,
    volume_of,
)
from .work import EXPECTED, Work, show_failure

GLOW = {"colormap": "magenta", "blending": "additive", "opacity": 0.5, "contrast_limits": (0, 1)}
CHOICES = {
    "image": "a layer",
    "labels": "a layer with painted sections: press New and paint some first",
}


def show(volumes, title):
    """Show open volumes, a dict by name, beside the widget until the window is closed."""
    viewer = napari.Viewer(title=title)
    add_volumes(viewer, volumes)
    viewer.window.add_dock_widget(SegmentAndTrain(viewer), name="Segment and train", area="right")
    napari.run()


class SegmentAndTrain(qt.QWidget):
    """Segment a layer, train on a few annotated sections, go to the section to annotate next."""

    def __init__(self, napari_viewer):
        super().__init__()
        self.viewer, self.work = napari_viewer, Work(self)
        self.prediction, self.segmented, self.suggestions, self.buttons = None, None, [], []
        self.image, self.labels, self.model, self.start = (qt.QComboBox() for _ in range(4))
        self.sides = [qt.QDoubleSpinBox(maximum=1e6, specialValueText="?") for _ in "zyx"]
        self.minutes = qt.QDoubleSpinBox(maximum=600, decimals=1, value=10)
        self.threshold, self.run = QLabeledDoubleSlider(QtCore.Qt.Horizontal), qt.QLineEdit()
        self.choice, self.state = qt.QLabel(wordWrap=True), qt.QLabel(wordWrap=True)
        self.stop = qt.QPushButton("Stop")
        self.bar = qt.QProgressBar(maximum=1000)  # an indeterminate one keeps a core busy
        self._lay_out()
        self._fill_in_and_connect()
        self.reset_choices()
        self._show_busy(False)

    def _lay_out(self):
        steps = {
            "1  Image": (("Layer", self.image), ("Voxel (nm)", *self.sides), (self.choice,)),
            "2  Segment": (
                ("Model", self.model, self._button("Segment", self.segment)),
                ("Threshold", self.threshold),
                (self._button("Split touching objects", self.split),),
            ),
            "3  Train": (
                ("Labels", self.labels, self._button("New", self.new_labels)),
                ("Start from", self.start),
                ("Run", self.run),
                ("Minutes", self.minutes, self._button("Train", self.train)),
            ),
            "4  Next": ((self._button("Go to the next section", self.next),),),
        }
        layout = qt.QVBoxLayout(self)
        for title, rows in steps.items():
            layout.addWidget(box := qt.QGroupBox(title))
            form = qt.QFormLayout(box)
            for first, *others in rows:
                form.addRow(first, *([beside(others)] if others else []))
        layout.addLayout(beside([self.bar, self.stop]))
        layout.addWidget(self.state)

    def _button(self, text, action):
        self.buttons.append(button := qt.QPushButton(text))
        button.clicked.connect(partial(self._act, action))
        return button

    def _act(self, action, *_):
        try:
            action()
        except EXPECTED as error:
            show_failure(error)

    def _fill_in_and_connect(self):
        names = sorted(file.parent.name for file in published().values())
        self.model.addItems([AUTO, *names])
        self.start.addItems([AUTO, "scratch", *names])
        for combo in (self.image, self.labels, self.model, self.start):
            combo.setEditable(combo in (self.model, self.start))  # for the path of a run
            combo.setSizeAdjustPolicy(combo.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        for side in self.sides:
            side.editingFinished.connect(partial(self._act, self._set_size))
        self.threshold.setRange(0.01, 0.99)
        self.threshold.setValue(0.5)
        self.image.currentTextChanged.connect(self._show_image)
        self.threshold.valueChanged.connect(self._show_labels)
        self.stop.clicked.connect(self.work.stop)
        self.work.signals.progress.connect(self._show_progress)
        self.work.signals.busy.connect(self._show_busy)

    def reset_choices(self, event=None):
        """List the layers except results; napari calls this when layers change."""
        before = self.image.currentData()
        own = [layer for layer in self.viewer.layers if not result_name(layer)]
        for combo, kind in ((self.image, Image), (self.labels, Labels)):
            list_layers(combo, [layer for layer in own if type(layer) is kind])
        if before is None or self.image.currentData() is not before:
            self._show_image()

    def _layer(self, what):
        """Return the layer chosen as "image" or "labels"."""
        layer = getattr(self, what).currentData()
        require(layer in self.viewer.layers, what, CHOICES[what], "none")
        return layer

    def _volume(self):
        return volume_of(self._layer("image"))

    def _show_image(self, *_):
        """Show the voxel size of the image, the model that suits it and the next run."""
        self.suggestions = []
        try:
            volume = self._volume()
            for side, value in zip(self.sides, volume.voxel_size or (0, 0, 0), strict=True):
                side.setValue(value)
            self.choice.setText(choose_model(volume).reason)
            self.run.setText(str(next_run(f"{containing_file(volume.path).with_suffix('')}_runs")))
        except EXPECTED as error:
            self.choice.setText(
                str(error) if self.image.currentText() else "Open or choose a volume"
            )

    def _set_size(self):
        """Set the voxel size of the image and of the layers aligned with it."""
        size, shape = [side.value() for side in self.sides], self._layer("image").data.shape
        known = self._volume().voxel_size or (0, 0, 0)
        if all(size) and not np.allclose(size, known, atol=0.01):  # as fields round it
            for layer in self.viewer.layers:
                if type(layer) in (Image, Labels) and layer.ndim == 3 and layer.data.shape == shape:
                    options = spatial_options(size)
                    layer.scale, layer.units = options["scale"], options["units"]
            self._show_image()

    def segment(self):
        """Segment the image; the labels follow the threshold."""
        task = partial(Prediction.of, self._volume(), self.model.currentText())
        self.work.start("segmenting", task, partial(self._found, self._layer("image")))

    def _found(self, layer, prediction):
        self.segmented, self.prediction = layer, prediction
        self.state.setText(prediction.description)
        self._show(Image, "probability", prediction.probability, **GLOW)
        self.threshold.setValue(prediction.threshold)
        self._show_labels()

    def _show(self, kind, what, data, **looks):
        """Show a result for the segmented image in its own layer."""
        name = f"{self.segmented.name} {what}"
        for layer in self.viewer.layers:
            if result_name(layer) == name:
                layer.data = data
                return
        layer = kind(data, name=name, **looks, **alignment_options(self.segmented))
        mark_result(layer, name)
        self.viewer.add_layer(layer)

    def _show_labels(self, *_):
        if self.prediction:
            self._show(Labels, "segmented", self.prediction.labels(self.threshold.value()))

    def split(self):
        """Show ids of instances: objects that touch are split only at a narrow neck."""
        require(self.prediction, "image", "a segmented image: press Segment first", "none")
        task = partial(self.prediction.instances, self.threshold.value())
        self.work.start("splitting", task, partial(self._show, Labels, "segmented"))

    def new_labels(self):
        """Add a layer in which the image can be annotated."""
        image, data = self._layer("image"), np.zeros(self._volume().shape, np.uint8)
        layer = Labels(data, name=f"{image.name} annotation", **alignment_options(image))
        self.labels.setCurrentText(self.viewer.add_layer(layer).name)

    def train(self):
        """Train on the annotated sections, or continue an interrupted run."""
        run, stop = self.run.text().strip(), Event()
        require(run, "run", "a folder to write", "none")
        known = np.array(volume_of(self._layer("labels")))  # it may be painted on meanwhile
        options = run, self.start.currentText(), self.minutes.value(), stop
        task = partial(train_or_resume, self._volume(), known, *options)
        # The training shows its own progress.
        self.work.start("training", lambda on_progress: task(), self._trained, stop)

    def _trained(self, trained):
        run, summary = str(trained[0]), trained[1]
        self.model.addItem(run)
        self.start.addItem(run)
        self.model.setCurrentText(run)
        self._show_image()
        score = summary["held_out_jaccard"]
        quality = "" if score is None else f", Jaccard index of a held-out section {score:.3f}"
        steps = f"{summary['total_steps']} steps"
        self.state.setText(f"Trained {summary['variant'].upper()}: {steps}{quality}")

    def next(self):
        """Go to the section to annotate next, with the model's draft to correct."""
        if self.labels.currentData() is None:
            self.new_labels()
        if self.suggestions:
            return self._visit(self.suggestions)
        model, known = self.model.currentText(), np.array(volume_of(self._layer("labels")))
        task = partial(suggest, model, self._volume(), labels=known)
        self.work.start("looking at sections", task, self._visit)

    def _visit(self, suggestions):
        if not suggestions:
            return self.state.setText("No further section to suggest")
        section, *self.suggestions = suggestions
        layer = self._layer("labels")
        layer.data = draft_section(layer.data, section)
        if layer.ndim == 3:
            place = layer.data_to_world((section.z, 0, 0))
            self.viewer.dims.set_point(self.viewer.dims.ndim - 3, place[0])
        self.viewer.layers.selection.active = layer
        for other in self.viewer.layers:
            other.visible = other is layer or type(other) is not Labels
        self.state.setText(f"Section {section.z}: correct the draft, then train again")

    def _show_progress(self, what, share):
        self.bar.setValue(round(1000 * share))
        self.state.setText(what)

    def _show_busy(self, busy):
        for button in self.buttons:
            button.setEnabled(not busy)
        self.stop.setEnabled(busy)
        self.bar.setValue(0)


def list_layers(combo, layers):
    """List layers; the chosen one stays chosen, and no other is chosen if it is gone."""
    chosen, otherwise = combo.currentData(), -1 if combo.count() else 0
    with QtCore.QSignalBlocker(combo):
        combo.clear()
        for layer in layers:
            combo.addItem(layer.name, layer)
        combo.setCurrentIndex(layers.index(chosen) if chosen in layers else otherwise)


def beside(widgets):
    """Return a layout of widgets side by side."""
    layout = qt.QHBoxLayout()
    for widget in widgets:
        layout.addWidget(widget)
    return layout
