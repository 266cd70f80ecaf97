"""The `volseg` command."""

import os
import sys
import warnings

import typer

from .commands.completion import completion, enable
from .commands.data import epfl
from .commands.doctor import doctor
from .commands.evaluate import evaluate
from .commands.export import export
from .commands.measure import measure
from .commands.predict import predict
from .commands.publish import publish
from .commands.report import report
from .commands.reproduce import reproduce
from .commands.train import demo, models, train
from .commands.view import view

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# What Typer exits with at Ctrl-C.
INTERRUPTED = 130

app = typer.Typer(
    help="Segment volumes with small convolutional networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo,
    models,
    train,
    predict,
    evaluate,
    measure,
    report,
    view,
    export,
    publish,
    reproduce,
    doctor,
    completion,
):
    app.command()(command)
data = typer.Typer(help="Get public volumes.", no_args_is_help=True)
data.command()(epfl)
app.add_typer(data, name="data")


def main():
    """Run the command; what goes wrong is one line: wrong input or a full disk exit code 2."""
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    enable()
    sys.argv[1:] = in_pairs(sys.argv[1:], "--validate")
    try:
        app()
    except (ValueError, OSError) as error:
        sys.exit(told(error, 2))
    except FloatingPointError as error:
        sys.exit(told(error, 1))
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            go_on = "`train` and `predict` go on with --resume, `reproduce` by the same command"
            told(f"interrupted. {go_on}", INTERRUPTED)
        raise


def in_pairs(arguments, option):
    """Return a command line in which an option of two values is given once for each of them.

    Typer knows no option that is repeatable and takes two values.
    """
    spread = list(arguments)
    places = [i for i, argument in enumerate(spread) if argument == option]
    for i in reversed(places):
        if i + 2 < len(spread) and not spread[i + 2].startswith("-"):
            spread.insert(i + 2, option)
    return spread


def told(error, code):
    """Print an error as one line and return its exit code."""
    print(f"volseg: {' '.join(str(error).split())}", file=sys.stderr)
    return code
