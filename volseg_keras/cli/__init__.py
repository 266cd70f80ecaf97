"""The `volseg` command, one module per subcommand: parse, call one function, print."""

from .command import app, main

__all__ = ["app", "main"]
