"""The SHA-256 of every file of a published model, as `sha256sum` writes and checks them."""

from pathlib import Path

from ..errors import require
from ..files import sha256

CHECKSUMS = "SHA256SUMS"


def write_checksums(folder):
    """Write SHA256SUMS for all files of a folder and below."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def check_files(folder, names=None):
    """Check files of a folder against its SHA256SUMS, if it has one.

    Args:
        folder: the folder of a model.
        names: the files to check, relative to the folder; all by default.

    Raises:
        ValueError: a file is missing, not listed, or differs from the published one.
    """
    folder = Path(folder)
    if not (folder / CHECKSUMS).is_file():
        return
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    known = {line[66:]: line[:64] for line in lines}  # between them "  ", or " *" of binary mode
    for name in known if names is None else names:
        path = folder / name
        found = sha256(path) if path.is_file() else "no such file"
        require(name in known, "model", f"a file that {folder / CHECKSUMS} lists", path)
        expected = f"{path} of SHA-256 {known[name]} (if it is damaged, copy the model again)"
        require(found == known[name], "model", expected, found)
