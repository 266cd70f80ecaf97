"""Files written whole or not at all, and their hashes; imports nothing of this package."""

import csv
import hashlib
import json
import shutil
from contextlib import contextmanager


@contextmanager
def atomic_path(path, writer=""):
    """Yield the name of a file to write, which takes the place of `path` if all goes well.

    What a killed process left under that name, the next one overwrites.

    Args:
        path: a `Path`.
        writer: what tells writers apart where there may be several at a time.
    """
    part = path.with_name(f"part{writer}.{path.name}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def work_folder(path):
    """Yield a hidden folder beside `path` to work in, empty and gone in the end.

    What a killed process left there, the next one removes.
    """
    folder = path.with_name(f".part.{path.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_json(path, values, indent=None, writer=""):
    """Write a file of JSON; `writer` is that of `atomic_path`."""
    with atomic_path(path, writer) as part:
        part.write_text(json.dumps(values, indent=indent) + "\n", encoding="utf-8")


def write_csv(path, columns, rows):
    """Write dicts under a header; numbers have six significant digits, other keys are left out."""
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def sha256(path):
    """Return the hexadecimal SHA-256 digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
