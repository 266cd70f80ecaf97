"""The `volseg` command."""

import os
import signal
import sys
import threading
import traceback
import warnings
from contextlib import contextmanager, suppress
from functools import partial
from typing import Annotated

import typer

from .data import epfl
from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .measure import measure
from .models import models
from .predict import predict
from .publish import publish
from .report import report
from .reproduce import reproduce
from .suggest import suggest
from .train import train
from .view import view

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# Exit codes of Typer at Ctrl-C, and of this program at a signal.
INTERRUPTED = (130, *(128 + number for number in SIGNALS))

app = typer.Typer(
    help="Segment volumes with small convolutional networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
):
    """Show the option in the help; `main` accepts it anywhere."""


for command in (
    demo,
    models,
    train,
    suggest,
    predict,
    evaluate,
    measure,
    report,
    view,
    export,
    publish,
    reproduce,
    doctor,
):
    app.command()(command)
data = typer.Typer(help="Get public volumes.", no_args_is_help=True)
data.command()(epfl)
app.add_typer(data, name="data")


def main():
    """Run the command; expected errors print one line and exit with code 2."""
    arguments, debug = without(sys.argv[1:], "--debug")
    sys.argv[1:] = in_pairs(arguments, "--validate")
    try:
        with standard_streams(), plain_warnings(), ended_by_signals():
            run(debug)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream and stream.flush()


def run(debug=False):
    """Run the command and exit with its code; errors are one line, or a traceback."""
    try:
        app()
    except (ValueError, OSError, FloatingPointError, ImportError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        elif isinstance(error, ImportError):
            print_error(f"{error}: a package is missing; see `volseg doctor`")
        else:
            print_error(error)
        sys.exit(1 if isinstance(error, FloatingPointError) else 2)
    except SystemExit as stop:
        if stop.code in INTERRUPTED:
            if sys.stdout.isatty():
                print()  # after a line of progress
            print_error(
                "interrupted. Resume `train`, or `predict` of a large volume, with --resume; "
                "repeat `reproduce`"
            )
        raise


def without(arguments, switch):
    """Return arguments without a switch, and whether it was there; those after -- are kept."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != switch]
    return kept + arguments[end:], len(kept) < end


def in_pairs(arguments, option):
    """Return a command line in which an option of two values is repeated for the second.

    Typer has no repeatable options of two values.
    """
    spread, waiting = [], 0  # number of values that still belong to the option
    for argument in arguments:
        if argument == option:
            waiting = 2 if waiting != 1 else 1
        elif waiting == 1 and spread[-2:-1] == [option] and not argument.startswith("-"):
            spread.append(option)
            waiting = 0
        elif waiting:
            waiting -= 1
        spread.append(argument)
    return spread


def print_error(error):
    """Print an error as one line."""
    print(f"volseg: {' '.join(str(error).split())}", file=sys.stderr)


@contextmanager
def plain_warnings():
    """Show warnings as one line, and each of them once."""
    saved, warnings.formatwarning = warnings.formatwarning, PlainWarnings()
    try:
        yield
    finally:
        warnings.formatwarning = saved


class PlainWarnings:
    """Formats warnings; a repeated one is an empty string."""

    def __init__(self):
        self._shown = set()

    def __call__(self, message, *_, **__):
        """Return the line of a warning."""
        line = f"warning: {' '.join(str(message).split())}\n"
        if line in self._shown:
            return ""
        self._shown.add(line)
        return line


@contextmanager
def standard_streams():
    """Provide standard streams if a program without a console runs the command.

    Errors go to standard output if there is only that. Closed file numbers are occupied, so that no
    other file gets them, since libraries write to these numbers.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    saved = sys.stdout, sys.stderr
    nowhere = None
    if None in saved:
        nowhere = open(os.devnull, "w", encoding="utf-8")
        sys.stdout = saved[0] or nowhere
        sys.stderr = saved[1] or sys.stdout
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stream of another kind
            stream.reconfigure(errors="backslashreplace")  # names that a console cannot write
    try:
        yield
    finally:
        sys.stdout, sys.stderr = saved
        if nowhere:
            nowhere.close()


@contextmanager
def ended_by_signals():
    """Let a queue (`scancel`), `docker stop` or a closed terminal end a command like Ctrl-C.

    It then removes its unfinished files. A signal that is ignored, as with `nohup`, stays ignored.
    """
    saved, hook = {}, sys.unraisablehook
    sys.unraisablehook = partial(repeat_lost_stop, hook)
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                saved[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in saved.items():
            signal.signal(number, handler)


def stop(number, frame):
    """Exit with the code of a shell for a signal."""
    raise SystemExit(128 + number)


def repeat_lost_stop(hook, lost):
    """Repeat a signal that Python lost, as it came while an object was finalised.

    Args:
        hook: the `sys.unraisablehook` for all other exceptions.
        lost: its argument.
    """
    code = getattr(lost.exc_value, "code", None)
    numbers = [number for number in SIGNALS if code == 128 + number]
    if not numbers:
        hook(lost)
    for number in numbers:
        threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
