"""Tables that the commands show on a terminal."""

from rich.console import Console
from rich.table import Table


def print_table(header, rows):
    """Print rows of strings under a header."""
    table = Table()
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i in (0, len(header) - 1) else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
