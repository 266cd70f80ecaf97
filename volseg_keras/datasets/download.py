"""Download a file: resumed where it broke, checked, and named only when complete."""

import http.client
import re
import shutil
import ssl
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..files import sha256 as file_digest

CHUNK = 2**18
TIMEOUT = 60
# Seconds to wait before each further attempt at a connection that broke.
WAITS = (1, 4, 16)
BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def download(url, path, sha256=None, on_bytes=None):
    """Download a file to `path`; nothing is done where it is complete.

    What has come lies in `path` + ".part" and is gone on with, in this call or a later one, where
    the server sends parts of files (RFC 9110, section 14); else the file is fetched anew.

    Args:
        url: HTTP or HTTPS address.
        path: file to write; its folder is created.
        sha256: hexadecimal digest of the file, or None where it is not known.
        on_bytes: called with the bytes that have come and their total, None where not known.

    Returns:
        The hexadecimal SHA-256 digest of the file.

    Raises:
        ValueError: `url` is no such address, or the digest is another one; what came is removed.
        OSError: the server, the connection or the disk failed.
    """
    if not str(url).startswith(("http://", "https://")):
        raise ValueError(
            f"Invalid value for `url`. Expected http:// or https://. Received: url={url}"
        )
    path = Path(path)
    if path.exists():
        return checked_digest(path, sha256, url)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for wait in (*WAITS, None):
        try:
            fetch_rest(url, part, on_bytes or (lambda done, total: None))
            break
        except BROKEN as error:
            if wait is None:
                reason = f"the connection broke ({error}); run again to go on"
                raise unreachable(url, reason) from error
            time.sleep(wait)
    try:
        digest = checked_digest(part, sha256, url)
    except ValueError:
        part.unlink()
        raise
    part.replace(path)
    return digest


def fetch_rest(url, part, on_bytes):
    """Append to `part` what is missing; ConnectionError or so where the connection breaks."""
    done = part.stat().st_size if part.exists() else 0
    response = answer(url, done)
    if response is None:  # there is nothing after what has come
        part.unlink()
        done, response = 0, answer(url, 0)
    with response:
        done, total = span(response, url, done)
        check_room(part, done, total)
        with disk_errors(part), part.open("ab" if done else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                on_bytes(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"{done:,} of {total:,} bytes have come")


def answer(url, start):
    """Return the response from byte `start` on, or None where the server has no such byte."""
    headers = {"User-Agent": "volseg_keras", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and start:
            return None
        raise unreachable(url, f"{error.code} {error.reason}") from error
    except URLError as error:
        raise unreachable(url, error.reason) from error


def span(response, url, asked):
    """Return the first byte of a response and the size of the whole file, None where not known."""
    if "text/html" in response.headers.get("Content-Type", ""):
        raise unreachable(url, "a web page came instead of the file")
    told = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status == 206 and told and int(told[1]) == asked:
        return asked, None if told[2] == "*" else int(told[2])
    if response.status == 206:
        raise unreachable(url, "another part came than was asked for")
    size = response.headers.get("Content-Length")
    return 0, int(size) if size else None


@contextmanager
def disk_errors(part):
    """Name the file in errors of the disk, such as a full one."""
    try:
        yield
    except BROKEN:
        raise
    except OSError as error:
        raise OSError(f"Cannot write {part}: {error.strerror or error}") from error


def check_room(part, done, total):
    """Raise OSError where the disk cannot take the rest."""
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - done > free:
        raise OSError(
            f"No space for {part}: {(total - done) / 1e9:.2f} GB are missing, "
            f"{free / 1e9:.2f} GB are free"
        )


def checked_digest(path, expected, url):
    """Return the SHA-256 digest of a file, or raise ValueError where it is another one."""
    digest = file_digest(path)
    if expected not in (None, digest):
        raise ValueError(
            f"Invalid value for `{path.name.removesuffix('.part')}` from {url}. "
            f"Expected sha256 {expected}. Received: sha256 {digest}"
        )
    return digest


def unreachable(url, why):
    """Return the OSError of a download that failed."""
    return OSError(f"Cannot download {url}: {why}")
