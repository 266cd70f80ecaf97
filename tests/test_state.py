"""What is global stays as it was: loggers, warnings, streams, signals, Keras's configuration."""

import ast
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tifffile
from command import volseg
from networks import MAKE_SHALLOW, settled, shallow_networks

import volseg_keras
from volseg_keras import build_model, open_volume, phantom, save_volume
from volseg_keras.cli import command as cli
from volseg_keras.cli.terminal import quiet
from volseg_keras.networks.models import split_normalization, with_normalization
from volseg_keras.volumes.formats.tiff_checks import strict_tifffile

ROOT = Path(volseg_keras.__file__).parent
VOLSEG = [sys.executable, "-c", "from volseg_keras.cli import main; main()"]


def run(arguments, **options):
    """Run the command in a process of its own."""
    settings = options.pop("settings", {})
    env = {**os.environ, "PYTHONPATH": str(ROOT.parent), **settings}
    return subprocess.run(
        [*VOLSEG, *map(str, arguments)], capture_output=True, text=True, env=env, **options
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return save_volume(tmp_path_factory.mktemp("image") / "i.tif", phantom((16, 64, 64))[0])


def pages(path, count, lost=False):
    with tifffile.TiffWriter(path) as tif:
        for _ in range(count):
            page = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
            tif.write(page, contiguous=False, metadata=None, compression="zlib")
    if lost:
        with tifffile.TiffFile(path) as tif:
            cut = tif.pages[count // 2].offset
        os.truncate(path, cut)
    return path


def test_damage_of_one_thread_is_no_others(tmp_path):
    good, bad = pages(tmp_path / "good.tif", 30), pages(tmp_path / "bad.tif", 30, lost=True)
    wrong, stop = [], threading.Event()

    def read(path, fails):
        while not stop.is_set():
            try:
                open_volume(path)
                wrong.extend([f"{path.name} was read"] * fails)
            except ValueError as error:
                wrong.extend([str(error)] * (not fails))

    threads = [threading.Thread(target=read, args=(p, p == bad)) for p in (good, bad) * 2]
    for thread in threads:
        thread.start()
    time.sleep(2)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_tifffiles_logger_is_left_alone(caplog):
    logger = logging.getLogger("tifffile")
    before = logger.propagate, logger.level, list(logger.filters), list(logger.handlers)
    with pytest.raises(ValueError, match="corrupted"), strict_tifffile():
        logger.error("a corrupted page")
        other = threading.Thread(target=logger.error, args=("corrupted, says another thread",))
        other.start()
        other.join()
    assert before == (logger.propagate, logger.level, logger.filters, logger.handlers)
    assert [record.getMessage() for record in caplog.records] == ["corrupted, says another thread"]


def test_warnings_of_other_packages_stay_hidden(tmp_path):
    """In whatever folder they are installed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        with quiet():
            warnings.simplefilter("always", UserWarning)
            for file in (tmp_path / "volseg_keras/lib/other.py", ROOT / "volumes/formats/tiff.py"):
                warnings.warn_explicit(file.name, UserWarning, str(file), 1)
    assert [str(warning.message) for warning in caught] == ["tiff.py"]


def test_a_command_in_this_process_leaves_it_as_it_was(monkeypatch):
    def state():
        handlers = [signal.getsignal(number) for number in cli.SIGNALS]
        return warnings.formatwarning, sys.stdout, sys.stderr, handlers

    monkeypatch.setattr(sys, "stderr", None)
    before = state()
    assert volseg("evaluate", "nothing.tif", "nothing.tif") == 2
    assert state() == before


@pytest.mark.parametrize("closed", ["2>&-", "2>&- <&-", "2>&- >&- <&-"])
def test_a_program_without_a_console(closed, image, tmp_path):
    program = "from volseg_keras.cli import main; main()"
    command = f'exec "$0" -c "{program}" "$@" {closed}'
    env = {**os.environ, "PYTHONPATH": str(ROOT.parent)}

    def shell(*arguments):
        arguments = ["sh", "-c", command, sys.executable, *map(str, arguments)]
        return subprocess.run(arguments, capture_output=True, text=True, env=env)

    labels = tmp_path / "labels.tif"
    save_volume(labels, np.zeros((4, 8, 8), np.uint8))
    told = shell("evaluate", labels, labels, "--json", tmp_path / "scores.json")
    assert told.returncode == 0 and (tmp_path / "scores.json").stat().st_size > 20
    told = shell("evaluate", "nothing.tif", labels)
    assert told.returncode == 2
    assert ">&- <" in closed or "Received: nothing.tif" in told.stdout


@pytest.mark.parametrize(
    "config, settings, named",
    [
        ('{"backend": "theano"}', {}, "keras.json"),
        (
            '{"backend": "tensorflow"}',
            {"KERAS_BACKEND": "none_such"},
            "none_such, from KERAS_BACKEND",
        ),
        ("{}", {"KERAS_BACKEND": "openvino"}, "openvino, from KERAS_BACKEND"),
    ],
)
def test_a_backend_that_is_missing_is_one_line(config, settings, named, image, tmp_path):
    (tmp_path / "keras.json").write_text(config)
    settings = {"KERAS_HOME": str(tmp_path), **settings}
    for arguments in (
        ["predict", image, "-o", tmp_path / "l.tif"],
        ["export", "H", "-o", tmp_path / "h"],
    ):
        done = run(arguments, settings=settings)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert named in done.stderr and "KERAS_BACKEND=tensorflow" in done.stderr


CHANNELS_FIRST = """
import keras, numpy as np, sys, volseg_keras
assert keras.config.image_data_format() == "channels_first"
x = np.random.default_rng(0).random((1, 16, 16, 16, 1), dtype=np.float32)
from volseg_keras.networks.models import with_normalization
for name in ("C", "H", "U-Net", "A"):
    model = volseg_keras.build_model(name, in_channels=2)
    dims = len(model.inputs[0].shape) - 2
    y = np.broadcast_to(x[0, 0] if dims == 2 else x, (1,) + (16,) * dims + (2,))
    grey = with_normalization(model, [1.0, 2.0], [3.0, 4.0])
    found = np.asarray(grey(10 * y))
    want = np.asarray(model((10 * y - [1, 2]) / [3, 4]))
    assert found.shape == (1,) + (16,) * dims + (2,), found.shape
    np.testing.assert_allclose(found, want, atol=1e-3)
np.save(sys.argv[1], volseg_keras.predict_volume(sys.argv[4], sys.argv[2], engine="keras"))
assert keras.config.image_data_format() == "channels_first"
from volseg_keras.cli import main
sys.argv = ["volseg", "predict", sys.argv[2], "-o", sys.argv[3], "--model", sys.argv[5]]
main()
"""


@pytest.mark.slow
def test_channels_first_of_a_users_configuration(image, tmp_path):
    (tmp_path / "keras.json").write_text('{"image_data_format": "channels_first"}')
    settings = {"KERAS_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    env = {**os.environ, "PYTHONPATH": str(ROOT.parent), **settings}
    models = [tmp_path / f"{name}.keras" for name in ("H", "C")]
    with shallow_networks():
        for model in models:
            with_normalization(settled(model.stem), 130.0, 40.0).save(model)
    files = tmp_path / "p.npy", image, tmp_path / "l.tif", *models
    program = [sys.executable, "-c", MAKE_SHALLOW + CHANNELS_FIRST, *files]
    done = subprocess.run(program, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert files[2].is_file()
    want = volseg_keras.predict_volume(models[0], str(image), engine="keras")
    np.testing.assert_allclose(np.load(files[0]), want, atol=1e-4)


def test_text_is_written_and_read_in_one_encoding():
    """A locale decides where none is named; whole trees of results go from Windows to Linux."""
    found = []
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or any(k.arg == "encoding" for k in node.keywords):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            modes = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant)]
            modes += [k.value.value for k in node.keywords if k.arg == "newline"]
            plain = isinstance(node.func, ast.Name) and node.func.id == "open"
            text = plain and not any("b" in str(mode) for mode in modes)
            if text or name in ("read_text", "write_text"):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


@pytest.mark.parametrize("again", [False, True])
@shallow_networks()
def test_a_saved_model_can_be_cut_open(again, tmp_path):
    """The network and the whole have inputs of different names, as tools for saliency need."""
    model = with_normalization(build_model("C"), 120.0, 40.0)
    if again:  # as a file of an earlier version, trained on
        old = build_model("C")
        inputs = keras.Input(old.inputs[0].shape[1:], name="image")
        model = with_normalization(keras.Model(inputs, old(inputs), name="c"), 120.0, 40.0)
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    network, _ = split_normalization(model)
    names = [model.inputs[0].name, network.inputs[0].name]
    assert len(set(names)) == 2
    feature = network.layers[-2].output
    inner = keras.Model(network.inputs, [feature, network.outputs[0]])
    grey = np.random.default_rng(0).random((1, 32, 32, 1), dtype=np.float32) * 255
    found = inner([(grey - 120) / 40])[1]
    np.testing.assert_allclose(found, model(grey), atol=1e-3)


def left(folder):
    return sorted(p.name for p in folder.iterdir() if p.name[0] == "." or p.name[:6] == "volseg")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cleans_up_as_ctrl_c_does(number, tmp_path):
    grey = save_volume(tmp_path / "i.tif", phantom((48, 256, 256))[0])
    env = {**os.environ, "PYTHONPATH": str(ROOT.parent), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    (tmp_path / "out").mkdir()
    arguments = [*VOLSEG, "predict", grey, "-o", tmp_path / "out/l.tif", "--probability"]
    # Under nohup, which the tests may run under, processes ignore SIGHUP.
    heed = partial(signal.signal, number, signal.SIG_DFL)
    how = {"env": env, "stderr": subprocess.PIPE, "text": True, "preexec_fn": heed}
    process = subprocess.Popen(arguments, **how)
    end = time.time() + 120
    while not left(tmp_path / "out") and process.poll() is None and time.time() < end:
        time.sleep(0.002)
    process.send_signal(number)
    told = process.communicate()[1]
    assert not left(tmp_path / "out") and not left(tmp_path / "tmp")
    assert process.returncode == 128 + number and "--resume" in told.splitlines()[-1]


def test_a_signal_that_comes_while_an_object_is_finalised_is_not_lost():
    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)  # what it raises here, Python ignores

    saved = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with cli.ended_by_signals(), pytest.raises(SystemExit) as ended:
            Finalised()
            time.sleep(20)
    finally:
        signal.signal(signal.SIGTERM, saved)
    assert ended.value.code == 128 + signal.SIGTERM


def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    saved = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli.ended_by_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is cli.stop
    finally:
        signal.signal(signal.SIGHUP, saved)
