"""Downloads from a local server that breaks, ignores ranges or sends something else."""

import hashlib
import io
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pytest

from volseg_keras import open_volume, phantom, save_volume
from volseg_keras.datasets import download as module
from volseg_keras.datasets import epfl
from volseg_keras.datasets.download import download

BYTES = np.random.default_rng(0).bytes(3_000_001)
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """A server of `files` that notes the Range of every request.

    `breaks` is after how many bytes of a response the connection is closed, once an item;
    `ranges` whether parts are served; `headers` are added.
    """
    state = SimpleNamespace(files={"file": BYTES}, asked=[], breaks=[], ranges=True, headers={})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.asked.append(asked)
            data = state.files.get(self.path.lstrip("/"))
            if data is None:
                return self.send_error(404)
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and state.ranges else 0
            if start >= len(data) > 0:
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            for name, value in ({"Content-Length": len(data) - start} | state.headers).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(data[start:][: state.breaks.pop(0) if state.breaks else None])

        def log_message(self, *_):
            pass

    monkeypatch.setattr(module, "WAITS", (0, 0))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{http.server_port}"
        yield state
        http.shutdown()


def test_a_file_is_downloaded_once(server, tmp_path):
    seen, path = [], tmp_path / "new folder" / "file"
    for _ in range(2):
        digest = download(f"{server.url}/file", path, SHA256, lambda *at: seen.append(at))
        assert digest == SHA256
    assert path.read_bytes() == BYTES and server.asked == [None]
    assert seen[-1] == (len(BYTES), len(BYTES)) and seen == sorted(seen)
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_broken_connection_is_resumed(server, tmp_path):
    server.breaks = [1_000_000]
    download(f"{server.url}/file", tmp_path / "file", SHA256)
    assert server.asked == [None, "bytes=1000000-"]
    assert (tmp_path / "file").read_bytes() == BYTES


def test_a_later_call_resumes(server, tmp_path):
    server.breaks = [1_000_000, 500_000, 250_000]
    with pytest.raises(OSError, match="1,750,000 of 3,000,001 bytes.*run again"):
        download(f"{server.url}/file", tmp_path / "file", SHA256)
    assert not (tmp_path / "file").exists()
    assert (tmp_path / "file.part").read_bytes() == BYTES[:1_750_000]
    download(f"{server.url}/file", tmp_path / "file", SHA256)
    assert server.asked[-1] == "bytes=1750000-"
    assert (tmp_path / "file").read_bytes() == BYTES


def test_a_killed_process_leaves_what_came(server, tmp_path):
    server.headers = {"Content-Length": len(BYTES) + 1}  # the client waits for one more byte
    code = "import os, sys; from volseg_keras.datasets.download import download; download("
    code += "*sys.argv[1:], on_progress=lambda done, total: done > 2e6 and os._exit(9))"
    arguments = (f"{server.url}/file", str(tmp_path / "file"))
    assert subprocess.run([sys.executable, "-c", code, *arguments]).returncode == 9
    came = (tmp_path / "file.part").stat().st_size
    server.headers = {}
    download(*arguments, SHA256)
    assert server.asked == [None, f"bytes={came}-" if came else None]
    assert (tmp_path / "file").read_bytes() == BYTES


@pytest.mark.parametrize(
    "left, ranges", [(BYTES[:1000], False), (BYTES, True), (BYTES + b"more", True)]
)
def test_without_a_part_to_go_on_with_it_starts_anew(left, ranges, server, tmp_path):
    (tmp_path / "file.part").write_bytes(left)
    server.ranges = ranges
    download(f"{server.url}/file", tmp_path / "file", SHA256)
    assert server.asked[0] == f"bytes={len(left)}-"
    assert (tmp_path / "file").read_bytes() == BYTES


def test_a_wrong_hash_is_refused_and_the_next_try_starts_anew(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    with pytest.raises(
        ValueError, match=f"Expected sha256 {SHA256}. Received: sha256 [0-9a-f]{{64}}"
    ):
        download(f"{server.url}/file", tmp_path / "file", SHA256)
    assert not list(tmp_path.iterdir())
    download(f"{server.url}/file", tmp_path / "file", SHA256)
    assert server.asked == ["bytes=1000-", None]


def test_a_complete_file_with_another_hash_is_left_alone(server, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(ValueError, match="sha256"):
        download(f"{server.url}/file", tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == b"mine" and server.asked == []


@pytest.mark.parametrize(
    "headers, name, told",
    [
        ({}, "nothing", "404 Not Found"),
        ({"Content-Type": "text/html"}, "file", "a web page instead"),
        ({"Content-Length": 10**16}, "file", "10000000.00 GB are needed"),
    ],
)
def test_what_the_server_does_wrong_is_told(headers, name, told, server, tmp_path):
    server.headers = headers
    with pytest.raises(OSError, match=told):
        download(f"{server.url}/{name}", tmp_path / "file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "http://name.invalid/file"])
def test_no_network_is_told(url, tmp_path):
    with pytest.raises(OSError, match=f"Cannot download {url}: "):
        download(url, tmp_path / "file")


@pytest.mark.parametrize("url", ["file:///etc/hosts", "training.tif", ""])
def test_other_addresses_are_refused(url, tmp_path):
    with pytest.raises(ValueError, match="`url`"):
        download(url, tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told(server, tmp_path):
    (tmp_path / "file.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="Cannot write .*file.part: No space left"):
        download(f"{server.url}/file", tmp_path / "file")


@pytest.fixture
def published(server, tmp_path):
    """The files of the EPFL volumes as a server has them, of phantoms."""
    shape = (16, 32, 48)
    volumes = dict(zip(epfl.VOLUMES, (*phantom(shape, 0), *phantom(shape, 1)), strict=True))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("__MACOSX/Lucchi++/Train_In/._mask0000.png", b"no image")
        for name, folder in epfl.VOLUMES.items():
            if name.endswith("groundtruth"):
                volumes[name] = volumes[name] * np.uint8(255)
            file = save_volume(tmp_path / "served" / f"{name}.tif", volumes[name])
            server.files[file.name] = file.read_bytes()
            for z, page in enumerate(volumes[name]):
                number = f"{z}.png" if name.endswith("groundtruth") else f"mask{z:04}.png"
                if name == "testing_groundtruth":  # masks in colours, opaque
                    page = np.stack([page] * 3 + [np.full_like(page, 255)], axis=-1)
                data = imagecodecs.png_encode(page)
                bundle.writestr(f"Lucchi++/{folder}/{number}", data)
    server.files[epfl.ARCHIVE] = archive.getvalue()
    shutil.rmtree(tmp_path / "served")
    return volumes


@pytest.mark.filterwarnings("ignore:the voxels of")
def test_the_command_gets_every_volume(published, server, tmp_path, monkeypatch, capsys):
    from test_cli import volseg

    digest = hashlib.sha256(server.files[epfl.ARCHIVE]).hexdigest()
    monkeypatch.setattr(epfl, "ARCHIVE_SHA256", digest)
    arguments = ("data", "epfl", "-o", tmp_path / "data", "--source", server.url)
    server.breaks = [None, None, 100]
    assert volseg(*arguments) == 0
    assert len(server.asked) == 6 and "bytes=100-" in server.asked
    for labels in epfl.LABELS:
        for name, voxels in published.items():
            volume = open_volume(tmp_path / "data" / labels / f"{name}.tif")
            np.testing.assert_array_equal(volume[...], voxels)
    assert volume.voxel_size == epfl.VOXEL_SIZE
    digest = hashlib.sha256(server.files["training.tif"]).hexdigest()
    out = capsys.readouterr().out.replace("\n", "")
    assert digest in out and out.count("written") == 8
    assert len(list(tmp_path.rglob("*.*"))) == 8
    assert volseg(*arguments) == 0
    assert len(server.asked) == 6 and capsys.readouterr().out.count("already present") == 8


def test_the_command_tells_what_is_wrong(published, server, tmp_path, capsys):
    from test_cli import volseg

    arguments = ("data", "epfl", "-o", tmp_path / "data", "--source")
    with pytest.warns(UserWarning, match="is not the published volume"):
        assert volseg(*arguments, server.url) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("volseg: Invalid value for `lucchi_pp.zip`")
    assert epfl.ARCHIVE_SHA256 in error
    server.files["testing.tif"] = b"no TIFF"
    (tmp_path / "data" / "original" / "testing.tif").unlink()
    assert volseg(*arguments, server.url) == 2
    assert "testing.tif" in capsys.readouterr().err
    assert not (tmp_path / "data" / "original" / "testing.tif").exists()
    with pytest.raises(ValueError, match="`labels`.*original, lucchi_pp.*'lucchi'"):
        epfl.fetch_epfl(tmp_path, "lucchi")
    for source in ("nowhere", "ftp://a/b"):
        assert volseg(*arguments, source) == 2
        assert "`source`" in capsys.readouterr().err


def test_voxels_that_are_known(tmp_path, recwarn):
    image = phantom((16, 32, 48), 0)[0]
    file = save_volume(tmp_path / "training.tif", image)
    known = {"training": (8, hashlib.sha256(image[:8].tobytes()).hexdigest())}
    epfl.check_voxels(file, known)
    assert not [w for w in recwarn if w.category is UserWarning]
    save_volume(file, image[::-1])
    with pytest.warns(UserWarning, match="differ"):
        epfl.check_voxels(file, known)


def test_the_real_voxels_are_known(real_data):
    for name, known in (epfl.VOXELS | epfl.VOXELS_LUCCHI_PP).items():
        for file in real_data.glob(f"{name}*.tif"):
            if file.stem == name or file.stem.startswith(f"{name}_z000"):
                assert epfl.has_voxels(open_volume(file), known), file
