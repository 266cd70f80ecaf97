import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tifffile import imread

from volseg_keras import build_model, export_savedmodel, load_pretrained, phantom, predict_volume
from volseg_keras.nets.models import with_normalization
from volseg_keras.zoo.segmenter import open_model

ELSEWHERE = """
import sys, numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
np.save(sys.argv[3], loaded.serve(np.load(sys.argv[2]))["probability"].numpy())
assert "volseg_keras" not in sys.modules
"""


def settled(name, **options):
    """A network whose batch normalisation has seen data, as a trained one's has."""
    keras.utils.set_random_seed(0)
    network = build_model(name, **options)
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    patch = phantom((16, 32, 32))[0].astype(np.float32)[..., None] / 40 - 3
    # Slices are a batch of a 2D network, and a volume one of a 3D network.
    network(patch if network.input_shape[1:-1] == (None, None) else patch[None], training=True)
    return network


@pytest.fixture(scope="module")
def model():
    return with_normalization(settled("H"), 130.0, 40.0)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved models")
    model.save(folder / "model.keras")
    export_savedmodel(model, folder / "savedmodel")
    return folder


def agree_everywhere(model, saved, crop, folder):
    want = np.asarray(model(crop[None, ..., None], training=False))
    again = keras.saving.load_model(saved / "model.keras")
    np.testing.assert_allclose(np.asarray(again(crop[None, ..., None])), want, atol=1e-5)
    np.save(folder / "in.npy", crop[None, ..., None])
    arguments = [saved / "savedmodel", folder / "in.npy", folder / "out.npy"]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *arguments], check=True, cwd=folder)
    np.testing.assert_allclose(np.load(folder / "out.npy"), want, atol=1e-5)


def test_all_forms_agree_where_this_package_is_not_imported(model, saved, tmp_path):
    crop = phantom((16, 32, 32), seed=3)[0].astype(np.float32)
    agree_everywhere(model, saved, crop, tmp_path)


def test_all_forms_agree_on_a_real_crop(model, saved, tmp_path, real_data):
    crop = imread(real_data / "training.tif", key=range(40, 56))[:, :64, :64].astype(np.float32)
    agree_everywhere(model, saved, crop, tmp_path)


def test_constants_travel_with_every_form(saved):
    image = phantom((20, 40, 48), seed=3)[0]
    want = predict_volume(saved / "model.keras", image, engine="keras")
    assert want.shape == (20, 40, 48, 2) and want.dtype == np.float32
    for path in (str(saved / "savedmodel"), saved):
        got = predict_volume(path, image, engine="keras")
        np.testing.assert_allclose(got, want, atol=1e-5)
    about = json.loads((saved / "savedmodel" / "assets.extra" / "volseg.json").read_text())
    assert about["normalization"] == pytest.approx({"mean": 130, "standard_deviation": 40})
    assert open_model(saved).metadata == about


def test_a_model_without_constants_gets_a_standardised_volume():
    model = settled("C")
    image = phantom((16, 32, 48), seed=1)[0]
    inside = with_normalization(model, image.mean(dtype=float), image.std(dtype=float))
    got, want = (predict_volume(m, image, engine="keras") for m in (model, inside))
    np.testing.assert_allclose(got, want, atol=1e-4)


FRESH = """
import sys, keras, volseg_keras
model = keras.saving.load_model(sys.argv[1])
assert model.layers[-1].layers[-1].name == "probability"
"""


def test_keras_alone_loads_a_model_in_a_fresh_process(saved):
    subprocess.run([sys.executable, "-c", FRESH, saved / "model.keras"], check=True)


def test_the_endpoint_takes_any_size_and_batch(saved):
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
