"""A headless Chromium, driven through its debugging pipe by the standard library alone."""

import base64
import fcntl
import json
import os
import shutil
import tempfile

import pytest


def high_pipe():
    """Return the ends of a pipe, above 10, so that none is in the way of descriptors 3 and 4."""
    low = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low]
    os.close(low[0]), os.close(low[1])
    return high


class Chromium:
    """A browser with one page; input goes through the browser's own event handling."""

    def __init__(self):
        names = ("chromium", "chromium-browser", "google-chrome", "chrome")
        program = next(filter(None, map(shutil.which, names)), None)
        if program is None:
            pytest.skip("no Chromium on the PATH")
        self._folder = tempfile.TemporaryDirectory(prefix="chromium_", ignore_cleanup_errors=True)
        ends = [*high_pipe(), *high_pipe()]
        options = "--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe"
        files = [(os.POSIX_SPAWN_DUP2, ends[0], 3), (os.POSIX_SPAWN_DUP2, ends[3], 4)]
        files += [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (1, 2)]
        self._process = os.posix_spawn(
            program,
            [program, *options.split(), f"--user-data-dir={self._folder.name}", "about:blank"],
            os.environ,
            file_actions=files,
        )
        os.close(ends[0]), os.close(ends[3])
        self._read, self._write = os.fdopen(ends[2], "rb", 0), os.fdopen(ends[1], "wb", 0)
        self._rest, self._count, self._session = b"", 0, {}
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = {}
        self("Browser.close")
        os.waitpid(self._process, 0)
        self._read.close(), self._write.close()
        self._folder.cleanup()

    def __call__(self, method, **parameters):
        """Send one command of the DevTools protocol and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters, **self._session}
        self._write.write(json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                chunk = self._read.read(2**20)
                assert chunk, "Chromium ended"
                self._rest += chunk
            answer, self._rest = self._rest.split(b"\0", 1)
            answer = json.loads(answer)
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script):
        """Evaluate JavaScript (promises are awaited) and return its value."""
        options = {"returnByValue": True, "awaitPromise": True}
        answer = self("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, path, width=1200, height=900):
        """Load a file and wait for it."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self("Emulation.setDeviceMetricsOverride", **screen)
        self("Page.enable")
        self("Page.navigate", url=path.resolve().as_uri())
        self.run(
            "new Promise(go => document.readyState == 'complete' ? go()"
            " : addEventListener('load', go))"
        )

    def click(self, x, y):
        """Press and release the left mouse button."""
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key, code):
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            self("Input.dispatchKeyEvent", type=kind, **event)

    def screenshot(self, path):
        """Write the whole page as PNG."""
        shot = self("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
