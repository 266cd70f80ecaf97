import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import settled, shallow_networks
from tifffile import imread

from volseg_keras import (
    export_model,
    export_savedmodel,
    load_pretrained,
    phantom,
    predict_volume,
)
from volseg_keras.export.export_model import RUNTIMES, checked_difference, vectors_of
from volseg_keras.export.formats import EXPORT_FORMATS
from volseg_keras.export.runtimes import TOLERANCE
from volseg_keras.inference.open_model import open_model
from volseg_keras.networks.blocks import activation, input_block, residual_block, transposed
from volseg_keras.networks.models import softmax, with_normalization
from volseg_keras.pretrained.prediction_defaults import PredictionDefaults
from volseg_keras.pretrained.stored_facts import StoredFacts
from volseg_keras.volumes.intensity import IntensityStatistics

ELSEWHERE = """
import sys, numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1] + "/savedmodel")
np.save(sys.argv[3], loaded.serve(np.load(sys.argv[2]))["probability"].numpy())
assert "volseg_keras" not in sys.modules
"""
FRESH = """
model = keras.models.load_model(sys.argv[1] + "/model.keras")
assert model.layers[-1].layers[-1].name == "probability"
"""


@pytest.fixture(scope="module")
def model():
    with shallow_networks():
        return with_normalization(settled("H"), 130.0, 40.0, 1.2)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved models")
    model.save(folder / "model.keras")
    export_savedmodel(model, folder / "savedmodel")
    return folder


def agree_everywhere(model, saved, crop, serve):
    batch = crop[None, ..., None].astype(np.float32)
    want = np.asarray(model(batch, training=False))
    again = keras.saving.load_model(saved / "model.keras")
    np.testing.assert_allclose(np.asarray(again(batch)), want, atol=1e-5)
    np.testing.assert_allclose(serve(batch), want, atol=1e-5)


@pytest.mark.parametrize(
    "imports",
    [
        "import keras, volseg_keras",
        "import volseg_keras; volseg_keras.VARIANTS; import keras",  # what needs no Keras, first
    ],
)
def test_all_forms_agree_where_this_package_is_not_imported(imports, model, saved, tmp_path):
    """And then is, before or after Keras: what Keras alone does with a model of ours."""

    def serve(batch):
        np.save(tmp_path / "in.npy", batch)
        code = f"{ELSEWHERE}{imports}{FRESH}"
        arguments = [sys.executable, "-c", code, saved, tmp_path / "in.npy", tmp_path / "out.npy"]
        subprocess.run(arguments, check=True, cwd=tmp_path)
        return np.load(tmp_path / "out.npy")

    agree_everywhere(model, saved, phantom((16, 32, 32), seed=3)[0], serve)


def test_all_forms_agree_on_a_real_crop(model, saved, real_data):
    crop = imread(real_data / "training.tif", key=range(40, 56))[:, :64, :64]
    loaded = tf.saved_model.load(saved / "savedmodel")
    agree_everywhere(model, saved, crop, lambda batch: loaded.serve(batch)["probability"])


def test_constants_travel_with_every_form(saved):
    image = phantom((20, 40, 48), seed=3)[0]
    want = predict_volume(saved / "model.keras", image, engine="keras")
    assert want.shape == (20, 40, 48, 2) and want.dtype == np.float32
    for path in (str(saved / "savedmodel"), saved):
        got = predict_volume(path, image, engine="keras")
        np.testing.assert_allclose(got, want, atol=1e-5)
    about = json.loads((saved / "savedmodel" / "assets.extra" / "volseg.json").read_text())
    assert about["normalization"] == pytest.approx(
        {"mean": 130, "standard_deviation": 40, "contrast": 1.2}
    )
    assert open_model(saved).metadata.to_json() == about


def test_a_model_without_constants_gets_a_standardised_volume():
    with shallow_networks():
        model = settled("C")
    image = phantom((16, 32, 48), seed=1)[0]
    found = IntensityStatistics.of(image)
    inside = with_normalization(model, found.mean, found.deviation)
    got, want = (predict_volume(m, image, engine="keras") for m in (model, inside))
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_keras_alone_loads_a_model_in_a_fresh_process(saved):
    code = f"import sys, volseg_keras, keras{FRESH}"
    subprocess.run([sys.executable, "-c", code, saved], check=True)


def test_the_endpoint_takes_any_size_and_batch(saved):
    with pytest.raises(ValueError, match="exported from, since that only predicts"):
        load_pretrained(saved / "savedmodel")
    loaded = tf.saved_model.load(saved / "savedmodel")
    for shape in ((1, 8, 16, 24, 1), (2, 16, 8, 8, 1)):
        out = loaded.serve(tf.zeros(shape))
        assert list(out) == ["probability"] and out["probability"].shape == (*shape[:-1], 2)


def test_an_existing_folder_is_left_alone(model, saved):
    before = sorted(saved.rglob("*"))
    with pytest.raises(FileExistsError, match="`path`"):
        export_savedmodel(model, saved)
    assert sorted(saved.rglob("*")) == before


@pytest.mark.parametrize("name", ["nothing", "Z"])
def test_unknown_models(name, tmp_path):
    with pytest.raises(ValueError, match="`model`"):
        load_pretrained(name)
    with pytest.raises(ValueError, match="`model`"):
        open_model(tmp_path / name)


def tiny(dims=3, classes=2, shape=None):
    """A network of the blocks of ours, small enough to be exported in a moment."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape or (*[None] * dims, 1), name="image")
    options = {"rank_one": True, "stochastic": True, "dropout": 0.1}
    x = residual_block(input_block(inputs, 4), 6, halve=False, name="block", **options)
    x = softmax(transposed(activation(x, "head"), classes, 2, "head_conv"))
    return with_normalization(keras.Model(inputs, x, name="tiny"), 20_000.0, 3_000.0)


def installed(*formats):
    """The formats as test cases, skipped where what they need is missing."""
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                not all(map(find_spec, EXPORT_FORMATS[name].modules)),
                reason=f"volseg_keras[{EXPORT_FORMATS[name].extra}] is not installed",
            ),
        )
        for name in formats
    ]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every format that can be written here, of the tiny network."""
    folder, network, differences = tmp_path_factory.mktemp("some exports"), tiny(), {}
    for name, row in EXPORT_FORMATS.items():
        if all(map(find_spec, row.modules)):
            path = folder / f"tiny {name}{row.suffix}"
            differences[name] = export_model(network, path, name)
    return folder, network, differences


def path_of(exported, format):
    return exported[0] / f"tiny {format}{EXPORT_FORMATS[format].suffix}"


@pytest.mark.parametrize("format", installed(*EXPORT_FORMATS))
def test_exports_agree_with_keras_at_several_sizes(exported, format):
    _, network, differences = exported
    assert 0 <= differences[format] <= TOLERANCE
    runs = RUNTIMES[format].read(path_of(exported, format))
    assert len(runs) == (2 if format == "bioimageio" else 1)
    volume = phantom((32, 64, 64), seed=3)[0].astype(np.float32) * 100 + 7_000
    for run in runs:
        for z, y, x in ((16, 32, 48), (32, 64, 40)):
            crop = volume[None, :z, :y, :x, None]
            want = np.asarray(network(crop))
            assert want[..., 1].std() > 0.01
            np.testing.assert_allclose(np.asarray(run(crop)), want, atol=TOLERANCE)


def test_nothing_else_is_left_of_an_export(exported):
    folder, _, differences = exported
    assert set(folder.iterdir()) == {path_of(exported, name) for name in differences}


@pytest.mark.parametrize("format", ["savedmodel", "openvino"])
def test_folders_hold_a_test_vector(exported, format):
    folder = path_of(exported, format)
    image, want = (np.load(folder / f"test_{which}.npy") for which in ("input", "output"))
    np.testing.assert_allclose(exported[1](image), want, atol=1e-5)
    assert image.dtype == want.dtype == np.float32 and image.mean() == pytest.approx(20_000)
    about = json.loads((folder / "assets.extra" / "volseg.json").read_text())
    assert about["input"] == "grey levels"


@pytest.mark.parametrize("format", installed("savedmodel", "keras", "onnx", "openvino"))
def test_an_export_of_slightly_other_weights_is_refused(exported, format):
    other = tiny()
    head = other.layers[-1].get_layer("head_conv")
    head.bias.assign(head.bias + np.array([0, 0.02]))
    with pytest.raises(ValueError, match="`format`.*within 0.001 of Keras"):
        checked_difference(path_of(exported, format), format, vectors_of(other))


def test_a_broken_file_is_refused(exported, tmp_path):
    (tmp_path / "a.keras").write_bytes(path_of(exported, "keras").read_bytes()[:5_000])
    with pytest.raises(ValueError, match="nothing is written"):
        checked_difference(tmp_path / "a.keras", "keras", vectors_of(exported[1]))


class Fickle(keras.layers.Layer):
    """A layer whose exported graph is not what Keras computes at once."""

    def call(self, inputs):
        return inputs if tf.executing_eagerly() else inputs * 0.99


def test_an_export_that_differs_is_removed(tmp_path):
    inputs = keras.Input((None, None, 1))
    scores = keras.layers.Conv2D(2, 1, activation="softmax")(inputs)
    with pytest.raises(ValueError, match="`format`.*within 0.001 of Keras. Received: 0.0"):
        export_model(keras.Model(inputs, Fickle()(scores)), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "shape, image_shape", [((32, 48, 3), (1, 32, 48, 3)), ((None, None, 2), (1, 96, 112, 2))]
)
def test_fixed_sizes_channels_and_classes(shape, image_shape, tmp_path):
    network = tiny(classes=3, shape=shape)
    assert export_model(network, tmp_path / "c.keras", "keras") <= TOLERANCE
    vector, _ = vectors_of(network)
    assert vector.image.shape == image_shape
    assert vector.probability.shape == (*image_shape[:-1], 3)


@pytest.mark.parametrize(
    "format, name, told",
    [
        ("zip", "out", "`format`.*savedmodel, keras, onnx, openvino, bioimageio.*'zip'"),
        ("keras", "out.h5", "`path`.*ends in .keras"),
        ("bioimageio", "out.onnx", "`path`.*ends in .zip"),
        ("savedmodel", "out.onnx", "`path`.*a folder, or `--format onnx`"),
    ],
)
def test_wrong_formats_and_names(format, name, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        export_model(tiny(), tmp_path / name, format)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_left_alone(exported):
    path = path_of(exported, "keras")
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="`path`.*new file"):
        export_model(exported[1], path, "keras")
    assert path.read_bytes() == before


@pytest.mark.skipif(find_spec("bioimageio") is not None, reason="bioimageio is installed")
def test_a_missing_extra_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"pip install .*bioimageio\.core"):
        export_model(tiny(), tmp_path / "out.zip", "bioimageio")


def test_bioimageio_describes_the_model(exported, tmp_path):
    spec = pytest.importorskip("bioimageio.spec", reason="volseg_keras[bioimageio] is needed")
    described = spec.load_model_description(path_of(exported, "bioimageio"))
    axes = {axis.id: axis for axis in described.inputs[0].axes}
    assert (axes["z"].size.min, axes["y"].size.min, axes["y"].size.step) == (48, 64, 16)
    assert [getattr(axis, "halo", None) for axis in described.outputs[0].axes[1:4]] == [16, 24, 24]
    assert described.cite and described.authors and described.license and described.covers
    standardised = tiny().layers[-1]
    with pytest.raises(ValueError, match="`model`.*grey levels"):
        export_model(standardised, tmp_path / "out.zip", "bioimageio")


def test_bioimageio_takes_2d_networks_of_three_classes(tmp_path):
    pytest.importorskip("bioimageio.core", reason="volseg_keras[bioimageio] is needed")
    card = {**StoredFacts.of("H").card, "classes": ["background", "a", "b"]}
    path = tmp_path / "out.zip"
    assert export_model(tiny(2, 3), path, "bioimageio", card=card) <= TOLERANCE


def test_a_package_needs_terms_of_its_own(saved, tmp_path):
    pytest.importorskip("bioimageio.core", reason="volseg_keras[bioimageio] is needed")
    with pytest.raises(ValueError, match='`card`.*"license".*card.json'):
        export_model(saved, tmp_path / "out.zip", "bioimageio")
    assert StoredFacts.of("D").card["license"] == "Apache-2.0"


@pytest.mark.parametrize("format", installed("savedmodel", "keras", "onnx"))
def test_exports_state_what_is_known(format, saved, tmp_path):
    shutil.copy(saved / "model.keras", tmp_path)
    known = {"threshold": 0.3, "voxel_size": [40, 4, 4], "held_out_jaccard": 0.8}
    (tmp_path / "metrics.json").write_text(json.dumps(known))
    path = tmp_path / f"out{EXPORT_FORMATS[format].suffix}"
    export_model(str(tmp_path), path, format)
    if format == "onnx":
        onnx = pytest.importorskip("onnx")
        stated = {prop.key: prop.value for prop in onnx.load(path).metadata_props}["volseg"]
        assert json.loads(stated)["normalization"]["mean"] == 130 and '"threshold": 0.3' in stated
        return
    (tmp_path / "metrics.json").write_text(json.dumps({"threshold": 0.9}))  # not that of `path`
    stored = StoredFacts.of(path)
    assert stored.threshold == 0.3 and stored.spatial_dims == 3
    assert stored.voxel_size_range == ((40, 4, 4), (40, 4, 4))


def test_cards(saved):
    assert StoredFacts.of(saved).card == {}
    card = StoredFacts.of("H").card
    assert card["classes"] == ["background", "mitochondria"] and 0 < card["threshold"] < 1


def test_a_card_states_voxels_or_pixels_but_not_how_to_predict(saved, tmp_path):
    shutil.copy(saved / "model.keras", tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    for size, known in (([40, 4, 4], ((40, 4, 4), (40, 4, 4))), ([4, 4], None)):
        card = {"voxel_size": size, "threshold": 0.7}
        (tmp_path / "card.json").write_text(json.dumps(card))
        found = StoredFacts.of(tmp_path)
        assert (found.voxel_size_range, found.threshold) == (known, 0.5)
        assert found.card["voxel_size"] == size


def test_a_folder_tells_the_threshold_the_voxel_size_and_averaging(saved, tmp_path):
    shutil.copy(saved / "model.keras", tmp_path)
    known = {"threshold": 0.3, "voxel_size": [40, 4, 4], "smoothing": 2.0, "zooms": [1, 0.5]}
    known |= {"views": 4, "noise": 0.3}
    (tmp_path / "metrics.json").write_text(json.dumps(known))
    stored, exported = StoredFacts.of(tmp_path), tmp_path / "exported"
    assert export_model(tiny(), exported, card=stored.card) <= TOLERANCE
    for found in (stored, StoredFacts.of(exported)):
        assert found.threshold == 0.3
        assert found.voxel_size_range == ((40, 4, 4), (40, 4, 4))
        assert found.defaults == PredictionDefaults(4, 2.0, (1.0, 0.5), 0.3)
    assert StoredFacts.of(saved / "savedmodel").threshold == 0.5
