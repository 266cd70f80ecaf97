"""The command, run in the process of the tests, and a disk for it to fill."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from volseg_keras import cli


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
def small_file_system(folder, size):
    """Mount a file system of a size such as "1m" on a new folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
