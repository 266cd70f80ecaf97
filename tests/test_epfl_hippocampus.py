"""The TensorFlow Datasets builder on dummy data, on parts of the volumes, and without its extra."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from volseg_keras import PatchSampler, open_volume
from volseg_keras.datasets.epfl import find_pairs

FILES = Path(__file__).parents[1] / "volseg_keras" / "datasets" / "epfl_hippocampus"
CODE = "import sys; sys.modules['tensorflow_datasets'] = None; import volseg_keras.datasets.epfl"


@pytest.mark.parametrize(
    "names, pairs, missing",
    [
        ((), 0, ("training.tif", "training_groundtruth.tif")),
        (("training.tif",), 0, ("training_groundtruth.tif",)),
        (("training.tif", "training_groundtruth.tif", "testing.tif"), 1, ()),
        (("training_z0.tif", "training_groundtruth_z1.tif"), 0, None),
        (("training_z0.tif", "training_groundtruth_z0.tif", "training_z1.tif"), 1, None),
    ],
)
def test_pairs_are_found_and_missing_files_named(names, pairs, missing, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    found, lacking = find_pairs(tmp_path, "training")
    assert len(found) == pairs and all(a.exists() and b.exists() for a, b in found)
    lacking = {path.name for path in lacking}
    assert lacking == set(missing) if missing is not None else lacking and not lacking & set(names)


def test_without_the_extra_a_line_tells_how_to_get_it():
    subprocess.run([sys.executable, "-c", CODE], check=True)
    code = f"{CODE}_hippocampus"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install tensorflow-datasets" in done.stderr.splitlines()[-1]


def test_the_package_does_not_import_it():
    code = "import sys, volseg_keras.cli, volseg_keras.datasets.epfl, volseg_keras.patches.sampler"
    check = f"{code}; assert 'tensorflow_datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.fixture
def manual(tmp_path):
    """A folder with the dummy files of one configuration."""
    return shutil.copytree(FILES / "dummy_data" / "lucchi_pp", tmp_path / "my files")


def loaded(folder, tmp_path, config="lucchi_pp"):
    """The datasets by split that `tfds.load` makes of a folder of files."""
    tfds = pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")
    import volseg_keras.datasets.epfl_hippocampus  # noqa: F401

    options = {"download_config": tfds.download.DownloadConfig(manual_dir=folder)}
    name, data_dir = f"epfl_hippocampus/{config}", tmp_path / "tfds"
    return tfds.load(name, data_dir=data_dir, download_and_prepare_kwargs=options)


@pytest.mark.parametrize("left_out", ["", "testing", "testing_groundtruth", "training"])
def test_what_is_there_is_loaded(left_out, manual, tmp_path, recwarn):
    pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")
    (manual / f"{left_out}.tif").unlink(missing_ok=True)
    parts = {"train": "training", "test": "testing"}
    expected = {s: p for s, p in parts.items() if not left_out or not left_out.startswith(p)}
    datasets = loaded(manual, tmp_path)
    assert set(datasets) == set(expected)
    told = [str(warning.message) for warning in recwarn if warning.category is UserWarning]
    assert any(f"has no {left_out}.tif" in line for line in told) == bool(left_out)
    for split, part in expected.items():
        (example,) = datasets[split].as_numpy_iterator()
        np.testing.assert_array_equal(example["image"], open_volume(manual / f"{part}.tif")[...])
        label = open_volume(manual / f"{part}_groundtruth.tif")[...]
        np.testing.assert_array_equal(example["label"], label == 255)
        sampler = PatchSampler(example["image"], example["label"], (16, 16, 16))
        assert sampler[0].image.shape[:3] == (16, 16, 16)


def test_parts_of_a_volume_are_examples(manual, tmp_path):
    for kind in ("training", "training_groundtruth"):
        shutil.copy(manual / f"{kind}.tif", manual / f"{kind}_z000-015.tif")
    assert len(list(loaded(manual, tmp_path)["train"])) == 2


def test_a_folder_without_a_pair_is_refused(manual, tmp_path):
    for name in ("training.tif", "testing_groundtruth.tif"):
        (manual / name).unlink()
    with pytest.raises(ValueError, match="`manual_dir`.* without training.tif, testing_ground"):
        loaded(manual, tmp_path)


def test_labels_of_another_shape_are_refused(manual, tmp_path):
    from volseg_keras import save_volume

    save_volume(manual / "testing_groundtruth.tif", np.zeros((16, 32, 31), np.uint8))
    with pytest.raises(ValueError, match="image's shape"):
        loaded(manual, tmp_path)


def test_the_real_volumes(real_data, tmp_path):
    for name in ("testing", "testing_groundtruth"):
        (tmp_path / "files").mkdir(exist_ok=True)
        source = next(real_data.glob(f"{name}_z*.tif"), None)
        if source is None:
            pytest.skip(f"{real_data} has no {name}_z*.tif")
        (tmp_path / "files" / source.name).symlink_to(source)
    with pytest.raises(ValueError, match="those of Lucchi"):
        loaded(tmp_path / "files", tmp_path, "original")
    with pytest.warns(UserWarning, match="has no training.tif, training_groundtruth.tif"):
        datasets = loaded(tmp_path / "files", tmp_path)
    (example,) = datasets["test"].as_numpy_iterator()
    assert example["image"].shape == example["label"].shape and set(datasets) == {"test"}
    assert 0.07 < example["label"].mean() < 0.08


try:
    from tensorflow_datasets.testing import dataset_builder_testing
except ImportError as error:
    reason = f"the extra tfds or test is not installed: {error}"

    @pytest.mark.skip(reason=reason)
    def test_builder():
        """The checks that TensorFlow Datasets makes of every builder."""
else:
    from volseg_keras.datasets.epfl_hippocampus import Builder

    class TestBuilder(dataset_builder_testing.DatasetBuilderTestCase):
        """The checks that TensorFlow Datasets makes of every builder."""

        DATASET_CLASS = Builder
        SPLITS = {"train": 1, "test": 1}
