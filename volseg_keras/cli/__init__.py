"""The `volseg` command, one module a subcommand: parse, call one function, print."""

from .command import app, main

__all__ = ["app", "main"]
