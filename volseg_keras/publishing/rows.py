"""Train a row of the zoo, and open what it is trained and scored on."""

from pathlib import Path

import keras
import numpy as np

from ..errors import require
from ..inference.engines import on_gpu
from ..networks.models import at_policy, build_model
from ..pretrained.presets import load_pretrained
from ..pretrained.zoo import DATASETS
from ..training.fit import fit
from ..volumes.labels import NOT_ANNOTATED, class_ids
from ..volumes.volume import open_volume


def train_row(row, data, output, *, steps=None):
    """Train a published model, or go on where that was stopped.

    The weights are a function of the row, and of the machine's rounding: two runs on one machine
    give the same.

    Args:
        row: a `PublishedModel`.
        data: folder of the volumes.
        output: folder of the run.
        steps: budget other than the row's, for a rehearsal.

    Returns:
        The dict of metrics.json.

    Raises:
        ValueError: files are missing.
    """
    trained = [open_pair(pair, data) for pair in row.train]
    validated = [open_pair(pair, data) for pair in row.validate]
    keras.utils.set_random_seed(row.seed)
    if on_gpu():
        keras.config.set_dtype_policy("mixed_bfloat16")
    if row.start:
        network = at_policy(load_pretrained(row.start))
    else:
        network = build_model(row.network, num_classes=len(row.classes))
    images, labels = zip(*trained, strict=True)
    return fit(
        network,
        list(images),
        list(labels),
        output=output,
        recipe=row.recipe,
        steps=steps or row.steps,
        hold_out=[pair.hold_out for pair in row.train],
        validation=validated,
        resume=True,
        seed=row.seed,
        start=row.start,
    )


def open_pair(pair, data):
    """Return image and class ids of a `Pair`; the image is open, or in memory if it has parts.

    Raises:
        ValueError: files are missing.
    """
    images, labels = find_files(pair.image, data), find_files(pair.labels, data)
    expected = f"as many files {pair.labels} as {pair.image} in {data}"
    good = len(images) == len(labels)
    require(good, "data", expected, f"{len(labels)} and {len(images)}")
    size = DATASETS[pair.dataset].voxel_size
    opened = [open_volume(path, voxel_size=size) for path in images]
    image = opened[0] if len(opened) == 1 else read_parts(images)
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
    require(found, "data", f"a folder with {pattern}", data)
    return found
