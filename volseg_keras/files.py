"""Files written whole or not at all, folders that can be written, and hashes of files."""

import atexit
import csv
import hashlib
import json
import os
import platform
import re
import shutil
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

import psutil

from .errors import invalid

# The name of a work folder holds its host, its process and, as process ids are reused, its run. A
# container has process ids of its own, and perhaps the name of another host; so may a machine that
# was copied, which has another number of its start.
PIDS, BOOT = Path("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id")
HOST = platform.node()
with suppress(OSError):
    HOST += f".{PIDS.stat().st_ino}"
with suppress(OSError):
    HOST += f".{BOOT.read_text(encoding='ascii')[:8]}"
WORK = re.compile(r"\.part-(.+)-(\d+)-([0-9a-f]{8})-\w+")
RUN = uuid4().hex[:8]
# Seconds after which a folder of another host, whose processes cannot be seen, is abandoned.
ABANDONED = 7 * 24 * 3600
# Seconds between the attempts to remove a work folder.
RETRIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@contextmanager
def atomic_path(path):
    """Yield the name of a file to write, which takes the place of `path` if all goes well.

    Where `path` is a link, the file that it leads to is replaced.
    """
    target = path.resolve() if path.is_symlink() else path
    try:
        with work_folder(target) as folder:
            part = folder / path.name
            yield part
            part.replace(target)
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise


@contextmanager
def work_folder(path):
    """Yield an empty hidden folder beside `path`, which is removed afterwards.

    Every call has a folder of its own, so several processes may write the same output: the last one
    wins. Folders that killed processes left beside `path` are removed first.
    """
    for folder in filter(_is_abandoned, path.parent.glob(".part-*")):
        shutil.rmtree(folder, ignore_errors=True)
    name = f".part-{HOST}-{os.getpid()}-{RUN}-{uuid4().hex[:8]}"
    folder = path.parent / name
    remove = partial(_remove_folder, folder)
    atexit.register(remove)  # a signal may come before the caller's `with` has begun
    try:
        folder.mkdir(0o700)
        yield folder
    finally:
        remove()
        atexit.unregister(remove)


def _remove_folder(folder):
    """Remove a folder, into which a thread may still write that a signal left without a caller."""
    for pause in RETRIES:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(pause)


def _is_abandoned(folder):
    """Return whether the process that a work folder belongs to has ended."""
    found = WORK.fullmatch(folder.name)
    if not found:
        return False
    host, pid, run = found[1], int(found[2]), found[3]
    if host == HOST:
        return run != RUN if pid == os.getpid() else not psutil.pid_exists(pid)
    with suppress(FileNotFoundError):  # its process may be removing it
        return time.time() - folder.stat().st_mtime > ABANDONED
    return False


def writable_folder(path):
    """Create a folder and return it, or raise OSError where nothing can be written."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path).close()
    except OSError as error:
        received = f"{path} ({error.strerror})"
        raise invalid("output", "a writable folder", received, OSError) from error
    return path


def read_json(path):
    """Return the dict that a file of JSON holds, empty if the file does not exist.

    Raises:
        ValueError: it holds anything else.
    """
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(values).__name__}")
    return values


def write_json(path, values, indent=None):
    """Write a file of JSON."""
    with atomic_path(path) as part:
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
