"""Devices: precision, and a step shared by two virtual ones, on both backends."""

import os
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from networks import shallow_networks
from runs import quick_recipes, run, stopped_at

from volseg_keras import build_model, phantom
from volseg_keras.networks.layers import rank_layer
from volseg_keras.training.loop import devices
from volseg_keras.training.loop.callbacks import Schedule
from volseg_keras.training.recipes import RECIPES

TWO = """
import sys, numpy as np, keras, volseg_keras
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from dataclasses import replace
from volseg_keras.training.loop.devices import data_parallel, replicas
from volseg_keras.training.recipes import RECIPES
RECIPES["quick"] = replace(RECIPES["fast"], patch={3: (16, 16, 16)}, batch={3: 1})
image, label = volseg_keras.phantom((16, 64, 64))
assert replicas() == 1
with data_parallel():
    assert replicas() == 2
    inputs = keras.Input((None, None, None, 1))
    x = volseg_keras.networks.norm_prelu.NormPReLU()(volseg_keras.RankOneConv(6)(inputs))
    model = keras.Model(inputs, keras.layers.Conv3D(2, 1, activation="softmax")(x))
    before = [np.array(w) for w in model.get_weights()]
    options = dict(output=sys.argv[1], recipe="quick", steps_per_epoch=2, hold_out="x:0:32")
    summary = volseg_keras.fit(model, image, label, steps=4, **options)
assert summary["steps"] == 4 and summary["batch"] == 2
assert all((a != b).any() for a, b in zip(before, model.get_weights()))
out = volseg_keras.predict_volume(sys.argv[1], image, engine="keras")
assert out.shape == (16, 64, 64, 2) and np.isfinite(out).all()
"""

# Each of two devices gets the batch that one device had.
EQUAL_STEP = """
import keras, numpy as np, tensorflow as tf, volseg_keras
from volseg_keras.networks.losses import JaccardCrossentropyLoss
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from volseg_keras.training.loop.devices import data_parallel
x = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)
y = (x[..., 0] > 0.5).astype(np.uint8)
weight = np.where(y, 2, 1).astype(np.float32)
def trained(loss, *batch):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 1))
    scores = keras.layers.Conv2D(2, 3, padding="same")(inputs)
    model = keras.Model(inputs, keras.layers.Softmax()(scores))
    model.compile(keras.optimizers.SGD(1.0), loss(ignore_class=255), jit_compile=False)
    options = {"sample_weight": batch[2], "shuffle": False, "verbose": 0}
    history = model.fit(*batch[:2], len(x) * 2, **options)
    return [history.history["loss"], *model.get_weights()]
for loss in volseg_keras.JaccardLoss, JaccardCrossentropyLoss:
    one = trained(loss, x, y, weight)
    with data_parallel():
        two = trained(loss, *(np.concatenate([a, a]) for a in (x, y, weight)))
    for a, b in zip(one, two):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
"""


@pytest.mark.slow
def test_two_replicas_take_the_step_of_one():
    pytest.importorskip("tensorflow")
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    subprocess.run([sys.executable, "-c", EQUAL_STEP], check=True, env=environment)


@pytest.mark.slow
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


@pytest.mark.slow
def test_torch_is_told_at_once():
    pytest.importorskip("torch")
    code = (
        "from volseg_keras.training.loop.devices import data_parallel\nwith data_parallel(): pass"
    )
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert "Invalid value for `all_gpus`" in done.stderr


def computing_in(model):
    return {layer.compute_dtype for layer in model.layers if layer.weights}


@pytest.mark.parametrize(
    "gpu, cpu, patch, expected",
    [
        (True, False, (32, 64, 64), "bfloat16"),
        (False, True, (24, 48, 48), "bfloat16"),
        (False, True, (16, 64, 64), "float32"),
        (False, False, (64, 64, 64), "float32"),
    ],
)
def test_networks_compute_in_the_fastest_precision(gpu, cpu, patch, expected, monkeypatch):
    monkeypatch.setattr(devices, "on_gpu", lambda: gpu)
    monkeypatch.setattr(devices, "bfloat16_on_cpu", lambda: cpu)
    model = build_model("H")
    image = phantom((16, 32, 32))[0].astype(np.float32)[None, ..., None] / 64 - 2
    exact = np.asarray(model(image))
    with devices.fastest_precision(model, patch):
        assert computing_in(model) == {expected}
        assert {weight.dtype for weight in model.weights} <= {"float32", "uint32"}
        found = model(image)
    assert computing_in(model) == {"float32"}
    assert found.dtype == "float32"
    difference = np.abs(np.asarray(found) - exact).mean()
    assert 0 < difference < 0.01 if expected == "bfloat16" else difference == 0
    np.testing.assert_array_equal(model(image), exact)


def test_layers_and_networks_of_another_precision_keep_it(monkeypatch):
    monkeypatch.setattr(devices, "on_gpu", lambda: True)
    inputs = keras.Input((None, None, 1))
    others = keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax")(inputs))
    with devices.fastest_precision(others, (64, 64)):
        assert computing_in(others) == {"float32"}
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = build_model("D")
    finally:
        keras.config.set_dtype_policy("float32")
    with devices.fastest_precision(half, (64, 64)):
        assert computing_in(half) == {"float16"}
    assert computing_in(half) == {"float16"}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others have no oneDNN")
@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("instructions", [True, False])
def test_cpus_compute_in_bfloat16_by_onednn_and_their_instructions(
    onednn, instructions, monkeypatch
):
    monkeypatch.setattr(devices, "uses_onednn", lambda: onednn)
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: instructions)
    assert devices.bfloat16_on_cpu() == (onednn and instructions)


@pytest.mark.skipif(not devices.bfloat16_on_cpu(), reason="the CPU has no instructions for it")
@pytest.mark.parametrize("sizes", [(3, 3), (3, 8), (8, 3), (3, 3, 3), (3, 4, 5), (5, 3, 3)])
@pytest.mark.parametrize("maps", [(13, 13), (40, 48), (72, 72), (96, 104)])
@pytest.mark.parametrize(
    "ending, window, strides",
    [
        ("", 3, 1),
        ("", 3, 2),
        ("", 1, 1),
        ("", 1, 2),
        ("", (3, 1, 1), 2),
        ("", (1, 1, 3), 2),
        ("Transpose", 3, 2),
        ("Transpose", 2, 2),
    ],
)
def test_gradients_of_convolutions_in_bfloat16(sizes, maps, ending, window, strides):
    """They are right for maps of three voxels and more, the smallest that are computed so."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    window = window if isinstance(window, int) else window[-len(sizes) :]
    layer = rank_layer("Conv", len(sizes), ending)(maps[1], window, strides, padding="same")
    image = tf.constant(rng.normal(size=(2, *sizes, maps[0])).astype(np.float32))
    layer.build(image.shape)

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(image)
            loss = tf.reduce_sum(tf.cast(layer(image), tf.float32) ** 2)
        return tape.gradient(loss, [image, layer.kernel])

    exact = gradients()
    layer.dtype_policy = "mixed_bfloat16"
    for a, b in zip(exact, gradients(), strict=True):
        assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(a)


@shallow_networks()
def test_a_run_in_bfloat16_goes_on_as_it_would_have(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "bfloat16_on_cpu", lambda: True)
    kinds = set()
    begin = Schedule.on_train_batch_begin

    def seen(self, batch, logs=None):
        kinds.update(computing_in(self.model))
        begin(self, batch, logs)

    monkeypatch.setattr(Schedule, "on_train_batch_begin", seen)
    with quick_recipes():
        recipe = replace(RECIPES["settling"], patch={3: (24, 24, 32)}, batch={3: 1})
        monkeypatch.setitem(RECIPES, "settling", recipe)

        def network():
            keras.utils.set_random_seed(0)
            return build_model("H")

        whole, summary = run(tmp_path / "whole", 8, network(), recipe="settling")
        broken = network()
        with stopped_at(5):
            run(tmp_path / "broken", 8, broken, recipe="settling")
        assert computing_in(broken) == {"float32"}
        again, _ = run(tmp_path / "broken", 8, network(), recipe="settling", resume=True)
    assert kinds == {"bfloat16"} and computing_in(whole) == {"float32"}
    assert np.isfinite(summary["held_out_jaccard"])
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0.02, atol=0.02)
