"""What the commands show on a terminal."""

from contextlib import contextmanager

from rich.console import Console
from rich.progress import DownloadColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table


def print_table(header, rows):
    """Print rows of strings under a header."""
    table = Table()
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i in (0, len(header) - 1) else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


@contextmanager
def progress_bar(what, in_bytes=False):
    """Show tiles, or bytes, done and time left; yields `on_tile(done, total)`."""
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (*Progress.get_default_columns()[:3], count, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
