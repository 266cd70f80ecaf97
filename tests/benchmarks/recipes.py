"""What makes training better: `python tests/benchmarks/recipes.py DATA FOLDER [STEPS [NETWORK]]`.

DATA holds lucchi_pp and sbem as TIFF, see `volseg reproduce`. Every variation of the recipe "fast"
trains NETWORK (D) from the same weights on as many patches, 8 x STEPS (500) in 2D and 2 x STEPS in
3D. x < 256 of EPFL and the last four training sections of SBEM are left out. Prints the Jaccard
index there, and the best one of any threshold, one JSON line each. The same call goes on where it
was stopped.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import report

PATCHES = {2: 8, 3: 2}  # a step of the budget
SECTIONS = {2: slice(None, None, 8), 3: slice(64)}  # of EPFL to score
VARIATIONS = {
    2: {
        "fast": {},
        "batches of 4": {"batch": {2: 4}},
        "batches of 8": {"batch": {2: 8}},
        "batches of 8, AdamW": {"batch": {2: 8}, "optimizer": {2: "AdamW"}},
    },
    3: {
        "fast": {},
        "AdamW": {"optimizer": {3: "AdamW"}},
        "batches of 1": {"batch": {3: 1}},
        "batches of 1, AdamW": {"batch": {3: 1}, "optimizer": {3: "AdamW"}},
    },
}
THRESHOLDS = np.arange(0.05, 1, 0.05)


def pair(data, name, voxel_size):
    """Open an image and its labels."""
    from volseg_keras import open_volume

    files = (data / f"{name}{end}.tif" for end in ("", "_groundtruth"))
    return [open_volume(file, voxel_size=voxel_size) for file in files]


def jaccard(probability, truth, threshold):
    """Return the Jaccard index of the foreground."""
    found = probability >= threshold
    return float((found & truth).sum() / (found | truth).sum())


def main():
    """Train and score all variations."""
    from volseg_keras import build_model, fit, predict_volume
    from volseg_keras.networks.variants import get_variant
    from volseg_keras.training.recipes import RECIPES

    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 500
    network = sys.argv[4] if len(sys.argv) > 4 else "D"
    dims = get_variant(network).spatial_dims
    epfl = pair(data, "lucchi_pp/training", (5.0, 5.0, 5.0))
    sbem = pair(data, "sbem/training", (40.0, 5.9, 5.9))
    inner = zip([part[:, :, 256:] for part in epfl], [part[:16] for part in sbem], strict=True)
    images, labels = inner
    held_out = {
        "epfl": [part[SECTIONS[dims], :, :256] for part in epfl],
        "sbem": [part[16:] for part in sbem],
    }
    import keras  # after volseg_keras, which switches oneDNN on

    for name, changes in VARIATIONS[dims].items():
        keras.utils.set_random_seed(0)
        recipe = replace(RECIPES["fast"], **changes)
        budget = PATCHES[dims] * steps // recipe.batch[dims]
        run = folder / f"{network}, {name}, {budget} steps"
        model = build_model(network)
        fit(model, images, labels, output=run, recipe=recipe, steps=budget, resume=True)
        row = {"steps": budget}
        for part, (image, truth) in held_out.items():
            truth = np.asarray(truth) > 0
            found = predict_volume(run, np.asarray(image), normalization="volume")[..., 1]
            best = max(jaccard(found, truth, threshold) for threshold in THRESHOLDS)
            row |= {part: jaccard(found, truth, 0.5), f"{part}, best threshold": best}
        report(name, **row)


if __name__ == "__main__":
    main()
