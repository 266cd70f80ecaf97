"""The builder of `tfds.load("epfl_hippocampus/lucchi_pp")`."""

import warnings
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from ...errors import require
from ...volumes.labels import class_ids
from ...volumes.volume import open_volume
from ..epfl import VOXELS_LUCCHI_PP, fetch_epfl, find_pairs, has_voxels

PARTS = {"train": "training", "test": "testing"}
DESCRIPTIONS = {
    "original": "Labels of Lucchi et al. (2015).",
    "lucchi_pp": "Lucchi++: labels drawn anew by Casser et al. (2018).",
}


class Builder(tfds.core.GeneratorBasedBuilder):
    """Volumes `(z, y, x)` of 5 x 5 x 5 nm and their mitochondria, one example a file.

    Files are taken from `manual_dir`, or from its subfolder of the configuration's name, where it
    has any; else downloaded.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=text) for name, text in DESCRIPTIONS.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The files are downloaded unless manual_dir has them, as written by `volseg data epfl -o DIR`:
    training.tif, training_groundtruth.tif, testing.tif, testing_groundtruth.tif, or parts of
    these such as testing_z000-082.tif and testing_groundtruth_z000-082.tif; for each
    configuration in a subfolder of its name, or for one only, directly.
    """

    def _info(self):
        """Return the features: grey levels, and 0 for background or 1 for mitochondria."""
        volume = tfds.features.Tensor(shape=(None, None, None), dtype=np.uint8, encoding="zlib")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"image": volume, "label": volume}),
            supervised_keys=("image", "label"),
            homepage="https://www.epfl.ch/labs/cvlab/data/data-em/",
        )

    def _split_generators(self, dl_manager):
        """Return the splits whose files are there; ValueError where there are none."""
        name = self.builder_config.name
        folder = manual_folder(dl_manager, name)
        if folder is None:
            cache = Path(dl_manager.download_dir, "epfl_hippocampus")
            fetch_epfl(cache, (name,))
            folder = cache / name
        found = {split: find_pairs(folder, part) for split, part in PARTS.items()}
        missing = [path.name for _, paths in found.values() for path in paths]
        splits = {split: pairs for split, (pairs, _) in found.items() if pairs}
        received = f"{folder} without {', '.join(missing)}"
        require(splits, "manual_dir", "an image and its labels", received)
        if missing:
            warnings.warn(f"{folder} has no {', '.join(missing)}: left out", stacklevel=2)
        return {split: self._generate_examples(pairs) for split, pairs in splits.items()}

    def _generate_examples(self, pairs):
        """Yield name and example of each pair of image and labels."""
        for image, label in pairs:
            volumes = [open_volume(path)[...] for path in (image, label)]
            self._check(label, *volumes)
            yield image.stem, {"image": volumes[0], "label": class_ids(volumes[1])}

    def _check(self, path, image, label):
        """Raise ValueError for labels of another shape than the image, or of the other kind."""
        known = (v for stem, v in VOXELS_LUCCHI_PP.items() if path.stem.startswith(stem))
        if self.builder_config.name == "original":
            good = not any(has_voxels(label, v) for v in known)
            require(good, "manual_dir", "the original labels", f"{path} with those of Lucchi++")
        expected = f"labels of the image's shape {image.shape}"
        good = image.shape == label.shape
        require(good, "manual_dir", expected, f"{path} of shape {label.shape}")


def manual_folder(dl_manager, name):
    """Return the folder of the user's files, or None where they are to be downloaded."""
    try:
        given = Path(dl_manager.manual_dir)
    except AssertionError:  # there is none, or it is empty
        return None
    folder = given / name if (given / name).is_dir() else given
    empty = not any(find_pairs(folder, part)[0] for part in PARTS.values())
    by_default = given == Path(dl_manager.download_dir, "manual")
    return None if empty and by_default else folder
