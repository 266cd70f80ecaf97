"""Tables that commands print on the terminal."""

from rich.console import Console
from rich.table import Table


def print_table(header, rows):
    """Print rows of strings under a header; an empty column without a name is left out."""
    table, last = Table(), len(header) - 1
    shown = [i for i, name in enumerate(header) if name or any(row[i] for row in rows)]
    for i in shown:
        table.add_column(header[i], justify="left" if i in (0, last) else "right")
    for row in rows:
        table.add_row(*(row[i] for i in shown))
    Console().print(table)
