"""Download a file: resumable, checked, and renamed when complete."""

import http.client
import re
import shutil
import ssl
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..errors import require
from ..files import sha256 as file_digest

CHUNK = 2**18
TIMEOUT = 60
# Seconds to wait before each further attempt at a connection that broke.
WAITS = (1, 4, 16)
BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def download(url, path, sha256=None, on_progress=None):
    """Download a file to `path`, unless it is there already.

    An incomplete file is `path` + ".part". This call or a later one resumes it, if the server can
    send parts of files (RFC 9110, section 14); else the download starts again.

    Args:
        url: HTTP or HTTPS address.
        path: file to write; its folder is created.
        sha256: hexadecimal digest of the file, or None if unknown.
        on_progress: called with the number of bytes received and the total, None if unknown.

    Returns:
        The hexadecimal SHA-256 digest of the file.

    Raises:
        ValueError: `url` is not such an address, or the digest differs; what was
            downloaded is then removed, a file that was there is left alone.
        OSError: the server, the connection or the disk failed.
    """
    good = str(url).startswith(("http://", "https://"))
    require(good, "url", "http:// or https://", f"url={url}")
    path = Path(path)
    if path.exists():
        return checked_digest(path, sha256, url)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for wait in (*WAITS, None):
        try:
            fetch_rest(url, part, on_progress or (lambda done, total: None))
            break
        except BROKEN as error:
            if wait is None:
                reason = f"the connection broke ({error}); run again to continue"
                raise unreachable_error(url, reason) from error
            time.sleep(wait)
    try:
        digest = checked_digest(part, sha256, url)
    except ValueError:
        part.unlink()
        raise
    part.replace(path)
    return digest


def fetch_rest(url, part, on_progress):
    """Append the missing bytes to `part`; raise an error of `BROKEN` if the connection breaks."""
    done = part.stat().st_size if part.exists() else 0
    response = answer(url, done)
    if response is None:  # the server has no more bytes than `part`
        part.unlink()
        done, response = 0, answer(url, 0)
    with response:
        done, total = received_span(response, url, done)
        check_room(part, done, total)
        with disk_errors(part), part.open("ab" if done else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                on_progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"received {done:,} of {total:,} bytes")


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
        raise unreachable_error(url, f"{error.code} {error.reason}") from error
    except URLError as error:
        raise unreachable_error(url, error.reason) from error


def received_span(response, url, asked):
    """Return the first byte of a response and the size of the whole file, None if unknown."""
    if "text/html" in response.headers.get("Content-Type", ""):
        raise unreachable_error(url, "the server sent a web page instead of the file")
    span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status == 206 and span and int(span[1]) == asked:
        return asked, None if span[2] == "*" else int(span[2])
    if response.status == 206:
        raise unreachable_error(url, "the server sent another part than the one requested")
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
    """Raise OSError unless the disk has room for the rest."""
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - done > free:
        raise OSError(
            f"No space for {part}: {(total - done) / 1e9:.2f} GB are needed, "
            f"{free / 1e9:.2f} GB are free"
        )


def checked_digest(path, expected, url):
    """Return the SHA-256 digest of a file, or raise ValueError if it is not the expected one."""
    digest = file_digest(path)
    name, good = path.name.removesuffix(".part"), expected in (None, digest)
    require(good, name, f"sha256 {expected}", f"sha256 {digest} from {url}")
    return digest


def unreachable_error(url, why):
    """Return the OSError of a download that failed."""
    return OSError(f"Cannot download {url}: {why}")
