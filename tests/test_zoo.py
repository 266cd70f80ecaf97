"""A published model from its row to its folder, on small files of the names that rows have."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from command import quick_recipe, volseg
from networks import shallow_networks

from volseg_keras import load_pretrained, phantom, save_volume
from volseg_keras.networks.models import split_normalization
from volseg_keras.networks.variants import VARIANTS
from volseg_keras.pretrained.checksums import check_files
from volseg_keras.pretrained.presets import model_file
from volseg_keras.publishing.card import trained_on
from volseg_keras.publishing.catalogue import DATASETS, EPFL_TEST, EPFL_TRAIN
from volseg_keras.publishing.model_table import BEGIN, END
from volseg_keras.publishing.publish import row_trained_as, trained_as
from volseg_keras.publishing.zoo import ZOO, PublishedModel, get_row
from volseg_keras.publishing.zoo_training import open_pair, train_row
from volseg_keras.training.recipes import RECIPES, get_recipe


def test_rows_say_before_a_training_what_would_fail_after_it():
    with pytest.raises(ValueError, match="`train`.*a single file"):
        PublishedModel("D", (EPFL_TEST,), steps=1)
    row = PublishedModel("D", (EPFL_TRAIN,), steps=1)
    usual = get_recipe("fast").batch[2]
    assert row_trained_as(replace(row, batch_size=usual)) == row_trained_as(row)
    assert row_trained_as(replace(row, batch_size=usual + 1)) != row_trained_as(row)


def test_a_model_that_was_replaced():
    with pytest.warns(UserWarning, match="h-robust is replaced by mito-3d"):
        assert model_file("H-robust").parent.name == "mito-3d"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Phantoms under the names of the volumes, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("my data")
    for seed, (name, shape, ends) in enumerate(
        (
            ("lucchi_pp/training", (16, 64, 320), ("",)),
            ("lucchi_pp/testing", (16, 64, 64), ("_z000-007", "_z008-015")),
            ("sbem/training", (16, 64, 64), ("",)),
            ("sbem/validation", (16, 64, 64), ("",)),
        )
    ):
        image, label = phantom(shape, seed)
        step = shape[0] // len(ends)
        for i, end in enumerate(ends):
            part = slice(i * step, (i + 1) * step)
            save_volume(folder / f"{name}{end}.tif", image[part])
            save_volume(folder / f"{name}_groundtruth{end}.tif", 255 * label[part])
    classes = phantom((16, 64, 320), 0)[1] * np.uint8(2)
    classes[:, :, 100:110], classes[8:] = 5, 255
    classes[0, 0, :4] = 1, 3, 4, 1
    save_volume(folder / "epfl_organelles/training_labels.tif", classes)
    return folder


def test_rows_name_what_there_is():
    assert set(VARIANTS) <= set(ZOO)
    for row in ZOO.values():
        assert row.network in VARIANTS and row.recipe in RECIPES and row.test
        assert any(pair.hold_out for pair in row.train)
        assert {pair.dataset for pair in (*row.train, *row.validate, *row.test)} <= set(DATASETS)
    assert get_row("Mito-2D") is ZOO["mito-2d"]
    with pytest.raises(ValueError, match="`name`.*mito-2d.*Received: mito"):
        get_row("mito")


@pytest.mark.slow
@quick_recipe()
@shallow_networks()
def test_a_row_is_trained_and_published(data, tmp_path, monkeypatch):
    coarse = replace(DATASETS["sbem"], voxel_size=(40.0, 10.0, 10.0))
    monkeypatch.setitem(DATASETS, "sbem", coarse)
    run, models = tmp_path / "my runs" / "mito-2d", tmp_path / "models"
    models.mkdir()
    for file in (models / "README.md", tmp_path / "README.md"):
        file.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    assert volseg("reproduce", "mito-2d", "--data", data, "-o", run, "--steps", 2) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["steps"] == 2 and len(metrics["volumes"]) == 2
    assert [v["voxel_size"] for v in metrics["volumes"]] == [[5, 5, 5], [40, 10, 10]]
    assert metrics["voxel_size_range"] == [[5, 5, 5], [40, 10, 10]]
    coarse = replace(DATASETS["sbem"], voxel_size=(40.0, 20.0, 20.0))
    monkeypatch.setitem(DATASETS, "sbem", coarse)
    assert volseg("publish", run, "--data", data, "-o", models / "mito-2d") == 0

    check_files(models / "mito-2d")
    metrics = json.loads((models / "mito-2d/metrics.json").read_text())
    assert metrics["test"]["voxels"] == [16, 64, 64]
    scales = [test["scale"] for test in (metrics["test"], *metrics["other_tests"])]
    assert scales == [[1, 1, 1], [1, 2, 2]]  # 20 nm to the largest that was trained on, 10 nm
    assert [test["name"] for test in metrics["other_tests"]] == ["SBEM, validation"]
    assert (models / "robustness.png").stat().st_size > 10_000
    card = (models / "mito-2d/card.md").read_text()
    assert "volseg reproduce mito-2d --data DATA --steps 2" in card and "$" not in card
    assert "in voxels of 5 to 10 x 5 to 10 nm" in card and "rescaled by 1, 2, 2" in card
    assert "Trained on `lucchi_pp/training.tif`, `sbem/training.tif`." in card
    assert "non-profit" in card and "EPFL, testing, 16 x 64 x 64" in card
    assert "float32 (batch, y, x, 1), each size a multiple of 8" in card and "noisier" not in card
    for file, link in ((models / "README.md", "("), (tmp_path / "README.md", "(models/")):
        text = file.read_text()
        assert text.startswith("above\n") and text.endswith("\nbelow\n") and "old" not in text
        assert f"[mito-2d]{link}mito-2d/card.md)" in text and "SBEM, validation" in text


@pytest.mark.slow
@quick_recipe()
@shallow_networks()
def test_a_row_twice_gives_the_same_weights(data, tmp_path):
    for name in ("one", "other"):
        train_row(ZOO["mito-2d"], data, tmp_path / name, steps=30)
    one, other = (load_pretrained(tmp_path / name).get_weights() for name in ("one", "other"))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    keras.utils.clear_session()


@quick_recipe()
def test_a_row_starts_from_a_published_model(data, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ValueError, match="`steps`"):
        train_row(ZOO["epfl-organelles"], data, run, steps=0)
    summary = train_row(ZOO["epfl-organelles"], data, run, steps=1)
    with pytest.raises(ValueError, match="`output`"):  # after a rehearsal
        train_row(ZOO["epfl-organelles"], data, run)
    assert summary["from"] == "mito-3d"
    assert trained_as(summary) == row_trained_as(ZOO["epfl-organelles"])
    assert ", from mito-3d, " in trained_as(summary)
    assert trained_on(ZOO["epfl-organelles"]) == ["organelles", "epfl", "sbem"]  # their terms too
    trained, published = (split_normalization(load_pretrained(n))[0] for n in (run, "mito-3d"))
    assert trained.output_shape[-1] == 5
    kernels = [network.get_layer("encoder4_shortcut").kernel for network in (trained, published)]
    one, other = map(keras.ops.convert_to_numpy, kernels)
    assert np.linalg.norm(one - other) < 0.2 * np.linalg.norm(other)


def test_classes_that_do_not_count(data):
    (pair,) = ZOO["epfl-organelles"].train
    image, label = open_pair(pair, data)
    assert image.voxel_size == (5, 5, 5) and 5 not in label
    assert np.all(label[:8, :, 100:110] == 255)


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["reproduce", "mito-9d", "--data", "."], "`name`"),
        (["reproduce", "mito-2d"], "`data`"),
        (["reproduce", "mito-2d", "--data", ".", "--minutes", "5"], "--steps"),
        (["reproduce", "mito-2d", "--data", ".", "--recipe", "fast"], "`recipe`"),
        (["reproduce", "mito-2d", "--data", ".", "--seeds", "1"], "only takes --steps"),
        (["reproduce", "mito-2d", "--data", "."], "lucchi_pp/training.tif"),
    ],
)
def test_what_cannot_be_trained_is_told(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLSEG_DATA", raising=False)
    assert volseg(*arguments) == 2
    assert told in capsys.readouterr().err and list(tmp_path.iterdir()) == []
