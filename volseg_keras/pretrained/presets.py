"""Published and trained models: their names and files, and how they are loaded."""

import warnings
from contextlib import contextmanager
from pathlib import Path

from ..errors import invalid
from ..files import sha256
from ..networks.backend import check_backend
from ..networks.registration import import_registered
from .checksums import check_files

KERAS, METRICS = "model.keras", "metrics.json"  # of a run and of a published model
METADATA = Path("assets.extra", "volseg.json")  # of a SavedModel
# Models of earlier versions, and their replacements.
RENAMED = {"h-robust": "mito-3d"}
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
        ValueError: there is no such model, or its file is damaged or would run its own code.

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
    """Turn any error while a model is loaded into a ValueError of one line."""
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


def model_file(name, argument="model"):
    """Return the .keras file of a published or trained model.

    Args:
        name: of a published model, a folder of a run, or a .keras file.
        argument: its name in error messages.

    Raises:
        ValueError: there is none, or it differs from the SHA256SUMS beside it.
    """
    path = keras_file(name)
    if path is None:
        raise _no_model(name, argument)
    check_files(path.parent, [path.name])
    return path


def keras_file(name):
    """Return the .keras file that the name or path of a model stands for, or None."""
    path = Path(name)
    if (path / KERAS).is_file():
        return path / KERAS
    if path.is_file() and path.suffix == ".keras":
        return path
    return published().get(current_name(str(name).lower()))


def current_name(name):
    """Return the lower-case name of a published model, or of the one that replaced it."""
    if name not in RENAMED or name in published():
        return name
    warnings.warn(f"model {name} is replaced by {RENAMED[name]}", stacklevel=2)
    return RENAMED[name]


def _no_model(name, argument):
    """Return the error of a name that no Keras model has."""
    if (Path(name) / "saved_model.pb").is_file():
        source = "the run or .keras file that a SavedModel was exported from"
        return invalid(argument, f"{source}, since that only predicts", name)
    return invalid(argument, f"a folder of a run, a .keras file or {published_text()}", name)


def published_text():
    """Return "a published model" with the names of all."""
    known = ", ".join(sorted(file.parent.name for file in published().values())) or "none yet"
    return f"a published model ({known})"


def weights_digest(model):
    """Return the hash of a model's weights."""
    folder = savedmodel_folder(model)
    weights = folder and folder / "variables" / "variables.data-00000-of-00001"
    return sha256(weights or model_file(model))


def savedmodel_folder(name):
    """Return the folder of a SavedModel without model.keras, or None."""
    folder = Path(name)
    found = (folder / "saved_model.pb").is_file() and not (folder / KERAS).is_file()
    return folder if found else None


def published():
    """Return the .keras files of published models by lower-case name."""
    files = (file for folder in PUBLISHED for file in folder.glob(f"*/{KERAS}"))
    return {file.parent.name.lower(): file for file in files}
