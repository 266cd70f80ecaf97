"""Several devices: a step shared by two virtual ones, on both backends."""

import os
import subprocess
import sys

import pytest

TWO = """
import sys, numpy as np, keras, volseg_keras
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from dataclasses import replace
from volseg_keras.training.devices import data_parallel, replicas
from volseg_keras.training.recipes import RECIPES
RECIPES["quick"] = replace(RECIPES["fast"], patch={3: (16, 16, 16)}, batch={3: 1})
image, label = volseg_keras.phantom((16, 64, 64))
assert replicas() == 1
with data_parallel():
    assert replicas() == 2
    inputs = keras.Input((None, None, None, 1))
    x = volseg_keras.nets.activation.NormPReLU()(volseg_keras.RankOneConv(6)(inputs))
    model = keras.Model(inputs, keras.layers.Conv3D(2, 1, activation="softmax")(x))
    before = [np.array(w) for w in model.get_weights()]
    options = dict(output=sys.argv[1], recipe="quick", steps_per_epoch=2, hold_out="x:0:32")
    summary = volseg_keras.fit(model, image, label, steps=4, **options)
assert summary["steps"] == 4 and summary["batch"] == 2
assert all((a != b).any() for a, b in zip(before, model.get_weights()))
out = volseg_keras.predict_volume(sys.argv[1], image, engine="keras")
assert out.shape == (16, 64, 64, 2) and np.isfinite(out).all()
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_share_a_step(backend, tmp_path):
    pytest.importorskip(backend)
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    subprocess.run([sys.executable, "-c", TWO, tmp_path / "run"], check=True, env=environment)


def test_torch_is_told_at_once():
    pytest.importorskip("torch")
    code = "from volseg_keras.training.devices import data_parallel\nwith data_parallel(): pass"
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert "Invalid value for `all_gpus`" in done.stderr
