"""A crop of the real volume, a few steps: the loss falls and the road holds."""

import keras
import numpy as np
import pytest

from volseg_keras import PatchSampler, build_model, open_volume, predict_volume, segmentation_scores
from volseg_keras.training.fit_network import compile_model
from volseg_keras.training.recipes import get_recipe
from volseg_keras.volumes.labels import class_ids


@pytest.mark.slow
def test_a_few_steps_on_a_real_crop(real_data):
    box = np.s_[:48, :192, 300:492]
    image = open_volume(real_data / "training.tif")[box]
    label = class_ids(open_volume(real_data / "training_groundtruth.tif")[box])
    keras.utils.set_random_seed(0)
    sampler = PatchSampler(image, label, (32, 64, 64))
    model = build_model("H")
    compile_model(model, get_recipe("fast"), 3)
    batches = sampler.tf_dataset(2, steps=3).cache().repeat()
    history = model.fit(batches, steps_per_epoch=12, epochs=3, verbose=0, shuffle=False)
    losses = history.history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    out = predict_volume(model, image[:32, :96, :96])
    assert np.isfinite(out).all() and out.shape == (32, 96, 96, 2)


def test_scores_of_the_real_labels(real_data):
    label = open_volume(real_data / "training_groundtruth.tif")[:20]
    ids = class_ids(label)
    assert set(np.unique(label)) == {0, 255} and set(np.unique(ids)) == {0, 1}
    assert segmentation_scores(ids, ids)["voc"] == 1.0
    shifted = segmentation_scores(ids, np.roll(ids, 2, axis=2))["classes"][1]["jaccard"]
    assert 0.7 < shifted < 0.97
