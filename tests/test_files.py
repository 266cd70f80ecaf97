import errno
import os
import platform
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import volseg_keras
from volseg_keras.files import HOST, RUN, atomic_path, read_json, work_folder, write_csv, write_json
from volseg_keras.volumes import writing
from volseg_keras.volumes.formats import ome_zarr

KILLED = """
import glob, os, pathlib, sys
import numpy as np
from volseg_keras.files import atomic_path, work_folder
from volseg_keras.volumes.writing import create_volume
folder = pathlib.Path(sys.argv[1])
with create_volume(folder / sys.argv[2], (4, 8, 8), "u1") as append:
    append(np.zeros((2, 8, 8), "u1"))
    with atomic_path(folder / "a.json") as part, work_folder(folder / "a") as work:
        part.touch()
        (work / "file").touch()
        while not glob.glob(f"{folder}/.part-*/{sys.argv[2]}"):
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


def test_two_writers_of_a_file_do_not_meet(tmp_path):
    path = tmp_path / "a.json"
    with atomic_path(path) as first, atomic_path(path) as second:
        first.write_text("first")
        second.write_text("second")
        write_json(path, "third")
        assert first.read_text() == "first" and second.read_text() == "second"
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def left_by(owner, folder):
    """A work folder of a process, as "host-pid-run"; one that was left long ago."""
    left = folder / f".part-{owner}-x1_y"
    left.mkdir()
    os.utime(left, (0, 0))
    return left


def test_work_of_living_processes_stays(tmp_path):
    host, own, other = HOST, os.getpid(), os.getppid()
    stay = [
        left_by(f"{host}-{other}-{8 * '0'}", tmp_path),
        left_by(f"{host}-{own}-{RUN}", tmp_path),
    ]
    new = [
        tmp_path / f".part-{place}-{own}-{8 * '0'}-z"
        for place in ("else-where", f"{platform.node()}.1")  # the last is another container
    ]
    for folder in new:
        folder.mkdir()
    left_by(f"{host}-{own}-{8 * '0'}", tmp_path)  # of an earlier process of the same number
    left_by(f"else-where-{own}-{8 * '0'}", tmp_path)
    write_json(tmp_path / "a.json", {})
    assert set(tmp_path.iterdir()) == {*stay, *new, tmp_path / "a.json"}


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


def test_what_is_given_up_is_not_finished(tmp_path, monkeypatch):
    """A pyramid of a large volume takes minutes."""
    finished = []
    monkeypatch.setattr(ome_zarr, "finish_zarr", lambda *given: finished.append(given))
    with (
        pytest.raises(KeyboardInterrupt),
        writing.create_volume(tmp_path / "a.zarr", (8, 4, 4), "u1") as append,
    ):
        append(np.zeros((4, 4, 4), np.uint8))
        raise KeyboardInterrupt
    assert not finished and not list(tmp_path.iterdir())


def test_a_signal_that_comes_as_a_writer_starts_ends_it(tmp_path, monkeypatch):
    class Interrupted(ThreadPoolExecutor):
        def submit(self, *task):
            super().submit(*task)
            raise KeyboardInterrupt

    monkeypatch.setattr(writing, "ThreadPoolExecutor", Interrupted)
    with (
        pytest.raises(KeyboardInterrupt),
        writing.create_volume(tmp_path / "a.tif", (2, 4, 4), "u1"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_work_folder_is_removed_though_a_thread_still_writes_into_it(tmp_path, monkeypatch):
    """A signal may come while a thread starts, which then nobody waits for."""
    remove = os.rmdir

    def too_early(path, **options):
        for folder in set(late):
            late.remove(folder)
            (folder / "late").touch()
        remove(path, **options)

    with work_folder(tmp_path / "a") as work:
        late = [work]
        monkeypatch.setattr(os, "rmdir", too_early)
    assert not late and not list(tmp_path.iterdir())


def test_a_signal_as_a_work_folder_is_made_leaves_none(tmp_path, monkeypatch):
    make = Path.mkdir

    def interrupted(folder, *options):
        make(folder, *options)
        raise SystemExit

    monkeypatch.setattr(Path, "mkdir", interrupted)
    with pytest.raises(SystemExit), work_folder(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_signal_before_the_block_of_a_work_folder_leaves_none(tmp_path):
    script = (
        "import pathlib, sys; from volseg_keras.files import work_folder\n"
        "context = work_folder(pathlib.Path(sys.argv[1]))\n"
        "print(context.__enter__().is_dir()); sys.never_freed = context, sys.exit(3)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(volseg_keras.__file__).parents[1])}
    process = [sys.executable, "-c", script, str(tmp_path / "a")]
    ended = subprocess.run(process, env=env, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (3, "True\n")
    assert not list(tmp_path.iterdir())


def test_the_file_behind_a_link_is_replaced(tmp_path):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "abc", tmp_path / "a.json"
    target.write_text("{}")
    link.symlink_to(target)
    write_json(link, {"a": 1})
    assert link.is_symlink() and read_json(target) == {"a": 1}


@pytest.mark.parametrize(
    "text, told", [("{'a': 1,}", "not valid JSON"), ("[1, 2]", "JSON object, not list")]
)
def test_json_that_is_no_dict_names_its_file(text, told, tmp_path):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(ValueError, match=f"card.json .*{told}"):
        read_json(tmp_path / "card.json")
