"""`volseg completion`."""

import os
from enum import StrEnum
from typing import Annotated

import typer

VARIABLE = "_VOLSEG_COMPLETE"


class Shell(StrEnum):
    """Shells that complete."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Of which shell.")]):
    """Print a script that lets the Tab key complete commands and options.

    Example: volseg completion bash >> ~/.bashrc
    """
    from typer.completion import get_completion_script

    script = get_completion_script(prog_name="volseg", complete_var=VARIABLE, shell=shell.value)
    print(script)


def enable():
    """Answer the shell where it asks for completions."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init

        completion_init()
