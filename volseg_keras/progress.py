"""Progress of long work: a bar, lines in a log, or what a program with a window makes of it."""

import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from importlib.util import find_spec

from rich.console import Console
from rich.filesize import decimal
from rich.progress import DownloadColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

# Seconds between lines in a log.
EVERY = 30
LISTENER = ContextVar("listener", default=None)


@contextmanager
def shown_by(listener):
    """Have a function show the progress of what runs in this thread, instead of the terminal.

    Args:
        listener: called with the step in words, how much of it is done, and the total or None; an
            exception that it raises ends the work.

    Example:
        >>> with shown_by(lambda what, done, total: print(what, done, total)):
        ...     volseg_keras.fit("auto", stack, labels, output="run")
    """
    token = LISTENER.set(listener)
    try:
        yield
    finally:
        LISTENER.reset(token)


def current_listener():
    """Return the function that shows the progress of this thread, see `shown_by`, or None."""
    return LISTENER.get()


@contextmanager
def progress_bar(what, in_bytes=False):
    """Show tiles, or bytes, done and time left; yields `on_progress(done, total)`.

    A bar on a terminal, and in a notebook with ipywidgets; elsewhere, as in the log of a cluster, a
    line every 30 seconds; or what a program that has a window makes of it, see `shown_by`.
    """
    if listener := current_listener():
        listener(what, 0, None)
        yield partial(listener, what)
        return
    console = Console(stderr=True)
    # Rich draws in a notebook with ipywidgets only, and otherwise warns at every bar.
    if not (console.is_terminal or console.is_jupyter and find_spec("ipywidgets")):
        yield log_lines(what, in_bytes)
        return
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (*Progress.get_default_columns()[:3], count, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def log_lines(what, in_bytes):
    """Return `on_progress(done, total)`, which prints a line every `EVERY` seconds."""
    start = printed = time.monotonic()
    first = None  # the number done at the first call, perhaps by an earlier run

    def on_progress(done, total):
        nonlocal start, printed, first
        now = time.monotonic()
        if first is None:
            start, first = now, done
        if now - printed < EVERY:
            return
        printed = now
        numbers = [decimal(n) if in_bytes else f"{n:,}" for n in (done, total) if n is not None]
        known = total and done > first
        left = round((now - start) * (total - done) / (done - first)) if known else None
        rest = f"  {timedelta(seconds=left)} left" if left is not None else ""
        print(f"{what}  {' of '.join(numbers)}{rest}", file=sys.stderr, flush=True)

    return on_progress
