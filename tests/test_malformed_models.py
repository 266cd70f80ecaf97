"""Damaged and hostile models: one line that names the file, and no code of theirs runs."""

import shutil
import zipfile

import keras
import numpy as np
import pytest
from networks import shallow_networks

from volseg_keras import build_model, load_pretrained
from volseg_keras.export.export_model import describe
from volseg_keras.export.runtimes import ExportSource, ReferenceVector, write_savedmodel
from volseg_keras.inference.open_model import open_model
from volseg_keras.inference.options import PredictionOptions
from volseg_keras.networks.models import with_normalization


def lambda_model(path):
    inputs = keras.Input((None, None, None, 1))
    layer = keras.layers.Lambda(lambda x: __import__("os").mkdir("executed") or x)
    layer.compute_output_shape = lambda shape: shape
    layer.call = lambda x: x
    keras.Model(inputs, layer(inputs)).save(path)


def traversing_model(path):
    with zipfile.ZipFile(path, "w") as bundle:
        for name in ("config.json", "../escaped", "/escaped", "assets/../../escaped"):
            bundle.writestr(name, "{}")


def model_zip(**files):
    def write(path):
        with zipfile.ZipFile(path, "w") as bundle:
            for name, text in files.items():
                bundle.writestr(name.replace("_", "."), text)

    return write


MODELS = {
    "a Lambda layer": lambda_model,
    "path traversal": traversing_model,
    "empty": lambda path: path.touch(),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "no JSON": model_zip(config_json="{", metadata_json="{}"),
    "another class": model_zip(
        metadata_json="{}",
        config_json='{"module": "os", "class_name": "mkdir", "config": {"path": "executed"}}',
    ),
}


STANDARDISED = PredictionOptions(normalization=(0, 1))


@pytest.fixture(scope="module")
def network():
    with shallow_networks():
        return with_normalization(build_model("H"), 120.0, 30.0)


@pytest.mark.filterwarnings("ignore:predicting by Keras")
@pytest.mark.parametrize("opened", [load_pretrained, open_model])
@pytest.mark.parametrize("kind", [*MODELS, "cut"])
def test_models_that_are_damaged_or_run_code(kind, opened, network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a model" / "v.keras"
    path.parent.mkdir()
    if kind == "cut":
        network.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        MODELS[kind](path)
    with pytest.raises(ValueError, match="Invalid value for `model`.*v.keras") as error:
        opened(path)
    assert len(str(error.value).splitlines()) == 1
    assert not [*tmp_path.rglob("executed"), *tmp_path.rglob("escaped")]


@pytest.fixture(scope="module")
def savedmodel(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "a savedmodel"
    source = ExportSource(network, [ReferenceVector(np.zeros(1), np.zeros(1))])
    write_savedmodel(source, path)
    describe(source, path)
    return path


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize(
    "file, engine",
    [
        ("saved_model.pb", "keras"),
        ("saved_model.pb", "openvino"),
        ("variables/variables.index", "keras"),
        ("variables/variables.data-00000-of-00001", "openvino"),
        ("assets.extra/volseg.json", "keras"),
    ],
)
def test_savedmodels_that_lack_files_or_parts(file, engine, share, savedmodel, tmp_path):
    image = np.zeros((16, 32, 32), np.uint8)
    path = shutil.copytree(savedmodel, tmp_path / "v")
    raw = (path / file).read_bytes()
    (path / file).write_bytes(raw[: len(raw) // 2]) if share else (path / file).unlink()
    with pytest.raises(ValueError, match="Invalid value for `model`") as error:
        open_model(path, engine).prepare(image, STANDARDISED).start()
    assert str(path) in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_whole_savedmodel_opens(savedmodel):
    image = np.zeros((16, 32, 32), np.uint8)
    assert open_model(savedmodel, "keras").prepare(image, STANDARDISED).engine
