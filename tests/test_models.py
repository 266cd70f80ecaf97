import keras
import numpy as np
import pytest
from networks import shallow_networks

from volseg_keras import VARIANTS, build_model
from volseg_keras.networks import models
from volseg_keras.networks.losses import JaccardCrossentropyLoss
from volseg_keras.networks.models import split_normalization, with_normalization
from volseg_keras.networks.variants import get_variant

PARAMETERS = {
    "U-Net": "36.97",
    "A": "1.68",
    "B": "1.68",
    "C": "0.60",
    "D": "0.60",
    "E": "4.94",
    "F": "4.94",
    "G": "0.63",
    "H": "0.63",
}


def test_all_rows_of_table_1_are_there():
    assert list(VARIANTS) == list(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    model = build_model(name)
    assert model.count_params() == VARIANTS[name].parameters
    assert f"{model.count_params() / 1e6:.2f}" == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
@shallow_networks()
def test_output_and_round_trip(name, tmp_path):
    model, dims = build_model(name), VARIANTS[name].spatial_dims
    assert model.input_shape == (None,) * (dims + 1) + (1,)
    x = np.random.default_rng(0).normal(size=(1, *(16, 32, 16)[:dims], 1)).astype(np.float32)
    out = np.asarray(model(x))
    assert out.shape == (*x.shape[:-1], 2) and out.dtype == np.float32
    np.testing.assert_allclose(out.sum(-1), 1, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(again(x)), out)


@pytest.mark.parametrize("name", ["D", "H"])
@shallow_networks()
def test_layers_that_are_frozen_stay_so_in_a_file(name, tmp_path):
    model = build_model(name)
    for layer in model.layers[: len(model.layers) // 2]:
        layer.trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    paths = [[v.path for v in m.trainable_variables] for m in (model, again)]
    assert len(paths[0]) == len(paths[1]) < len(build_model(name).trainable_variables)


@pytest.fixture
def every_kind_of_block():
    """Shallow networks with a block on either side that keeps the resolution, too."""
    with shallow_networks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "ENCODER", (8, 10, 12))
        patch.setattr(models, "DECODER", ((8, True), (8, False), (8, True)))
        yield


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients of TensorFlow")
@pytest.mark.parametrize("name", PARAMETERS)
def test_gradients_reach_every_weight(name, every_kind_of_block):
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    shape = {2: (32, 32), 3: (16, 16, 16)}[VARIANTS[name].spatial_dims]
    model = build_model(name)
    x, label = np.random.normal(size=(2, *shape, 1)), np.random.randint(0, 2, (2, *shape))
    weights = model.trainable_weights
    values = [weight.value for weight in weights]
    for training in (True, False):
        with tf.GradientTape() as tape:
            loss = JaccardCrossentropyLoss()(label, model(x, training=training))
        for weight, gradient in zip(weights, tape.gradient(loss, values), strict=True):
            assert gradient is not None and np.isfinite(gradient).all(), weight.path
            # A batch's own mean takes the bias before it away again.
            constant = training and "bias" in weight.path
            assert constant or np.abs(gradient).max() > 0, weight.path


@pytest.mark.parametrize("name", ["A", "H"])
def test_widths_and_resolutions(name):
    model = build_model(name, input_shape=(32,) * VARIANTS[name].spatial_dims + (1,))
    blocks = [layer.output.shape[-2:] for layer in model.layers if layer.name.endswith("_add")]
    widths = [40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, *[64] * 5, *[32] * 3]
    sizes = [8] * 4 + [4] * 8 + [8] * 5 + [16] * 3
    assert blocks == list(zip(sizes, widths, strict=True))


@shallow_networks()
def test_overrides():
    model = build_model("h", num_classes=np.int64(4), in_channels=2, dropout=0.0, name="mine")
    assert model.name == "mine" and model.output_shape[-1] == 4 and model.input_shape[-1] == 2
    x = np.zeros((1, 8, 8, 8, 2), np.float32)
    assert model(x).shape == (1, 8, 8, 8, 4)


@shallow_networks()
def test_normalization_travels_inside():
    model = build_model("C")
    raw = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 1)).astype(np.float32)
    wrapped = with_normalization(model, 128.0, 32.0, 1.5)  # exact in float32
    np.testing.assert_allclose(
        np.asarray(wrapped(raw)), np.asarray(model((raw - 128) / 32 * 1.5)), atol=1e-6
    )
    network, constants = split_normalization(wrapped)
    assert network is model and constants == (128, 32, 1.5)
    assert split_normalization(model) == (model, None)
    # As models were saved before they had a contrast.
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Rescaling(1 / 32, -4.0, name="normalization")(inputs)
    assert split_normalization(keras.Model(inputs, model(x))) == (model, (128, 32, 1))


@shallow_networks()
def test_mixed_precision_keeps_probabilities_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_model("D")
    finally:
        keras.config.set_dtype_policy("float32")
    assert model(np.zeros((1, 16, 16, 1), np.float32)).dtype == "float32"


@pytest.mark.parametrize(
    "arguments, name",
    [
        (("Z",), "variant"),
        ((None,), "variant"),
        (("H", {"num_classes": 0}), "num_classes"),
        (("H", {"num_classes": 1}), "num_classes"),
        (("H", {"num_classes": 256}), "num_classes"),
        (("H", {"in_channels": 32}), "in_channels"),
        (("H", {"input_shape": (16, 16, 16, 40)}), "input_shape"),
        (("H", {"dropout": 1.0}), "dropout"),
        (("H", {"input_shape": (32, 32, 1)}), "input_shape"),
        (("A", {"input_shape": (30, 32, 1)}), "input_shape"),
        (("U-Net", {"input_shape": (24, 32, 1)}), "input_shape"),
    ],
)
def test_wrong_arguments(arguments, name):
    options = arguments[1] if len(arguments) > 1 else {}
    with pytest.raises(ValueError, match=f"`{name}`"):
        build_model(arguments[0], **options)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="U-Net, A, B, C, D, E, F, G, H"):
        build_model("I")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_network_is_known_by_its_model_name_too(name):
    assert get_variant(VARIANTS[name].model_name) is get_variant(name.lower()) is VARIANTS[name]
