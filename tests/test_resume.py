"""Runs that are stopped, gone on with, or finished already."""

import json
import shutil
from dataclasses import replace
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
from runs import (
    IMAGE,
    LABEL,
    OPTIONS,
    quick_recipes,
    read,
    run,
    small_network,
    stopped_at,
    tiny_network,
)

from volseg_keras import fit, load_pretrained
from volseg_keras.training.loop import checkpoint
from volseg_keras.training.loop.checkpoint import Checkpoint
from volseg_keras.training.recipes import RECIPES


@pytest.fixture(autouse=True, scope="module")
def recipes():
    with quick_recipes():
        yield


def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path):
    """Its weights are averaged, and trained as the network predicts in the end."""
    whole, _ = run(tmp_path / "whole", 16, small_network(), recipe="settling")
    with stopped_at(10):
        run(tmp_path / "broken", 16, small_network(), recipe="settling")
    assert [int(r["step"]) for r in read(tmp_path / "broken")] == [4, 8]
    again, _ = run(tmp_path / "broken", 16, small_network(), recipe="settling", resume=True)
    assert [int(r["step"]) for r in read(tmp_path / "broken")] == [4, 8, 12, 16]
    for one, other in zip(whole.weights, again.weights, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-5, err_msg=one.path)
    one, other = load_pretrained(tmp_path / "whole"), load_pretrained(tmp_path / "broken")
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_checkpoints_are_written_by_time_after_validation_and_at_the_end(tmp_path, monkeypatch):
    written, write = [], Checkpoint.write

    def counted(self):
        if self.state is not None:
            written.append(self.state[0]["step"])
        write(self)

    monkeypatch.setattr(Checkpoint, "write", counted)
    run(tmp_path / "slow", 20, hold_out=None, steps_per_epoch=5)
    assert written == [20]
    written.clear()
    run(tmp_path / "validated", 20, steps_per_epoch=2)
    assert written == list(range(2, 21, 2))
    written.clear()
    monkeypatch.setattr(checkpoint, "CHECKPOINT_EVERY", 0)
    run(tmp_path / "timely", 3, hold_out=None, steps_per_epoch=1)
    assert written == [1, 2, 3]


def test_an_interruption_loses_no_epoch_that_was_over(tmp_path):
    with stopped_at(10, SystemExit(143)):
        run(tmp_path, 16, hold_out=None)
    with h5py.File(tmp_path / "checkpoint.h5") as file:
        assert file.attrs["step"] == 8


def test_weights_that_the_last_step_ruined_are_not_kept(tmp_path, monkeypatch):
    """The loss of a step is that of the weights before it."""
    monkeypatch.setitem(RECIPES, "quick", replace(RECIPES["quick"], rate={3: 1e39}))
    with pytest.raises(FloatingPointError, match="at step 1. "):
        run(tmp_path, 4, steps_per_epoch=1)
    assert not {"checkpoint.h5", "model.keras"} & {path.name for path in tmp_path.iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of four steps that has ended, its network and its summary."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, *run(folder, 4)


@pytest.fixture
def ended(finished, tmp_path):
    """A copy of its folder."""
    return shutil.copytree(finished[0], tmp_path / "run")


def test_a_finished_run_resumes_to_itself(finished, ended):
    _, model, first = finished
    files = {path.name: path.stat().st_mtime_ns for path in ended.iterdir()}
    again, second = run(ended, 4, resume=True)
    assert second["steps"] == 4 and second == json.loads(json.dumps(first))
    assert {path.name: path.stat().st_mtime_ns for path in ended.iterdir()} == files
    (ended / "metrics.json").unlink()  # as where it was killed before it told anything
    _, third = run(ended, 4, resume=True)
    assert third == second and (ended / "metrics.json").is_file()
    for name in ("metrics.json", "model.keras"):  # before it scored its held-out part
        (ended / name).unlink()
    assert run(ended, 4, resume=True)[1]["steps"] == 4
    assert load_pretrained(ended).count_params() == model.count_params()
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("changes", [{"seed": 1}, {"hold_out": "x:0:40"}, {"recipe": "settling"}])
def test_a_run_resumes_with_its_own_arguments_only(changes, ended):
    with pytest.raises(ValueError, match="`resume`"):
        run(ended, 8, resume=True, **changes)


def test_a_run_does_not_go_on_with_other_labels(ended):
    others = np.roll(LABEL, 1, axis=0)
    with pytest.raises(ValueError, match="`resume`.*the same volumes; or a new folder"):
        fit(tiny_network(), IMAGE, others, output=ended, **OPTIONS, steps=8, resume=True)


def test_a_larger_budget_is_validated_again(ended, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            "volseg_keras.training.fit_network.calibrate_saved", Mock(side_effect=KeyboardInterrupt)
        )
        run(ended, 8, resume=True)
    # What was chosen for other weights is not told of these.
    assert not (ended / "metrics.json").exists()
    (ended / "metrics.json").write_text("{}")
    with monkeypatch.context() as patch, pytest.raises(FloatingPointError):
        patch.setattr("math.isfinite", lambda _: False)
        run(ended, 12, resume=True)
    assert (ended / "metrics.json").exists()  # with the weights that it is of
    _, summary = run(ended, 8, resume=True)
    assert summary["steps"] == 8 and read(ended)[-1]["val_jaccard"]


def test_a_run_that_never_reached_a_checkpoint_resumes_from_its_start(finished, tmp_path, capsys):
    _, summary = run(tmp_path / "run", 4, resume=True)
    assert summary["steps"] == 4 and "No checkpoint" in capsys.readouterr().out
    whole = finished[2]["held_out_jaccard"]
    assert summary["held_out_jaccard"] == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize(
    "name, resume", [("checkpoint.h5", False), ("metrics.json", True), ("model.keras", False)]
)
def test_a_run_is_not_overwritten(name, resume, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(FileExistsError, match="`output`"):
        run(tmp_path, 4, resume=resume)


def test_a_stack_of_images_is_not_mixed_with_a_run(tmp_path):
    sections = [tmp_path / f"section{number}.png" for number in range(3)]
    for section in sections:
        section.touch()
    with pytest.raises(FileExistsError, match="`output`.*a stack of images"):
        run(tmp_path, 4)
    assert sorted(tmp_path.iterdir()) == sections
