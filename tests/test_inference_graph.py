import json

import keras
import numpy as np
import pytest
from networks import settled, shallow_networks

from volseg_keras import build_model
from volseg_keras.inference.engines.output import to_probability
from volseg_keras.inference.engines.runtimes import unfold
from volseg_keras.networks.inference_graph import InterleavedSoftmax, inference_graph
from volseg_keras.networks.models import with_normalization


@pytest.fixture(scope="module", autouse=True)
def shallow():
    with shallow_networks():
        yield


@pytest.mark.parametrize(
    "name, classes", [("H", 2), ("E", 3), ("C", 2), ("B", 4), ("U-Net", 2), ("U-Net", 3)]
)
def test_the_lean_graph_gives_the_probabilities_of_the_network(name, classes):
    network = settled(name, num_classes=classes)
    dims = len(network.input_shape) - 2
    image = np.random.default_rng(0).normal(size=(2, *[16, 32, 16][:dims], 1)).astype(np.float32)
    want = np.asarray(network(image))
    levels = np.asarray(inference_graph(network)(image))
    got = unfold(levels, image.shape[1:-1])
    if classes > 2:
        return np.testing.assert_allclose(got, want, atol=1e-5)
    assert levels.dtype == np.float32 and 0 <= levels.min() and levels.max() <= 255
    np.testing.assert_array_equal(got, np.floor(got))
    rounded = np.abs(to_probability(got.astype(np.uint8)) - want[..., 1:])
    assert rounded.max() <= 1 / 512 + 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_sign_of_a_score_is_never_lost(dtype):
    scores = np.array([-50, -1, -1e-3, -1e-5, 0, 1e-5, 1e-3, 1, 50], np.float32)
    levels = InterleavedSoftmax(1, dtype=dtype)(scores[:, None, None, None])
    levels = keras.ops.convert_to_numpy(keras.ops.cast(levels, "float32")).ravel()
    np.testing.assert_array_equal(levels >= 128, scores >= 0)
    assert levels[0] == 0 and levels[-1] == 255 and (np.diff(levels) >= 0).all()


def test_constants_go_along():
    network = settled("C")
    inside = with_normalization(network, 130.0, 40.0, 1.25)
    image = np.random.default_rng(1).uniform(0, 255, (1, 16, 32, 1)).astype(np.float32)
    one, other = inference_graph(inside)(image), inference_graph(network)((image - 130) / 32)
    assert np.abs(one - other).max() <= 1 and np.mean(np.asarray(one) != other) < 0.01


def test_another_network_is_refused():
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    ours = build_model("C")
    blurred = keras.Model(ours.inputs, keras.layers.AveragePooling2D(1)(ours.outputs[0]))
    outer = keras.Model(ours.inputs, blurred(ours.inputs[0]))
    for other in (model, blurred, outer):
        with pytest.raises(ValueError, match="`model`"):
            inference_graph(other)


def test_the_network_is_left_as_it_was():
    network = build_model("C")
    before = network.get_weights()
    count = len(network.layers)
    inference_graph(network)
    assert len(network.layers) == count
    for a, b in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_graph_saved_under_the_old_name_of_its_last_layer_loads(tmp_path):
    graph = inference_graph(build_model("C"))
    config = json.loads(graph.to_json().replace("InterleavedSoftmax", "Shares"))
    assert "Shares" in json.dumps(config)
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again.layers[-1], InterleavedSoftmax)
