"""Progress in a log: lines in place of a bar."""

import pytest

from volseg_keras import progress


@pytest.mark.parametrize(
    "in_bytes, calls, told",
    [
        (False, [(0, 2000), (500, 2000)], ["work  0 of 2,000", "work  500 of 2,000  0:00:15 left"]),
        (False, [(7, None)], ["work  7"]),
        (
            True,
            [(0, 4e6), (1e6, 4e6)],
            ["work  0 bytes of 4.0 MB", "work  1.0 MB of 4.0 MB  0:00:15 left"],
        ),
        # An earlier run had done 900: two in five seconds leave 98 for four minutes.
        (
            False,
            [(900, 1000), (902, 1000)],
            ["work  900 of 1,000", "work  902 of 1,000  0:04:05 left"],
        ),
    ],
)
def test_a_log_gets_lines(in_bytes, calls, told, monkeypatch, capsys):
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "EVERY", 5)
    with progress.progress_bar("work", in_bytes) as on_progress:
        for call in calls:
            on_progress(*call)
    assert capsys.readouterr().err.splitlines() == told


def test_it_is_silent_before_it_is_time(monkeypatch, capsys):
    with progress.progress_bar("work") as on_progress:
        on_progress(1, 2)
    assert capsys.readouterr().err == ""


def test_a_program_with_a_window_shows_it_itself(capsys):
    told = []
    with (
        progress.shown_by(lambda *what: told.append(what)),
        progress.progress_bar("work") as on_progress,
    ):
        on_progress(1, 2)
    with pytest.raises(RuntimeError), progress.shown_by(stop), progress.progress_bar("work"):
        pass
    with progress.progress_bar("work"):  # it does not listen any more
        pass
    assert told == [("work", 0, None), ("work", 1, 2)] and capsys.readouterr().err == ""


def stop(what, done, total):
    raise RuntimeError(what)
