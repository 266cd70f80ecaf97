import json
import os
import re
import subprocess
import sys
import time
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import imagecodecs
import numpy as np
import psutil
import pytest
import tifffile
from command import quick_recipe, volseg
from networks import shallow_networks

from volseg_keras import demo, open_volume, phantom, save_volume
from volseg_keras.cli import command as cli
from volseg_keras.cli.command import plain_warnings
from volseg_keras.cli.terminal import PACKAGE, quiet
from volseg_keras.demo import clear
from volseg_keras.export.formats import EXPORT_FORMATS
from volseg_keras.inference.engines.names import ENGINES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small files, good and bad, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("my data")
    image, label = phantom((32, 64, 96), seed=0)
    files = {
        "image": image,
        "label": label * np.uint8(255),
        "shorter": label[:-1],
        "background": label * 0,
        "thin": image[:8],
        "fractions": label / 3,
        "four": np.zeros((2, 3, 40, 50), np.uint8),
    }
    for name, array in files.items():
        tifffile.imwrite(folder / f"{name}.tif", array, photometric="minisblack")
    (folder / "text.tif").write_text("not an image")
    (folder / "file").touch()
    (folder / "a.csv").mkdir()
    (folder / "history.csv").write_text("step,loss\n25,much\n")
    return folder


def processor_seconds_of_children():
    """Return the time that processes which have ended computed, not that they waited for a core."""
    spent = psutil.Process().cpu_times()
    return spent.children_user + spent.children_system


def test_help_is_quick_and_needs_no_tensorflow():
    """Of any command line: hardly slower than one with a single command."""
    help_of = "import sys; {}; app(['--help'], standalone_mode=False)"
    ours = help_of.format("from volseg_keras.cli import app")
    ours += "; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    least = help_of.format("import typer; app = typer.Typer(); app.command()(lambda: None)")
    times = {ours: [], least: []}
    for _ in range(5):
        for code, seconds in times.items():
            before = processor_seconds_of_children()
            command = [sys.executable, "-c", code]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds.append(processor_seconds_of_children() - before)
            if code is ours:
                words = ("train", "predict", "evaluate", "export", "models")
                assert all(word in out for word in words)
    assert min(times[ours]) < 1.5 * min(times[least])


def test_every_command_has_an_example(capsys):
    commands = [c.name or c.callback.__name__ for c in cli.app.registered_commands]
    assert len(commands) > 8
    for command in (*commands, "data epfl"):
        assert volseg(*command.split(), "--help") == 0
        assert f"Example: volseg {command}" in capsys.readouterr().out


def test_models_prints_table_1(capsys):
    assert volseg("models") == 0
    out = capsys.readouterr().out
    counts = [word for word in out.split() if word.replace(".", "").isdigit()]
    assert counts[:9] == "36.97 1.68 1.68 0.60 0.60 4.94 4.94 0.63 0.63".split()


def test_models_lists_what_is_published_at_once():
    code = "import sys; from volseg_keras.cli import app; app(['models'], standalone_mode=False)"
    check = "; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    start = time.perf_counter()
    out = subprocess.run(
        [sys.executable, "-c", code + check],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "COLUMNS": "160"},
    )
    assert time.perf_counter() - start < 3  # a second alone
    (row,) = [line for line in out.stdout.splitlines() if " mito-2d " in line]
    assert "0.770" in row and "0.884" in row and "FIB-SEM and SBEM of brain tissue" in row
    assert "saved_models" in out.stdout


TRAINED = ("--train", "--minutes", 0.02)
TRAIN = ("train", "image.tif", "label.tif", "-o", "run", "--steps", "1", "--recipe", "fast")


def replaced(old, new):
    return tuple(new if argument == old else argument for argument in TRAIN)


@pytest.mark.parametrize(
    "arguments, told",
    [
        (replaced("image.tif", "missing.tif"), "missing.tif"),
        (replaced("label.tif", "missing.tif"), "missing.tif"),
        (replaced("image.tif", "four.tif"), "(z, y, x)"),
        (replaced("image.tif", "text.tif"), "text.tif"),
        (replaced("label.tif", "shorter.tif"), "(31, 64, 96)"),
        (replaced("label.tif", "background.tif"), "at least one object"),
        (replaced("label.tif", "fractions.tif"), "`label`"),
        ((*TRAIN, "--model", "Z"), "U-Net, A, B"),
        ((*TRAIN, "--model", "D", "--from", "H"), "model=D, from=H"),
        ((*TRAIN, "--recipe", "slow"), "paper, fast"),
        ((*TRAIN, "--hold-out", "x:5"), "x:0:"),
        ((*TRAIN, "--normalize", "128"), "MEAN,STD"),
        ((*TRAIN, "--normalize", "128,0"), "MEAN,STD"),
        ((*TRAIN, "--voxel-size", "0.04,0.006,0.006"), "multiply um by 1000"),
        ((*TRAIN, "--weights", "2,1"), "1 volumes"),
        ((*TRAIN, "--weights", "much"), "2,1"),
        ((*TRAIN[:2], *TRAIN[3:]), "1 files"),
        ((*TRAIN, "--validate", "image.tif"), "1 files"),
        ((*TRAIN, "--validate", "image.tif", "shorter.tif"), "(31, 64, 96)"),
        (replaced("run", "file/run"), "writable folder"),
        (("predict", "missing.tif", "-o", "out.tif"), "missing.tif"),
        (("predict", "four.tif", "-o", "out.tif"), "(z, y, x)"),
        (("predict", "image.tif", "-o", "file/out.tif"), "writable folder"),
        (("predict", "image.tif", "-o", "out.xyz"), ".tif"),
        (("predict", "image.tif", "-o", "image.tif"), "other than the input"),
        (("predict", "*.tif", "-o", "out.tif"), "outside its folder"),
        (("predict", "image.tif::a", "-o", "out.tif"), "FILE::NAME"),
        (("evaluate", "label.tif", "label.tif", "--image", "thin.tif"), "(8, 64, 96)"),
        (("export", "nothing", "-o", "."), "`path`"),
        (("demo", "-o", "."), "`output`"),
        (("demo", "-o", ".", "--train", "--minutes", "0.1"), "`output`"),
        (("demo", "--train", "--minutes", "0"), "`minutes`"),
        (("demo", "--minutes", "1"), "--train"),
        (("predict", "image.tif", "-o", "out.tif", "--model", "nothing"), "`model`"),
        (("predict", "image.tif", "-o", "out.tif", "--threshold", "2"), "`threshold`"),
        (("evaluate", "label.tif", "shorter.tif"), "(31, 64, 96)"),
        (("evaluate", "label.tif", "missing.tif"), "missing.tif"),
        (("train", "image.tif", "shorter.tif", "-o", "new"), "shorter.tif of shape (31, 64, 96)"),
        (("evaluate", "label.tif", "label.tif", "--json", "file/a.json"), "writable folder"),
        (("evaluate", "label.tif", "label.tif", "--json", "."), "Expected a file"),
        (("measure", "label.tif", "-o", "a.csv", "--voxel-size", "5,5,5"), "Expected a file"),
        (("report", "image.tif", "--labels", "label.tif", "-o", "r.html", "--run", "."), "loss"),
        (
            ("publish", "run", "--data", ".", "--voxel-size", "5,5,5", "-o", "mito-2d"),
            "--voxel-size",
        ),
        (("export", "nothing", "-o", "out"), "`model`"),
        (("export", "nothing", "-o", "out", "--format", "keras"), ".keras"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@shallow_networks()
def test_wrong_input_is_one_line_and_exit_code_2(arguments, told, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert volseg(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("volseg: Invalid value for `")
    assert told in lines[0]
    assert [p for p in sorted(folder.rglob("*")) if p.suffix] == [p for p in before if p.suffix]


@pytest.mark.parametrize(
    "command, option, names",
    [
        (("predict", "image.tif", "-o", "out.tif"), "--engine", ENGINES),
        (("export", "nothing", "-o", "out"), "--format", EXPORT_FORMATS),
    ],
)
def test_choices_are_those_of_the_library(command, option, names, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert volseg(*command, option, "abacus") == 2
    told = re.findall(r"'(\w+)'", capsys.readouterr().err)
    assert [name for name in told if name != "abacus"] == list(names)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--debug", "evaluate", "nothing.tif", "nothing.tif"),
        ("evaluate", "--debug", "nothing.tif", "nothing.tif"),
        ("evaluate", "nothing.tif", "nothing.tif", "--debug"),
    ],
)
def test_tracebacks_are_shown_on_demand(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert volseg(*arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("Traceback") and "nothing.tif" in told.splitlines()[-1]
    assert "volseg: " not in told


def test_the_switch_for_tracebacks_is_in_the_help(capsys):
    assert volseg("--help") == 0
    out = capsys.readouterr().out
    assert "--debug" in out and "Segment volumes with small convolutional networks" in out
    assert cli.without(["a", "--", "--debug"], "--debug") == (["a", "--", "--debug"], False)


def test_the_package_is_the_command_too():
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-m", "volseg_keras"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "predict" in done.stdout
    wrong = [*command, "evaluate", "nothing.tif", "nothing.tif"]
    done = subprocess.run(wrong, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stderr.startswith("volseg: Invalid value for ")


def test_scores_need_no_tensorflow_and_no_drawing(folder):
    code = "import sys; from volseg_keras.cli import app; app(sys.argv[1:], standalone_mode=False)"
    code += "; assert not {'tensorflow', 'matplotlib'} & set(sys.modules)"
    arguments = ["evaluate", folder / "label.tif", folder / "label.tif"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A run on two volumes, of which one has a held-out part, and two more to validate on."""
    pair, run = (folder / "image.tif", folder / "label.tif"), tmp_path_factory.mktemp("runs") / "h"
    arguments = ("--model", "H", "--steps", 3, "--seed", 2, "--weights", "2,1")
    arguments += ("--validate", *pair, "--hold-out", "x:0:32", "--hold-out", "none")
    with quick_recipe(), shallow_networks(), redirect_stdout(StringIO()) as told:
        line = ("train", *pair, *pair, "-o", run, *arguments, "--validate", *pair)
        assert volseg(*line) == 0
    assert "held-out Jaccard" in told.getvalue()
    return run


def test_training_on_several_volumes(run):
    about = json.loads((run / "metrics.json").read_text())
    assert about["weights"] == [2, 1] and about["hold_out"] == ["x:0:32", "none"]
    assert len(about["volumes"]) == 2 and len(about["held_out"]) == 3


@pytest.mark.parametrize(
    "typed, read",
    [
        ("a b --validate c d", "a b --validate c --validate d"),
        ("--validate c d --validate e f a b", "-V c -V d -V e -V f a b"),
        ("--validate c --validate d a b", "--validate c --validate d a b"),
        ("a b --validate c", "a b --validate c"),
        ("--validate c --steps 3", "--validate c --steps 3"),
    ],
)
def test_an_option_of_two_values_may_be_given_once_for_both(typed, read):
    want = read.replace("-V", "--validate").split()
    assert cli.in_pairs(typed.split(), "--validate") == want


def test_the_whole_road_after_training(run, folder, tmp_path, capsys):
    image, label = folder / "image.tif", folder / "label.tif"
    out, exported = tmp_path / "labels.tif", tmp_path / "saved"
    assert volseg("predict", image, "-o", out, "--model", run, "--probability") == 0
    probability = open_volume(tmp_path / "labels_probability.tif")[...]
    assert probability.dtype == np.float32 and 0 <= probability.min() <= probability.max() <= 1
    np.testing.assert_array_equal(open_volume(out)[...], probability >= 0.5)
    assert (tmp_path / "labels_overlay.png").is_file()

    assert volseg("export", run, "-o", exported) == 0
    again = tmp_path / "again.tif"
    assert volseg("predict", image, "-o", again, "--model", exported, "--threshold", 0.4) == 0
    differs = open_volume(again)[...] != (probability >= 0.4)
    assert differs[np.abs(probability - 0.4) > 0.01].mean() < 1e-3

    data, zarr = tmp_path / "data.h5", tmp_path / "labels.zarr"
    save_volume(data, open_volume(image)[...], voxel_size=(5, 5, 5))
    assert volseg("predict", f"{data}::/data", "-o", zarr, "--model", run) == 0
    np.testing.assert_array_equal(open_volume(zarr)[...], open_volume(out)[...])
    assert open_volume(zarr).voxel_size == (5, 5, 5)
    assert volseg("predict", f"{data}::/data", "-o", data, "--model", run) == 2
    assert "other than the input" in capsys.readouterr().err

    scores = tmp_path / "scores.json"
    assert volseg("evaluate", label, label, "--json", scores, "--image", image) == 0
    assert "100.0" in capsys.readouterr().out
    assert json.loads(scores.read_text())["voc"] == 1.0


def test_the_demonstration_replaces_only_its_own_folder(tmp_path):
    clear(tmp_path, ["image.tif", "savedmodel"])
    (tmp_path / "savedmodel").mkdir()
    for name in ("savedmodel/saved_model.pb", "image.tif", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "run").mkdir()  # trained on its image, by somebody else
    clear(tmp_path, ["image.tif"])
    assert {p.name for p in tmp_path.iterdir()} == {".volseg-demo", "notes.txt", "run"}
    with pytest.raises(FileExistsError, match="`output`.*run"):
        clear(tmp_path, ["image.tif", "run"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="`output`"):
        clear(tmp_path / "mine", ["image.tif"])
    assert Path(tmp_path / "mine" / "thesis.txt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, first, files", [((), [], []), (TRAINED, ["trained"], ["run/curve.png"])]
)
def test_the_demonstration_in_short(options, first, files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "TRAIN_SHAPE", (32, 64, 96))
    monkeypatch.setattr(demo, "TEST_SHAPE", (32, 96, 96))
    # What it trains; what it loads is a published network.
    with quick_recipe("demo"), shallow_networks():
        assert volseg("demo", "-o", tmp_path / "a demo", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = "phantom loaded predicted scored exported reloaded drawn".split()
    assert [line.split()[0] for line in lines if line[:4] not in ("", "step")] == first + steps
    for name in ("overlay.png", "labels.tif", "savedmodel/saved_model.pb", *files):
        assert (tmp_path / "a demo" / name).is_file()
    jaccard = re.search(r"Jaccard (0\.\d+)", "".join(lines))
    assert options or float(jaccard[1]) > 0.6


def lines(*spans, dtype=np.uint8):
    """A thin volume with labels `(label, start, stop)` along x."""
    labels = np.zeros((4, 4, 24), dtype)
    for label, start, stop in spans:
        labels[..., start:stop] = label
    return labels


def test_evaluate_writes_where_it_draws_only(tmp_path, capsys):
    truth, prediction = lines((1, 0, 8), (255, 8, 16)), lines((1, 0, 10))
    save_volume(tmp_path / "a.h5", prediction)
    save_volume(tmp_path / "truth.tif", truth)
    save_volume(tmp_path / "image.tif", truth)
    before = set(tmp_path.iterdir())
    arguments = "evaluate", f"{tmp_path / 'a.h5'}::/data", tmp_path / "truth.tif"
    assert volseg(*arguments) == 0 and set(tmp_path.iterdir()) == before
    assert volseg(*arguments, "--image", tmp_path / "image.tif") == 0
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"a_scores.png"}


def test_evaluate_draws_beside_slices_not_among_them(tmp_path, monkeypatch):
    truth = lines((1, 0, 8), (255, 8, 16))
    save_volume(tmp_path / "truth.tif", truth)
    (tmp_path / "pred").mkdir()
    for z, page in enumerate(truth):
        imagecodecs.imwrite(tmp_path / "pred" / f"{z}.png", page)
    monkeypatch.chdir(tmp_path / "pred")
    for prediction in (tmp_path / "pred", tmp_path / "pred" / "*.png", "*.png", "."):
        before = set(tmp_path.rglob("*"))
        arguments = tmp_path / "truth.tif", "--image", tmp_path / "truth.tif"
        assert volseg("evaluate", prediction, *arguments) == 0
        drawn = tmp_path / "pred_scores.png"
        assert set(tmp_path.rglob("*")) - before == {drawn}
        drawn.unlink()


def test_what_this_package_warns_of_while_it_starts_is_shown(capfd):
    with pytest.warns(UserWarning, match="of ours") as found, quiet():
        os.write(2, b"of a library")
        warnings.warn_explicit("of ours", UserWarning, str(PACKAGE / "a.py"), 1)
        warnings.warn_explicit("of theirs", UserWarning, "keras/a.py", 1)
    assert len(found) == 1 and "library" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "truth, prediction, told, counts, f1, jaccard",
    [
        (  # masks: components
            lines((255, 0, 8), (255, 10, 20)),
            lines((1, 0, 8), (1, 10, 19), (1, 22, 24)),
            ("connected components", "connected components"),
            (2, 3),
            0.8,
            17 / 20,
        ),
        (  # ids that touch, and a mask that joins them
            lines((7, 0, 8), (900, 8, 20), dtype=np.uint32),
            lines((1, 0, 20)),
            ("ids as they are", "connected components"),
            (2, 1),
            2 / 3,
            1,
        ),
        (  # what is not annotated does not count
            lines((1, 0, 8), (255, 8, 16), (1, 16, 24)),
            lines((3, 0, 8), (4, 9, 14), (5, 16, 24), dtype=np.uint16),
            ("connected components", "ids as they are"),
            (2, 2),
            1,
            1,
        ),
        (  # ids of 64 bits that floats take for one
            lines((2**60, 0, 8), (2**60 + 1, 8, 20), dtype=np.uint64),
            lines((1, 0, 8), (2, 8, 20), dtype=np.uint16),
            ("ids as they are", "ids as they are"),
            (2, 2),
            1,
            1,
        ),
    ],
)
def test_evaluate_instances(truth, prediction, told, counts, f1, jaccard, tmp_path, capsys):
    files = tmp_path / "prediction.tif", tmp_path / "truth.tif"
    for path, labels in zip(files, (prediction, truth), strict=True):
        save_volume(path, labels)
    assert volseg("evaluate", *files, "--instances", "--json", tmp_path / "s.json") == 0
    out = capsys.readouterr().out
    assert f"truth: {told[0]}; of the prediction: {told[1]}" in out
    assert f"{counts[0]} true and {counts[1]} predicted instances" in out
    scores = json.loads((tmp_path / "s.json").read_text())
    found = scores["instances"]
    assert (found["true"], found["predicted"]) == counts
    assert found["matches"][0]["f1"] == pytest.approx(f1)
    assert scores["classes"][1]["jaccard"] == pytest.approx(jaccard)


def test_a_warning_is_shown_once():
    with plain_warnings():
        texts = ("one\nthing", "another", "one\nthing")
        shown = [warnings.formatwarning(text, UserWarning, "file.py", 1) for text in texts]
    assert shown == ["warning: one thing\n", "warning: another\n", ""]
