"""The `volseg` command."""

import os
import sys
import warnings

import typer

from .commands.evaluate import evaluate
from .commands.export import export
from .commands.measure import measure
from .commands.predict import predict
from .commands.train import demo, models, train

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

app = typer.Typer(
    help="Segment volumes with small convolutional networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, models, train, predict, evaluate, measure, export):
    app.command()(command)


def main():
    """Run the command; wrong input is one line and exit code 2."""
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"volseg: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
