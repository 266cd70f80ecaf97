"""The command, run in the process of the tests, a recipe and a disk for it."""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest

from volseg_keras import Augment
from volseg_keras.cli import command as cli
from volseg_keras.training.recipes import RECIPES


def volseg(*arguments):
    """Run the command; returns its exit code."""
    saved, sys.argv = sys.argv, ["volseg", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code or 0
    finally:
        sys.argv = saved
    return 0


@contextmanager
def quick_recipe(name="fast"):
    """Make a recipe one of small patches, by SGD and in one go: traced in a fourth of the time."""
    small = {"patch": {2: (32, 32), 3: (16, 32, 32)}, "batch": {2: 2, 3: 2}, "warmup": 1}
    small |= {
        "optimizer": {2: "SGD", 3: "SGD"},
        "optimizer_options": {},
        "augment": Augment(),
        "settle": 0.0,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, name, replace(RECIPES[name], **small))
        yield


@contextmanager
def small_file_system(folder, size):
    """Mount a file system of a size such as "1m" on a new folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
