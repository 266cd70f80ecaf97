"""Train networks of Table 1 and of the zoo, and open their volumes."""

from pathlib import Path

import keras
import numpy as np

from ..errors import require
from ..files import read_json, writable_folder, write_json
from ..networks.models import build_model, split_normalization
from ..networks.variants import find_variant, get_variant
from ..pretrained.presets import published
from ..training.arguments import make_budget
from ..training.fit import fit
from ..training.new_network import network_from
from ..training.recipes import get_recipe
from ..volumes.labels import NOT_ANNOTATED, class_ids
from ..volumes.volume import as_volume, open_volume
from .catalogue import DATASETS


def seeded_network(network, seed, *, num_classes=2, start=None):
    """Return a network whose weights depend on the arguments only; `fit` is to get the same seed.

    Args:
        network: name of a row of `VARIANTS`.
        seed: of the weights.
        num_classes: number of classes.
        start: published model to start from, or None.
    """
    keras.utils.set_random_seed(seed)
    if start:
        return published_start(start, network, num_classes)
    return build_model(network, num_classes=num_classes)


def published_start(name, network, num_classes):
    """Return a published model as a start.

    Raises:
        ValueError: it is not published, or of another network.
    """
    known = published()
    require(name.lower() in known, "start", f"one of {', '.join(sorted(known))}", name)
    model = network_from(known[name.lower()], num_classes)
    variant = find_variant(split_normalization(model)[0].name)
    require(variant == get_variant(network), "start", f"a model of network {network}", name)
    return model


def check_budget(output, given):
    """Raise ValueError if a folder holds runs of another budget or other data."""
    file = output / "budget.json"
    found = read_json(file)
    expected = f"a new folder, or one of {given}"
    require(found in ({}, given), "output", expected, f"{output} of {found}")
    write_json(file, given)


def train_row(row, data, output, *, steps=None):
    """Train a published model, or resume that.

    Args:
        row: a `PublishedModel`.
        data: folder of the volumes.
        output: folder of the run.
        steps: budget other than the row's, for a rehearsal.

    Returns:
        The dict of metrics.json.

    Raises:
        ValueError: files are missing, or the run was begun with another budget.
    """
    steps = row.steps if steps is None else steps
    make_budget(get_recipe(row.recipe), steps, None)
    resumes = Path(output).exists()
    images, labels = map(list, zip(*(open_pair(pair, data) for pair in row.train), strict=True))
    check_budget(writable_folder(output), {"steps": steps})
    return fit(
        seeded_network(row.network, row.seed, num_classes=len(row.classes), start=row.start),
        images,
        labels,
        output=output,
        resume=resumes,
        seed=row.seed,
        start=row.start,
        recipe=row.recipe,
        steps=steps,
        batch_size=row.batch_size,
        hold_out=[pair.hold_out for pair in row.train],
        validation=[open_pair(pair, data) for pair in row.validate],
    )


def open_pair(pair, data):
    """Return image and class ids of a `Pair`; the image is lazy unless it has to be in memory.

    Raises:
        ValueError: files are missing.
    """
    images, labels = find_files(pair.image, data), find_files(pair.labels, data)
    expected = f"as many files {pair.labels} as {pair.image} in {data}"
    good = len(images) == len(labels)
    require(good, "data", expected, f"{len(labels)} and {len(images)}")
    size = DATASETS[pair.dataset].voxel_size
    opened = [open_volume(path, voxel_size=size) for path in images]
    image = opened[0]
    if len(opened) > 1:
        image = as_volume(read_parts(images), size, images[0].name)
    label = class_ids(read_parts(labels))
    if pair.without:
        label[np.isin(label, pair.without)] = NOT_ANNOTATED
    return image, label


def read_parts(paths):
    """Return the voxels `(z, y, x)` of a volume that may come in parts along z."""
    return np.concatenate([open_volume(path)[...] for path in paths])


def find_files(pattern, data):
    """Return the files of a pattern in a folder, in order along z."""
    found = sorted(Path(data).glob(pattern))
    # The beginning of a pattern: lucchi_pp/testing for testing.tif or testing_z000-082.tif.
    name = f"{pattern.partition('[')[0].removesuffix('.tif').rstrip('*')}.tif"
    require(found, "data", f"a folder with {name}, see the card of the model", data)
    return found
