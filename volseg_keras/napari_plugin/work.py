"""Work in a thread, one task at a time, so that the window stays responsive."""

import os
import sys
import time
from contextlib import contextmanager
from functools import partial

from napari.qt.threading import create_worker
from napari.utils.notifications import notification_manager, show_error
from qtpy.QtCore import QObject, QThreadPool, Signal
from qtpy.QtWidgets import QApplication

from ..progress import progress_bar, shown_by

EXPECTED = (ValueError, OSError, FloatingPointError)  # each of them is one line
INTERVAL = 0.2  # s between updates of the progress
PATIENCE = 120_000  # ms that the program waits for its thread when it ends


class Closed(Exception):
    """The window is gone."""


class Signals(QObject):
    """Signals of a thread to the window: its step and the share done; whether it is busy."""

    progress = Signal(str, float)
    busy = Signal(bool)


class Work:
    """A task in a thread, which ends when its widget or the program does."""

    def __init__(self, widget):
        self.signals, self.worker, self.shown = Signals(), None, ("", 0.0)
        widget.destroyed.connect(partial(self.end, 0))
        QApplication.instance().aboutToQuit.connect(partial(self.end, PATIENCE))

    def start(self, name, function, then, stop=None):
        """Start a function of `on_progress` and pass its result to `then`; `stop` is an event."""
        self.name, self.function, self.event = name, function, stop
        hooks = {"returned": (self._clear, then), "errored": (self._clear, show_failure)}
        hooks["finished"] = self._finish
        self.worker = create_worker(self, _start_thread=False, _connect=hooks)
        self.signals.busy.emit(True)
        self.worker.start()

    def __str__(self):
        """The task, as napari names it when it asks whether to close."""
        return self.name

    def __call__(self):
        """Do the task; in the thread."""
        with _own_symbols(), shown_by(self._listen), progress_bar(self.name) as on_progress:
            return self.function(on_progress=on_progress)

    def _listen(self, what, done, total):
        if self.worker.abort_requested:
            raise Closed
        kind, now = what.partition(" ")[0], time.monotonic()
        if kind != self.shown[0] or now > self.shown[1] + INTERVAL:  # the window is drawn each time
            self.shown = kind, now
            self.signals.progress.emit(what, done / total if total else 0)

    def _clear(self, _):
        self.signals.progress.emit("", 0)

    def _finish(self):
        self.worker = None
        self.signals.busy.emit(False)

    def stop(self):
        """End the task early, with a result if it can return one."""
        self.event.set() if self.event else self.worker.quit()
        self.signals.progress.emit(f"stopping {self.name}", 0)

    def end(self, patience, *_):
        """End the task without a result, and wait for up to `patience` milliseconds."""
        if self.worker:
            self.worker.quit()
            QThreadPool.globalInstance().waitForDone(patience)


def show_failure(error):
    """Show an error, in one line if it is expected."""
    if isinstance(error, EXPECTED):
        show_error(str(error).partition("\n")[0])
    elif not isinstance(error, Closed):
        notification_manager.receive_error(type(error), error, error.__traceback__)


@contextmanager
def _own_symbols():
    """Import libraries so that they call their own functions even if others have the same names.

    TensorFlow and Mesa, which draws windows on Linux, both contain LLVM; without this, the second
    that is loaded calls the functions of the first, and the process crashes.
    """
    if not hasattr(os, "RTLD_DEEPBIND"):  # only Linux has it
        yield
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        yield
    finally:
        sys.setdlopenflags(flags)
