import csv

import numpy as np
import pytest
from command import quick_recipe
from networks import shallow_networks
from typer.testing import CliRunner

from volseg_keras import build_model, phantom, save_volume
from volseg_keras.cli.command import app
from volseg_keras.publishing.table1 import (
    BenchmarkVolumes,
    RunBudget,
    load_data,
    measures,
    reproduce,
    summary,
)
from volseg_keras.publishing.table1_files import MEASURES
from volseg_keras.publishing.zoo import ZOO


def volseg(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"VOLSEG_DATA": None})


@quick_recipe()
@shallow_networks()
@pytest.mark.slow
def test_rows_are_trained_scored_interrupted_and_resumed(tmp_path):
    folder, data = tmp_path / "table 1", tmp_path / "data"
    volumes = {
        "training": phantom((24, 96, 288), seed=0),
        "testing": phantom((16, 64, 64), seed=1),
    }
    for name, (image, truth) in volumes.items():
        save_volume(data / "lucchi_pp" / f"{name}.tif", image)
        save_volume(data / "lucchi_pp" / f"{name}_groundtruth.tif", 255 * truth)
    arguments = ["reproduce", "--data", data, "-o", folder, "--recipe", "fast", "--steps", 2]
    result = volseg(*arguments, "--rows", "A,E")
    assert result.exit_code == 0, result.output
    table = list(csv.DictReader(open(folder / "table.csv")))
    assert {row["network"] for row in table} == {"A", "E"} and table[0]["runs"] == "1"
    assert all(0 <= float(row[name]) <= 100 for row in table for name in MEASURES)
    told = (folder / "table.md").read_text()
    assert told in result.output and "87.2" in told
    assert f"{build_model('E').count_params() / 1e6:.2f} M" in told
    assert (folder / "table.png").stat().st_size > 10_000

    # Stopped before one run was scored: it is not trained again, and the other stays as it is, in
    # the folder and in the table.
    kept = (folder / "E_fast_0" / "scores.json").stat().st_mtime_ns
    (folder / "A_fast_0" / "scores.json").unlink()
    result = volseg(*arguments, "--rows", "A")
    assert result.exit_code == 0, result.output
    assert (folder / "table.md").read_text() == told
    assert (folder / "E_fast_0" / "scores.json").stat().st_mtime_ns == kept

    other = volseg(*arguments[:-1], 3, "--rows", "A")
    assert other.exit_code and "steps" in str(other.exception)

    # Files of the same names with other labels.
    (train, test), options = [phantom((16, 64, 64), seed) for seed in (0, 1)], {"steps": 2}
    with pytest.raises(ValueError, match="`output`"):
        reproduce(folder, ["A"], BenchmarkVolumes("testing.tif", train, test, "x:0:32"), **options)


def test_mean_and_spread():
    def result(jaccard):
        row = {"precision": 1.0, "recall": jaccard, "jaccard": jaccard}
        scores = {"as it is": {"classes": [row, row], "voc": jaccard}}
        about = {"parameters": 10, "steps": 5, "minutes": 1.0}
        return {"row": "H", "recipe": "fast", "scores": scores, **about}

    (line,) = summary([result(0.8), result(0.9)])
    assert line["VOC"] == 85 and line["VOC spread"] == pytest.approx(np.std([80, 90], ddof=1), 1e-2)
    assert measures(result(0.8)["scores"]["as it is"]) == [100, 100, 80, 80, 80, 80, 80]
    assert summary([result(0.8)])[0]["VOC spread"] == 0


@pytest.mark.parametrize("row, recipe, batch", [("D", "paper", 24), ("H", "paper", 3)])
def test_every_recipe_is_given_as_many_patches(row, recipe, batch):
    steps = ZOO[row].steps  # of batches of two
    assert RunBudget().steps_of(row, "fast") == steps
    assert RunBudget().steps_of(row, recipe) == round(2 * steps / batch)


def test_a_folder_without_the_volumes_is_named(tmp_path):
    with pytest.raises(ValueError, match="folder with lucchi_pp/training.tif"):
        load_data(tmp_path)
    result = volseg("reproduce", "--rows", "H,Z", "--data", tmp_path)
    assert result.exit_code


def test_a_wrong_budget_leaves_nothing(tmp_path):
    data = BenchmarkVolumes("phantoms", *(phantom((16, 64, 64), seed) for seed in (0, 1)), "x:0:8")
    for budget in ({"steps": 2, "minutes": 1}, {"steps": 0}, {"minutes": -1}):
        with pytest.raises(ValueError, match="`(steps|minutes)`"):
            reproduce(tmp_path / "table", ["C"], data, **budget)
    assert list(tmp_path.iterdir()) == []


def test_a_test_volume_in_parts_is_one(tmp_path):
    image, truth = phantom((24, 64, 64), seed=1)
    folder = tmp_path / "lucchi_pp"
    for part in (slice(0, 16), slice(16, 24)):
        end = f"_z{part.start:03}-{part.stop - 1:03}.tif"
        save_volume(folder / f"testing{end}", image[part])
        save_volume(folder / f"testing_groundtruth{end}", truth[part] * 255)
    save_volume(folder / "training.tif", image)
    save_volume(folder / "training_groundtruth.tif", truth)
    data = load_data(tmp_path)
    assert data.name == "testing_z000-015.tif and testing_z016-023.tif"
    for found in (data.train, data.test):
        assert found[0].voxel_size == (5, 5, 5)  # sections are thinned as of the published rows
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1], truth)
