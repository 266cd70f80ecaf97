"""Without TensorFlow: everything imports, and a network trains, predicts and resumes on JAX.

And with a TensorFlow that was imported too early.
"""

import os
import subprocess
import sys

import pytest

BLOCKED = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import numpy as np, keras, volseg_keras
assert keras.backend.backend() == "jax"
for name in volseg_keras.__all__:
    getattr(volseg_keras, name)
from volseg_keras.training.recipes import RECIPES
from dataclasses import replace
RECIPES["quick"] = replace(
    RECIPES["fast"], patch={3: (16, 16, 16)}, rate={3: 1e-2}, warmup=1, schedule="drops"
)
image, label = volseg_keras.phantom((16, 32, 32))
def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, None, 1))
    x = keras.layers.Dropout(0.1)(volseg_keras.RankOneConv(6)(inputs))
    x = volseg_keras.StochasticDownsample()(keras.layers.BatchNormalization()(x))
    x = volseg_keras.ZeroPadShortcut(8)(x)
    x = keras.layers.Conv3DTranspose(2, 2, strides=2)(x)
    return keras.Model(inputs, keras.layers.Softmax()(x))
options = dict(output=sys.argv[1], recipe="quick", steps_per_epoch=4)
model = network()
volseg_keras.fit(model, image, label, steps=8, **options)
rate = float(model.optimizer.learning_rate)
assert np.isclose(rate, 1e-4), f"the rate follows the schedule: {rate}"
again = network()
summary = volseg_keras.fit(again, image, label, steps=12, resume=True, **options)
assert summary["steps"] == 12
out = volseg_keras.predict_volume(sys.argv[1], image)
assert out.shape == (16, 32, 32, 2) and np.isfinite(out).all()
plain = network()
plain.compile("adam", volseg_keras.JaccardLoss(), metrics=[volseg_keras.Jaccard()])
sampler = volseg_keras.PatchSampler(image, label, (16, 16, 16))
log = plain.fit(sampler.py_dataset(2, steps=3), verbose=0).history
assert np.isfinite(log["loss"]).all()
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
def test_training_without_tensorflow(tmp_path):
    pytest.importorskip("jax")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", BLOCKED, tmp_path / "run"], check=True, env=environment)


EARLY = """
import warnings
import {modules}
from tensorflow.python.util._pywrap_util_port import IsMklEnabled
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for _ in range(2):
        try:
            volseg_keras.fit("auto", [], [], output="run", recipe="none")
        except ValueError as error:
            assert "`recipe`" in str(error)
told = [str(each.message) for each in told if "oneDNN" in str(each.message)]
assert len(told) == ({warned} and not IsMklEnabled()), told
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "modules, given, warned",
    [
        ("tensorflow, volseg_keras", {}, True),
        ("tensorflow, volseg_keras", {"TF_ENABLE_ONEDNN_OPTS": "0"}, False),
        ("volseg_keras, tensorflow", {}, False),
    ],
)
def test_a_tensorflow_without_onednn_is_told_once(modules, given, warned):
    kept = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    code = EARLY.format(modules=modules, warned=warned)
    subprocess.run([sys.executable, "-c", code], check=True, env={**kept, **given})
