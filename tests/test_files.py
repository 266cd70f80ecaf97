import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import volseg_keras
from volseg_keras.files import atomic_path, work_folder, write_csv, write_json

KILLED = """
import os, pathlib, sys
import numpy as np
from volseg_keras.files import atomic_path, work_folder
from volseg_keras.volumes.writing import create_volume
folder = pathlib.Path(sys.argv[1])
with create_volume(folder / sys.argv[2], (4, 8, 8), "u1") as append:
    append(np.zeros((2, 8, 8), "u1"))
    with atomic_path(folder / "a.json") as part, work_folder(folder / "a") as work:
        part.touch()
        (work / "file").touch()
        while not [p for p in folder.iterdir() if sys.argv[2] in p.name]:
            pass
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    "error, told",
    [
        (OSError("HDF5 has no more to say"), "HDF5 has no more to say"),
        (OSError(errno.ENOSPC, "No space left"), "No space left.*file"),
        (OSError(errno.EACCES, "Denied", "other"), "Denied: 'other'"),
        (ValueError("wrong"), "wrong"),
    ],
)
def test_a_file_that_fails_stays_as_it_was(error, told, tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(type(error), match=told), atomic_path(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_rows_and_values(tmp_path):
    write_csv(tmp_path / "a.csv", ("id", "size"), [{"id": 7, "size": 1 / 3, "other": 1}, {"id": 8}])
    assert (tmp_path / "a.csv").read_text().split() == ["id,size", "7,0.333333", "8,"]
    write_json(tmp_path / "a.json", {"a": None})
    assert (tmp_path / "a.json").read_text() == '{"a": null}\n'
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("suffix", [".tif", ".h5", ".zarr", ".mrc", ".npy"])
def test_what_a_killed_process_left_is_gone_after_the_next(suffix, tmp_path):
    name = f"volume{suffix}"
    env = {**os.environ, "PYTHONPATH": str(Path(volseg_keras.__file__).parents[1])}
    process = [sys.executable, "-c", KILLED, str(tmp_path), name]
    assert subprocess.run(process, env=env).returncode == -signal.SIGKILL
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 3 and not left & {name, "a.json", "a"}
    volseg_keras.save_volume(tmp_path / name, np.ones((4, 8, 8), np.uint8))
    write_json(tmp_path / "a.json", {})
    with work_folder(tmp_path / "a") as work:
        assert not list(work.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {name, "a.json"}
    assert np.asarray(volseg_keras.open_volume(tmp_path / name)).all()
