"""How a training should end: `python tests/benchmarks/settling.py DATA FOLDER [STEPS]`.

DATA holds lucchi_pp and sbem (training and validation, as TIFF with _groundtruth.tif). D is trained
on both for nine tenths of STEPS (4000), then to the end in several ways, each from the same
checkpoint. Prints the Jaccard index of both held-out parts (x < 256 of the one, the validation
volume of the other) with the batch statistics as trained and recalibrated, at several contrasts,
one JSON line each. The same call goes on where it was stopped.
"""

import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from common import report

WAYS = {
    "random to the end": {"settle": 0.0},
    "settled": {"settle": 0.1},
}
CONTRASTS = (1.0, 1.1, 1.2)


class Reached(Exception):
    """The step at which the ways part is reached."""


def volumes(data):
    """Return images and labels to train on, and the pair to validate on."""
    from volseg_keras import open_volume

    def pair(name):
        return [open_volume(data / f"{name}{end}.tif") for end in ("", "_groundtruth")]

    images, labels = zip(pair("lucchi_pp/training"), pair("sbem/training"), strict=True)
    return images, labels, pair("sbem/validation")


def train(data, folder, steps, recipe, stop=None):
    """Train, or go on, until the end or a step."""
    import keras

    from volseg_keras import build_model, fit
    from volseg_keras.training import fit_network as module

    class Stop(keras.callbacks.Callback):
        """Stop where the ways part, once the checkpoint is written."""

        def on_epoch_begin(self, epoch, logs=None):
            if stop and epoch * 25 >= stop:
                raise Reached

    train_before = module.train
    module.train = lambda plan, patches, given: train_before(plan, patches, [*given, Stop()])
    images, labels, validation = volumes(data)
    keras.utils.set_random_seed(0)
    try:
        fit(
            build_model("D"),
            images,
            labels,
            output=folder,
            recipe=recipe,
            steps=steps,
            hold_out=["x:0:256", None],
            validation=[validation],
            resume=True,
        )
    except Reached:
        pass
    finally:
        module.train = train_before


def scores(data, folder):
    """Yield what a run scores, by the statistics of its batch normalisations and the contrast."""
    import keras

    from volseg_keras.inference.engines.runtimes import keras_engine
    from volseg_keras.networks.models import split_normalization
    from volseg_keras.patches.augment import NONE
    from volseg_keras.training.data.hold_out import HoldOut, hold_out_parts
    from volseg_keras.training.data.labelled_volumes import labelled_volumes
    from volseg_keras.training.fit_network import get_recipe, make_patches
    from volseg_keras.training.loop.batch_norm import BATCHES, recalibrate_batch_norm
    from volseg_keras.training.validation import score

    network, _ = split_normalization(keras.saving.load_model(folder / "model.keras"))
    images, labels, validation = volumes(data)
    read = partial(labelled_volumes, channels=1, num_classes=2, normalization="volume")
    inner, held_out = hold_out_parts(read(images, labels), HoldOut.parse(["x:0:256", None]))
    held_out += read(*validation)
    patches = make_patches(inner, replace(get_recipe("fast"), augment=NONE), 2, 0, None)
    for statistics in ("as trained", "recalibrated"):
        if statistics == "recalibrated":
            recalibrate_batch_norm(network, (patches.batch(i, 8)[0] for i in range(BATCHES)))
        engine = keras_engine(network)
        for contrast in CONTRASTS:
            found = score(network, engine, held_out, contrast)
            each = dict(zip(("epfl", "sbem"), found.jaccard.values(), strict=True))
            yield {"statistics": statistics, "contrast": contrast, **each, "mean": found.mean}


def main():
    """Train, part, score."""
    from volseg_keras.training.recipes import get_recipe

    if len(sys.argv) < 3:
        sys.exit(__doc__)
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 4000
    base, part = get_recipe("fast"), int(0.9 * steps) // 25 * 25
    if not any((folder / name).exists() for name in WAYS):
        train(data, folder / "begun", steps, replace(base, settle=0.0), stop=part)
    for name, changes in WAYS.items():
        if not (folder / name).exists():
            shutil.copytree(folder / "begun", folder / name)
            # The best weights so far are of the time before the ways part.
            (folder / name / "model.keras").unlink(missing_ok=True)
        train(data, folder / name, steps, replace(base, **changes))
        for row in scores(data, folder / name):
            report(name, **{k: float(np.round(v, 4)) if k == "mean" else v for k, v in row.items()})


if __name__ == "__main__":
    main()
