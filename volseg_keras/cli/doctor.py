"""`volseg doctor`."""

import json
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Show what is installed, what works here, and how to install what is missing.

    The exit code is 1 if the default engine fails.

    Example: volseg doctor
    """
    from rich.console import Console

    from ..diagnosis.report import as_dict, default_engine_works, diagnose, lines
    from .terminal import quiet

    with Console().status("trying the engines"), quiet():
        checks = diagnose()
    print(json.dumps(as_dict(checks), indent=2) if as_json else "\n".join(lines(checks)))
    if not default_engine_works(checks):
        raise typer.Exit(1)
