"""The command, run in the process of the tests."""

import sys

from volseg_keras import cli


def volseg(*arguments):
    """Run the command; returns its exit code."""
    saved, sys.argv = sys.argv, ["volseg", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code or 0
    finally:
        sys.argv = saved
    return 0
