"""The formats of exports, by name, and where an export may be written."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import require, require_one_of
from ..extras import install_command

ONNX_MODULES = ("tf2onnx", "onnx", "onnxruntime")


@dataclass(frozen=True)
class ExportFormat:
    """A format of exports.

    Attributes:
        suffix: of the file; empty for a folder.
        modules: that must be installed.
        extra: of this package that installs them.
    """

    suffix: str = ""
    modules: tuple = ()
    extra: str = ""


EXPORT_FORMATS = {
    "savedmodel": ExportFormat(),
    "keras": ExportFormat(".keras"),
    "onnx": ExportFormat(".onnx", ONNX_MODULES, "onnx"),
    "openvino": ExportFormat(),
    "bioimageio": ExportFormat(".zip", (*ONNX_MODULES, "bioimageio"), "bioimageio"),
}


def new_path(path, format):
    """Return the path of an export that can be written, or raise; creates its parent."""
    require_one_of(EXPORT_FORMATS, "format", format)
    row, path = EXPORT_FORMATS[format], Path(path).absolute()
    taken = path.exists() and (row.suffix or not path.is_dir() or any(path.iterdir()))
    kind = "file" if row.suffix else "folder"
    require(not taken, "path", f"a new {kind}", f"{path} exists", FileExistsError)
    good = path.name.endswith(row.suffix)
    require(good, "path", f"a file that ends in {row.suffix}", path)
    suffixes = {other.suffix: name for name, other in EXPORT_FORMATS.items() if other.suffix}
    other = suffixes.get(path.suffix)
    expected = f"a folder, or `--format {other}` for a file that ends in {path.suffix}"
    require(row.suffix or not other, "path", expected, path)
    good = all(find_spec(module) for module in row.modules)
    require(good, "format", f"the packages of `{install_command(row.extra)}`", f"{format=}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
