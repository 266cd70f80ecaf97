"""What `volseg doctor` tells of whole and of broken installations; completion in a real shell."""

import configparser
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from shlex import quote

import numpy as np
import pytest
from packaging.requirements import Requirement

import volseg_keras
from volseg_keras.cli.export import FormatName
from volseg_keras.diagnosis.check import Check, attempt, section_checks
from volseg_keras.diagnosis.machine import size_of_files
from volseg_keras.diagnosis.packages import missing, versions
from volseg_keras.diagnosis.report import as_dict, default_engine_works, lines
from volseg_keras.extras import OPTIONAL

PACKAGE = str(Path(volseg_keras.__file__).parents[1])
MAIN = "from volseg_keras import cli; cli.main()"


def test_versions_are_those_of_the_modules():
    found = {check.name: check.text for check in versions()}
    assert found["volseg_keras"] == volseg_keras.__version__ and found["numpy"] == np.__version__
    assert found["python"] == sys.version.split()[0]


def test_optional_packages_are_those_of_the_extras():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[1] / "setup.cfg")
    extras = setup["options.extras_require"]
    for extra, (packages, _) in OPTIONAL.items():
        needs = [Requirement(line).name for line in extras[extra].split("\n") if line]
        assert tuple(name for name in needs if name != "volseg_keras") == packages


def test_what_is_missing_is_told_with_the_line_to_get_it(monkeypatch):
    monkeypatch.setitem(OPTIONAL, "cluster", (("numpy", "no-such-package"), "more"))
    monkeypatch.setitem(OPTIONAL, "less", (("numpy",), "less"))
    found = {check.name: check.text for check in missing()}
    assert found["more"] == "pip install dask distributed" and "less" not in found


def test_errors_are_a_line():
    broken = attempt("a", "b", json.loads, "\n", ok=True)
    assert broken.text.startswith("fails: JSONDecodeError: Expecting value") and broken.ok is False
    assert section_checks("a", lambda: json.loads("\n")) == [Check("a", "", broken.text, False)]


@pytest.mark.parametrize("package, ok", [("no_such_package", False), ("onnxruntime", None)])
def test_only_what_is_not_optional_fails_if_it_is_missing(package, ok):
    def look():
        raise ModuleNotFoundError(name=package)

    told = attempt("engines", package, look, ok=True)
    assert told == Check("engines", package, f"not installed: {package}", ok)


ROWS = [Check("a", "b", ["c", "d"], True), Check("a", "e", 1), Check("f", "", "nothing", False)]


def test_checks_are_lines_for_people_and_a_dict_for_json():
    told = [line.split() for line in lines(ROWS)]
    assert told == [["a", "b", "c,", "d"], ["e", "1"], ["f", "nothing"]]
    texts = {"a": {"b": ["c", "d"], "e": 1}, "f": "nothing"}
    assert as_dict(ROWS) == {**texts, "ok": {"a": {"b": True}, "f": False}}


@pytest.mark.parametrize("ok", [True, False, None])
def test_the_default_engine_decides(ok):
    others = [Check("engines", "keras", "works (1.0 s)", not ok), Check("a", "default", "b", True)]
    checks = [Check("engines", "default", "openvino", ok), *others]
    assert default_engine_works(checks) is (ok is True)
    assert not default_engine_works([Check("engines", "", "fails: ImportError: broken", False)])


def test_files_that_vanish_are_not_measured(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"12345")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # is listed, and then not there
    assert size_of_files(tmp_path) == 5 and size_of_files(tmp_path / "nowhere") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken, working",
    [
        (("openvino", "onnxruntime"), {"keras"}),
        (("keras", "psutil"), set()),
        (("onnxruntime",), {"default", "keras", "openvino"}),
    ],
)
def test_it_tells_what_works_where_packages_are_broken(broken, working, tmp_path):
    for name in broken:
        (tmp_path / f"{name}.py").write_text("raise ImportError('broken')")
    path = os.pathsep.join([str(tmp_path), PACKAGE])
    environment = {**os.environ, "VOLSEG_DATA": str(tmp_path), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "doctor", "--json"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == (0 if "default" in working else 1), done.stderr
    found = json.loads(done.stdout)
    ok = found.pop("ok")
    assert list(found) == ["versions", "system", "devices", "engines", "folders", "missing"]
    if working:
        assert {name for name, works in ok["engines"].items() if works} == working
        assert found["engines"].pop("default") == "openvino"
        for name in working - {"default"}:
            assert found["engines"].pop(name).startswith("works (")
        assert found["devices"]["Keras"][0] == "tensorflow"
        assert found["system"]["cores usable"] >= 1
    else:
        assert not any(ok["engines"].values())
        assert "fails: ImportError: broken" in str(found["system"])
    assert found["engines"] and "works" not in str(found["engines"])
    assert found["folders"]["data"] == f"{tmp_path} (has no lucchi_pp)"


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A function of the words of a command line to what bash completes the last one with."""
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    folder = tmp_path_factory.mktemp("bin")
    program, script = folder / "volseg", folder / "python" / "volseg"
    script.parent.mkdir()
    script.write_text(f"{MAIN}\n")
    # No "#!" of Python itself, whose path may have a space in it.
    program.write_text(f'#!/bin/sh\nexec {quote(sys.executable)} {quote(str(script))} "$@"\n')
    program.chmod(0o755)
    (folder / "volume.tif").touch()
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = PACKAGE
    script = """
    eval "$(volseg --show-completion)"
    complete -p volseg >&2
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _volseg_completion volseg
    printf '%s\\n' "${COMPREPLY[@]}"
    """

    def run(*words):
        done = subprocess.run(
            ["bash", "--norc", "-c", script, "bash", *words],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
            cwd=folder,
        )
        # Where nothing is completed, file names are.
        assert done.stderr.strip() == "complete -o default -F _volseg_completion volseg"
        return done.stdout.split()

    return run


@pytest.mark.parametrize(
    "words, expected",
    [
        (["volseg", "e"], {"evaluate", "export"}),
        (["volseg", "data", ""], {"epfl"}),
        (["volseg", "train", "--hold"], {"--hold-out"}),
        (["volseg", "data", "epfl", "--s"], {"--source"}),
        (["volseg", "export", "--format", ""], set(FormatName)),
        (["volseg", "predict", "vol"], set()),
    ],
)
def test_bash_completes(words, expected, complete):
    assert set(complete(*words)) == expected


@pytest.mark.parametrize(
    "shell, word", [("zsh", "#compdef volseg"), ("fish", "complete --command")]
)
def test_scripts_of_other_shells(shell, word):
    environment = {**os.environ, "_VOLSEG_COMPLETE": f"source_{shell}", "PYTHONPATH": PACKAGE}
    command = [sys.executable, "-c", f"import sys; sys.argv = ['volseg']; {MAIN}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert word in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)
