"""`volseg completion`."""

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """Shells with completion."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Name of the shell.")]):
    """Print a script that lets the Tab key complete commands and options.

    Example: volseg completion bash >> ~/.bashrc
    """
    from typer.completion import get_completion_script

    names = {"prog_name": "volseg", "complete_var": "_VOLSEG_COMPLETE"}
    print(get_completion_script(**names, shell=shell.value))
