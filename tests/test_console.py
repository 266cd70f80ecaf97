"""Tables on a terminal."""

import pytest

from volseg_keras.report.console import print_table


@pytest.mark.parametrize("note, columns", [("", 2), ("all-foreground baseline: 0.600", 3)])
def test_notes_have_a_column_if_there_are_any(note, columns, capsys):
    """As those on models to start a training from."""
    print_table(("start", "threshold", ""), [("H", "0.50", ""), ("E", "0.40", note)])
    told = capsys.readouterr().out
    assert all(line.count("│") == columns + 1 for line in told.splitlines() if "0.50" in line)
    assert "│      0.50 │" in told and note in told
