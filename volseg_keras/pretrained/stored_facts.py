"""Facts stored with a model besides its weights, read and checked once."""

import json
import zipfile
from dataclasses import dataclass, field, fields, replace

import numpy as np

from ..errors import require
from ..files import read_json
from ..networks.variants import find_variant
from .prediction_defaults import PredictionDefaults
from .presets import KERAS, METADATA, METRICS, model_file, savedmodel_folder

# Entries of metrics.json that exports state too.
MEASURED = (
    "threshold",
    *(each.name for each in fields(PredictionDefaults)),
    "voxel_size",
    "voxel_size_range",
)


@dataclass(frozen=True)
class StoredFacts:
    """Facts stored with a model besides its weights.

    Attributes:
        threshold: minimum foreground probability, chosen in training; 0.5 if none is stored.
        defaults: `PredictionDefaults`.
        voxel_size_range: the smallest and the largest sides `(z, y, x)` in nm of the voxels of the
            volumes that it was trained on, or the voxel size twice; None if unknown.
        spatial_dims: number of spatial axes, None if unknown.
        card: JSON entries that are copied into exports, all optional: those of `MEASURED`, name,
            description, tags, classes, license, authors, cite, `training_data` and the text of
            `validation`, as in the model descriptions of bioimage.io.
    """

    threshold: float = 0.5
    defaults: PredictionDefaults = PredictionDefaults()
    voxel_size_range: tuple | None = None
    spatial_dims: int | None = None
    card: dict = field(default_factory=dict)

    @classmethod
    def of(cls, model):
        """Read the facts of a model.

        They are in metrics.json beside the model.keras of a run or a published model, where voxel
        sizes may be in card.json instead, and of exports in assets.extra/volseg.json of a
        SavedModel or within the .keras file.

        Args:
            model: its name, run or file.

        Raises:
            ValueError: there is no such model, or the facts stored with it are not valid.
        """
        file, entries = _located_entries(model)
        if file is None or file.name != KERAS:
            return cls.from_json(entries, model)
        card = _card(file.with_name("card.json"), entries)
        sizes = {name: value for name, value in card.items() if name.startswith("voxel_size")}
        return replace(cls.from_json(sizes | entries, model), card=card)

    @classmethod
    def from_json(cls, entries, name="it"):
        """Return the facts in the entries of metrics.json or of the description of an export.

        Args:
            entries: a dict, kept as `card`.
            name: of the model, for messages.

        Raises:
            ValueError: an entry is not valid.
        """
        threshold = entries.get("threshold", cls.threshold)
        good = isinstance(threshold, float) and 0 < threshold < 1
        expected = f"a number between 0 and 1 to be stored with {name}"
        require(good, "threshold", expected, f"threshold={threshold}")
        network = find_variant(entries.get("variant", ""))
        return cls(
            threshold=threshold,
            defaults=PredictionDefaults.from_json(entries, name),
            voxel_size_range=_voxel_size_range(entries, name),
            spatial_dims=entries.get("spatial_dims", network and network.spatial_dims),
            card=entries,
        )

    def nearest_voxel_size(self, near):
        """Return the voxel size nearest to another, among those that the model was trained at.

        Args:
            near: sides `(z, y, x)` in nm, or None.

        Returns:
            `(z, y, x)` in nm: `near`, clipped to the range of sizes trained at. None if one of the
            two is unknown.
        """
        if not (near and self.voxel_size_range):
            return None
        return tuple(np.clip(near, *self.voxel_size_range).tolist())


def mean_threshold(models):
    """Return the mean of the thresholds that are stored with models."""
    values = [StoredFacts.of(model).threshold for model in models]
    return sum(values) / len(values)


def _located_entries(model):
    """Return the .keras file of a model, None for a SavedModel, and the entries stored with it."""
    if folder := savedmodel_folder(model):
        return None, read_json(folder / METADATA)
    file = model_file(model)
    beside = read_json(file.with_name(METRICS)) if file.name == KERAS else {}
    return file, _entries_within(file) or beside


def _entries_within(file):
    """Return the entries in the comment of a .keras file, a zip archive; empty without one."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = json.loads(archive.comment)
    except (zipfile.BadZipFile, ValueError):  # damage is reported when the model is loaded
        return {}
    return found if isinstance(found, dict) else {}


def _card(file, entries):
    """Return the entries of card.json and the measured ones of metrics.json."""
    measured = {name: entries[name] for name in MEASURED if name in entries}
    score = entries.get("held_out_jaccard")
    text = "Mean Jaccard index of the foreground on the parts that were held out"
    validation = {} if score is None else {"validation": f"{text}: {score:.3f}."}
    return validation | read_json(file) | measured


def _voxel_size_range(entries, name):
    size = entries.get("voxel_size")
    found = entries.get("voxel_size_range") or size and (size, size)
    if not found or np.shape(size) == (2,):  # of pixels alone, in the card of a 2D model
        return None
    try:
        good = np.shape(found) == (2, 3) and np.greater(found, 0).all()
    except (TypeError, ValueError):
        good = False
    expected = f"sides (z, y, x) in nm to be stored with {name}"
    require(good, "voxel_size", expected, f"voxel_size={found}")
    return tuple(map(tuple, found))
