"""Progress in a log: lines in place of a bar."""

import pytest

from volseg_keras.report import console


@pytest.mark.parametrize(
    "in_bytes, calls, told",
    [
        (False, [(0, 2000), (500, 2000)], ["work  0 of 2,000", "work  500 of 2,000  0:00:30 left"]),
        (False, [(7, None)], ["work  7"]),
        (True, [(1_000_000, 4_000_000)], ["work  1.0 MB of 4.0 MB  0:00:15 left"]),
    ],
)
def test_a_log_gets_lines(in_bytes, calls, told, monkeypatch, capsys):
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(console, "EVERY", 5)
    with console.progress_bar("work", in_bytes) as tell:
        for call in calls:
            tell(*call)
    assert capsys.readouterr().err.splitlines() == told


def test_it_is_silent_before_it_is_time(monkeypatch, capsys):
    with console.progress_bar("work") as tell:
        tell(1, 2)
    assert capsys.readouterr().err == ""
