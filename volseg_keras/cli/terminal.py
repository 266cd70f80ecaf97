"""What commands show on a terminal, and what they hide."""

import os
import sys
import warnings
from contextlib import contextmanager
from functools import partial
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@contextmanager
def quiet():
    """Hide what TensorFlow writes to standard error while it starts.

    Warnings of this package are shown afterwards.
    """
    caught = []
    try:
        with silent_stderr(), warnings.catch_warnings(record=True) as caught:
            yield
    finally:
        for warning in caught:
            if Path(warning.filename).absolute().is_relative_to(PACKAGE):
                place = warning.filename, warning.lineno
                warnings.warn_explicit(warning.message, warning.category, *place)


@contextmanager
def silent_stderr():
    """Redirect the file of standard error, if there is one, to the null device."""
    flush()
    try:
        saved = os.dup(2)
    except OSError:  # a program without a console
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def flush():
    """Flush standard error, if there is one."""
    if sys.stderr:
        sys.stderr.flush()


def display():
    """Return the `Display` of a job on this terminal."""
    from ..inference.jobs.file_segmentation import Display
    from ..progress import progress_bar

    return Display(partial(print, flush=True), waiting, progress_bar)


@contextmanager
def waiting(what):
    """Show a step that takes a while on a terminal, without the output of TensorFlow."""
    from rich.console import Console

    with Console().status(what), quiet():
        yield


def start_keras():
    """Import Keras and its backend without their greetings."""
    from ..networks.backend import check_backend

    check_backend()
    with quiet():
        import keras

        keras.ops.zeros(1)
    return keras
