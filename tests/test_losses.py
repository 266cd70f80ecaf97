import keras
import numpy as np
import pytest

from volseg_keras import Jaccard, JaccardLoss
from volseg_keras.networks.losses import JaccardCrossentropyLoss

RNG = np.random.default_rng(0)
LABEL = RNG.integers(0, 3, (2, 4, 5, 6))
SCORES = RNG.normal(size=(2, 4, 5, 6, 3))
PROBABILITY = (np.exp(SCORES) / np.exp(SCORES).sum(-1, keepdims=True)).astype(np.float32)


def reference(label, probability, class_id, smooth=1.0, weight=None):
    """Equation of the paper in float64, voxel by voxel."""
    weight = np.ones(label.shape) if weight is None else weight
    p = probability[..., class_id].astype(np.float64)
    y = (label == class_id).astype(np.float64)
    overlap = (weight * p * y).sum()
    return 1 - (overlap + smooth) / ((weight * (p + y)).sum() - overlap + smooth)


@pytest.mark.parametrize("class_id", [0, 1, 2])
@pytest.mark.parametrize("smooth", [1.0, 10.0])
def test_matches_the_equation(class_id, smooth):
    got = float(JaccardLoss(class_id, smooth)(LABEL, PROBABILITY))
    assert got == pytest.approx(reference(LABEL, PROBABILITY, class_id, smooth), abs=1e-6)


FORMS = {
    "integers": LABEL,
    "uint8": LABEL.astype(np.uint8),
    "floats": LABEL.astype(np.float32),
    "channel axis": LABEL[..., None],
    "one-hot": np.eye(3)[LABEL],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loss", [JaccardLoss(), JaccardLoss(None), JaccardCrossentropyLoss()])
def test_every_form_of_labels_counts_alike(form, loss):
    assert float(loss(FORMS[form], PROBABILITY)) == pytest.approx(
        float(loss(LABEL, PROBABILITY)), abs=1e-6
    )


def test_none_averages_the_classes():
    want = np.mean([reference(LABEL, PROBABILITY, c) for c in range(3)])
    assert float(JaccardLoss(None)(LABEL, PROBABILITY)) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("ignored", [255, 2])
@pytest.mark.parametrize("kind", [JaccardLoss, JaccardCrossentropyLoss])
def test_ignored_voxels_count_in_neither_sum(ignored, kind):
    label = LABEL.copy()
    label[:, 2:] = ignored
    loss = kind(ignore_class=ignored)
    changed = PROBABILITY.copy()
    changed[label == ignored] = (0.1, 0.8, 0.1)
    want = float(loss(label, PROBABILITY))
    assert float(loss(label, changed)) == pytest.approx(want, abs=1e-6)
    if kind is JaccardLoss:
        expected = reference(label, PROBABILITY, 1, weight=label != ignored)
        assert want == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(2,), (2, 4, 5, 6), (2, 4, 5, 6, 1)])
def test_sample_weight_weighs_voxels(shape):
    weight = RNG.random(shape)
    full = weight.reshape(shape + (1,) * (4 - len(shape)))[..., :6].reshape(
        (2, 1, 1, 1) if len(shape) == 1 else (2, 4, 5, 6)
    )
    got = float(JaccardLoss()(LABEL, PROBABILITY, sample_weight=weight))
    want = reference(LABEL, PROBABILITY, 1, weight=np.broadcast_to(full, LABEL.shape))
    assert got == pytest.approx(want, abs=1e-6)


def test_cross_entropy_term():
    likelihood = np.take_along_axis(PROBABILITY, LABEL[..., None], -1).astype(np.float64)
    want = reference(LABEL, PROBABILITY, 1) - np.log(likelihood + 1e-7).mean()
    assert float(JaccardCrossentropyLoss()(LABEL, PROBABILITY)) == pytest.approx(want, abs=1e-5)


def crossentropy(label, probability, weight):
    """Mean negative logarithm of the probability of a voxel's own class, in float64."""
    likelihood = np.take_along_axis(probability, np.where(weight, label, 0)[..., None], -1)[..., 0]
    return -(weight * np.log(likelihood + 1e-7)).sum() / weight.sum()


def own_loss(loss, label, probability):
    """What a loss should be, in float64."""
    weight = label != loss.ignore_class
    classes = range(3) if loss.class_id is None else [loss.class_id]
    terms = [reference(label, probability, c, loss.smooth, weight) for c in classes]
    added = isinstance(loss, JaccardCrossentropyLoss)
    return np.mean(terms) + (crossentropy(label, probability, weight) if added else 0)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients of TensorFlow")
@pytest.mark.parametrize("kind", [JaccardLoss, JaccardCrossentropyLoss])
@pytest.mark.parametrize("class_id", [1, None])
@pytest.mark.parametrize("ignored", [None, 255])
def test_gradient_is_that_of_finite_differences(kind, class_id, ignored):
    import tensorflow as tf

    loss, label = kind(class_id=class_id, smooth=2.0, ignore_class=ignored), LABEL.copy()
    if ignored:
        label[:, 2:] = ignored
    variable = tf.Variable(PROBABILITY)
    with tf.GradientTape() as tape:
        value = loss(label, variable)
    exact = PROBABILITY.astype(np.float64)
    assert float(value) == pytest.approx(own_loss(loss, label, exact), abs=1e-5)
    want, step = np.empty(exact.shape), 1e-6
    for place in np.ndindex(*exact.shape):
        up, down = exact.copy(), exact.copy()
        up[place] += step
        down[place] -= step
        want[place] = (own_loss(loss, label, up) - own_loss(loss, label, down)) / (2 * step)
    gradient = tape.gradient(value, variable).numpy()
    assert np.abs(want).max() > 1e-3
    np.testing.assert_allclose(gradient, want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_truth_is_finite(value):
    probability = np.zeros((1, 4, 4, 2), np.float32)
    probability[..., 1] = value
    loss = float(JaccardLoss()(np.zeros((1, 4, 4)), probability))
    assert loss == pytest.approx(1 - 1 / (1 + 16 * value))


@pytest.mark.parametrize("loss", [JaccardLoss(2, 3.0, 255), JaccardCrossentropyLoss(smooth=2.0)])
def test_configuration_round_trip(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()


@pytest.mark.parametrize("smooth", [0, -1.0])
def test_smooth_must_be_positive(smooth):
    with pytest.raises(ValueError, match="`smooth`"):
        JaccardLoss(smooth=smooth)


def test_a_class_may_be_a_numpy_integer():
    assert Jaccard(np.int64(1)).classes == (1,)


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="`y_true`"):
        JaccardLoss()(LABEL[0], PROBABILITY)


@pytest.mark.parametrize("kind", [JaccardLoss, JaccardCrossentropyLoss])
@pytest.mark.parametrize("shape", [(4,), (4, 4, 6), (4, 4, 6, 1)], ids=str)
def test_fit_takes_no_notice_of_what_weighs_nothing(kind, shape):
    image = RNG.normal(size=(4, 4, 6, 1)).astype(np.float32)
    label = (image[..., 0] > 0).astype(np.uint8)
    weight = np.ones(shape, np.float32)
    weight[2:] = 0
    other = np.concatenate([label[:2], 1 - label[2:]])
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 1))
    model = keras.Model(
        inputs, keras.layers.Conv2D(2, 3, padding="same", activation="softmax")(inputs)
    )
    model.compile("sgd", kind(), weighted_metrics=[Jaccard()], jit_compile=False)
    start, results = model.get_weights(), []
    for labels, weights in ((label, weight), (other, weight), (other, None)):
        model.set_weights(start)
        model.fit(image, labels, 4, sample_weight=weights, epochs=2, verbose=0)
        results.append(model.get_weights()[0])
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    assert np.abs(results[1] - results[2]).max() > 1e-4
