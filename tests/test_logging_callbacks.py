import pytest

from volseg_keras.training.loop import logging_callbacks
from volseg_keras.training.loop.callbacks import Budget
from volseg_keras.training.loop.logging_callbacks import Progress


class Clock:
    """Stands in for the module `time`."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(logging_callbacks, "time", clock)
    return clock


def test_the_time_left_of_a_resumed_run_is_that_of_its_present_speed(clock, capsys):
    budget = Budget(max_steps=1000, max_seconds=None, step=500, spent=1e6)  # days, mostly suspended
    progress = Progress(budget)
    progress.on_train_begin()
    logs = {"loss": 1.0, "jaccard": 0.5, "mvoxel_per_s": 3.0}
    lines = []
    for seconds in (90, 50, 50, 50, 7200, 50):  # tracing, and a night's pause
        clock.now, budget.step = clock.now + seconds, budget.step + 25
        progress.on_epoch_end(0, logs)
        lines.append(capsys.readouterr().out.split()[-2])
    assert lines[0] == "28:30" and lines[-1] == "11:40"


def test_the_time_left_of_a_budget_in_minutes(clock):
    progress = Progress(Budget(max_steps=None, max_seconds=600, step=5, spent=470))
    progress.on_train_begin()
    assert progress.time_left() == "  2:10 left"


def test_the_time_left_within_the_first_epoch(clock):
    budget = Budget(max_steps=100, max_seconds=None)
    progress = Progress(budget)
    progress.on_train_begin()
    assert progress.time_left() == ""
    clock.now, budget.step = 80, 1  # compiled within the first step
    progress.on_train_batch_end(0)
    assert progress.time_left() == ""
    clock.now, budget.step = 88, 5
    progress.on_train_batch_end(4)
    assert progress.time_left() == "  3:10 left"
