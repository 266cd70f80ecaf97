"""Train networks of Table 1 and of the zoo, and open their volumes."""

from pathlib import Path

import keras
import numpy as np

from ..errors import require
from ..networks.models import build_model, split_normalization
from ..networks.variants import find_variant, get_variant
from ..pretrained.presets import published
from ..training.fit import fit
from ..training.new_network import network_from
from ..volumes.labels import NOT_ANNOTATED, class_ids
from ..volumes.volume import as_volume, open_volume
from .catalogue import DATASETS


def train_network(
    network,
    pairs,
    output,
    *,
    seed,
    recipe,
    steps=None,
    minutes=None,
    batch_size=None,
    hold_out=None,
    validation=(),
    num_classes=2,
    start=None,
):
    """Train a network from a seed, or resume that.

    The weights depend on the arguments, and on the rounding of a machine, only.

    Args:
        network: name of a row of `VARIANTS`.
        pairs: images and their labels.
        output: folder of the run.
        seed: of weights and patches.
        recipe: as of `fit`, like `steps` to `validation`.
        steps: see `recipe`.
        minutes: see `recipe`.
        batch_size: see `recipe`.
        hold_out: see `recipe`.
        validation: see `recipe`.
        num_classes: number of classes.
        start: published model to start from, or None.

    Returns:
        The dict of metrics.json.
    """
    images, labels = map(list, zip(*pairs, strict=True))
    keras.utils.set_random_seed(seed)
    if start:
        model = published_start(start, network, num_classes)
    else:
        model = build_model(network, num_classes=num_classes)
    return fit(
        model,
        images,
        labels,
        output=output,
        recipe=recipe,
        steps=steps,
        minutes=minutes,
        batch_size=batch_size,
        hold_out=hold_out,
        validation=validation,
        resume=Path(output).exists(),
        seed=seed,
        start=start,
    )


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
        ValueError: files are missing.
    """
    return train_network(
        row.network,
        [open_pair(pair, data) for pair in row.train],
        output,
        seed=row.seed,
        num_classes=len(row.classes),
        start=row.start,
        recipe=row.recipe,
        steps=row.steps if steps is None else steps,
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
    require(found, "data", f"a folder with {pattern}", data)
    return found
