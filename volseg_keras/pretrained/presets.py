"""Published and trained models: find them and load them."""

import json
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np

from ..errors import invalid, require
from ..files import read_json, sha256
from ..networks.backend import check_backend
from ..networks.registration import import_registered
from ..networks.variants import find_variant
from .checksums import check_files
from .prediction_defaults import PredictionDefaults

KERAS, METRICS = "model.keras", "metrics.json"  # of a run and of a published model
METADATA = Path("assets.extra", "volseg.json")  # of a SavedModel
# Models of earlier versions, and what took their place.
RENAMED = {"h-robust": "mito-3d"}
# Facts of a model that training chose.
MEASURED = (
    "threshold",
    *(field.name for field in fields(PredictionDefaults)),
    "voxel_size",
    "voxel_size_range",
)
PUBLISHED = (
    Path(__file__).parents[1] / "saved_models",
    Path(__file__).parents[2] / "saved_models",
)


def load_pretrained(name):
    """Load a published or trained Keras model.

    Args:
        name: such as "H", in any case; or the folder of a run, or a .keras file.

    Returns:
        A `keras.Model` of raw grey levels. `fit` trains it further; for `model.fit`, sample patches
        with `PatchSampler(..., normalization=(0, 1), augment=Augment(contrast=0, brightness=0))`,
        since the model itself standardises grey levels.

    Raises:
        ValueError: there is no such model, or its file is damaged or would run code of its own.

    Example:
        >>> model = volseg_keras.load_pretrained("mito-3d")  # takes raw intensities
    """
    check_backend()
    import keras

    import_registered()
    path = model_file(name)
    with readable(path):
        return keras.saving.load_model(path, compile=False, safe_mode=True)


@contextmanager
def readable(path):
    """Turn what goes wrong while a model is loaded into a ValueError of one line."""
    try:
        yield
    except Exception as error:  # a damaged file fails anywhere in its library
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        expected = "a complete model that runs no code of its own"
        raise invalid("model", expected, f"{path} ({reason})") from error


def is_model(path):
    """Return whether a path is a .keras file, the folder of a run or a SavedModel."""
    path = Path(path)
    files = (path / KERAS, path / "saved_model.pb")
    return path.suffix == ".keras" and path.is_file() or any(file.is_file() for file in files)


def model_file(name):
    """Return the .keras file of a published or trained model.

    Raises:
        ValueError: there is none, or it differs from the SHA256SUMS beside it.
    """
    path = Path(name)
    if (path / KERAS).is_file():
        path = path / KERAS
    if not (path.is_file() and path.suffix == ".keras"):
        path = published().get(current_name(str(name).lower()))
    if path is None:
        raise _no_model(name)
    check_files(path.parent, [path.name])
    return path


def current_name(name):
    """Return the name, in lower case, of a published model, or of the one that took its place."""
    if name not in RENAMED or name in published():
        return name
    warnings.warn(f"model {name} is replaced by {RENAMED[name]}", stacklevel=2)
    return RENAMED[name]


def _no_model(name):
    """Return the error of a name that no Keras model has."""
    if (Path(name) / "saved_model.pb").is_file():
        source = "the run or .keras file that a SavedModel was exported from"
        return invalid("model", f"{source}, since that only predicts", name)
    known = ", ".join(sorted(file.parent.name for file in published().values())) or "none yet"
    expected = f"a folder of a run, a .keras file, a SavedModel or a published model ({known})"
    return invalid("model", expected, name)


def weights_digest(model):
    """Return the hash of a model's weights."""
    weights = Path(model) / "variables" / "variables.data-00000-of-00001"
    return sha256(weights if is_of_savedmodel(weights, model) else model_file(model))


def is_of_savedmodel(file, folder):
    """Return whether a file is there and of a SavedModel that has no .keras file beside it."""
    return file.is_file() and not (Path(folder) / KERAS).is_file()


def stored_facts(model):
    """Return the facts that are stored with a model, a dict.

    They are in metrics.json beside the model.keras of a run or a published model, and of exports in
    assets.extra/volseg.json of a SavedModel or within the .keras file.

    Raises:
        ValueError: there is no such model.
    """
    return _located_facts(model)[1]


def _located_facts(model):
    """Return the .keras file of a model, None for a SavedModel, and its `stored_facts`."""
    saved = Path(model) / METADATA
    if is_of_savedmodel(saved, model):
        return None, read_json(saved)
    file = model_file(model)
    beside = read_json(file.with_name(METRICS)) if file.name == KERAS else {}
    return file, facts_within(file) or beside


def facts_within(file):
    """Return the facts in the comment of a .keras file, a zip archive; empty without one."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = json.loads(archive.comment)
    except (zipfile.BadZipFile, ValueError):  # damage is told where the model is loaded
        return {}
    return found if isinstance(found, dict) else {}


def stored_defaults(model):
    """Return the `PredictionDefaults` of a model.

    Raises:
        ValueError: there is no such model, or what is stored with it makes no sense.
    """
    return PredictionDefaults.of(stored_facts(model), model)


def stored_threshold(model):
    """Return the least foreground probability that is stored with a model, 0.5 where none is.

    Raises:
        ValueError: there is no such model, or the number is not between 0 and 1.
    """
    value = stored_facts(model).get("threshold", 0.5)
    good = isinstance(value, float) and 0 < value < 1
    expected = f"a number between 0 and 1 to be stored with {model}"
    require(good, "threshold", expected, f"threshold={value}")
    return value


def mean_threshold(models):
    """Return the mean of the thresholds that are stored with models."""
    values = [stored_threshold(model) for model in models]
    return sum(values) / len(values)


def model_card(name):
    """Return the facts about a model that its files state, if any.

    All are optional: `threshold`, those of `PredictionDefaults`, `voxel_size` (z, y, x in nm),
    `voxel_size_range` (see `nearest_voxel_size`), name, description, tags, classes, license,
    authors, cite, `training_data` and the text of `validation`; as in the model descriptions of
    bioimage.io. They are in the card.json beside a model.keras, but for what is measured, see
    `stored_facts`.
    """
    file, facts = _located_facts(name)
    if file is None or file.name != KERAS:
        return facts
    measured = {name: facts[name] for name in MEASURED if name in facts}
    score = facts.get("held_out_jaccard")
    text = "Mean Jaccard index of the foreground on the parts that were held out"
    validation = {} if score is None else {"validation": f"{text}: {score:.3f}."}
    return validation | read_json(file.with_name("card.json")) | measured


def trained_voxel_size(model, near):
    """Return the voxel size that a model was trained at and that is nearest to another.

    Args:
        model: its name, run or file.
        near: as of `nearest_voxel_size`.

    Returns:
        (z, y, x) in nm, None if it is unknown.
    """
    return nearest_voxel_size(model_card(model), near)


def nearest_voxel_size(about, near):
    """Return the voxel size, of those that a model was trained at, which is nearest to another.

    Args:
        about: facts of the model, with `voxel_size_range`, the smallest and the largest sides
            (z, y, x) in nm of the voxels of several volumes, or `voxel_size`.
        near: sides (z, y, x) in nm, or None.

    Returns:
        (z, y, x) in nm: for every axis the side itself if volumes of smaller and of larger ones
        were trained on. None if one of the two is unknown.
    """
    size = about.get("voxel_size")
    smallest, largest = about.get("voxel_size_range", (size, size))
    return tuple(np.clip(near, smallest, largest).tolist()) if near and smallest else None


def trained_spatial_dims(model):
    """Return the number of spatial axes of a model, None if unknown."""
    about = stored_facts(model)
    network = find_variant(about.get("variant", ""))
    return about.get("spatial_dims", network and network.spatial_dims)


def published():
    """Return the .keras files of published models by lower-case name."""
    files = (file for folder in PUBLISHED for file in folder.glob(f"*/{KERAS}"))
    return {file.parent.name.lower(): file for file in files}
