"""What annotated slices buy: `python tests/benchmarks/sparse.py DATA FOLDER [STEPS]`.

DATA is a folder as of `volseg reproduce --data`. Every run gets STEPS (800) of training. D learns
from slices of the training volume and is scored on the test volume; and H, from scratch and from
the published weights, from the first sections of a shifted copy of the test volume, segments that
copy and is scored on its last sections. The same call goes on where it was stopped; sparse.csv and
sparse.png appear in FOLDER.
"""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from common import report

SLICES = (1, 2, 4, 8, 16)
THINNED, SCORED = 8, 3
NAMES = {
    "scratch": "D from scratch, the same microscope",
    "shifted_scratch": "H from scratch, another microscope",
    "shifted_published": "from the published H, another microscope",
}
COLORS = {"scratch": "#e69f00", "shifted_scratch": "#bbbbbb", "shifted_published": "#0072b2"}


@dataclass(frozen=True)
class Study:
    """What one curve is of.

    Attributes:
        name: key of `NAMES`.
        train: `(image, label)`, (z, y, x).
        test: the same, to segment.
        scored: slice of its sections to score on.
        model: callable that makes the network.
        places: callable from a number of slices to their z.
    """

    name: str
    train: tuple
    test: tuple
    scored: slice
    model: object
    places: object


def shifted(image, label):
    """Return a volume as of another microscope: inverted, darker, blurred, of thick sections."""
    from scipy import ndimage

    grey = ndimage.gaussian_filter(image[::THINNED].astype(np.float32), (0, 1, 1))
    grey = 255 * (1 - grey / 255) ** 1.4
    return np.rint(grey).astype(np.uint8), label[::THINNED]


def studies(data):
    """Return the three studies."""
    from volseg_keras import build_model, load_pretrained

    other, last = shifted(*data.test), np.s_[-SCORED:]
    depth = len(data.train[0])

    def spread(count):
        return (np.arange(count) * 2 + 1) * depth // (2 * count)

    d, h = partial(build_model, "D"), partial(build_model, "H")
    published = partial(load_pretrained, "H")
    return [
        Study("scratch", data.train, data.test, np.s_[:], d, spread),
        Study("shifted_scratch", other, other, last, h, np.arange),
        Study("shifted_published", other, other, last, published, np.arange),
    ]


def run(study, count, folder, steps):
    """Train on `count` slices and score, or read what was done; return the Jaccard index."""
    import keras

    from volseg_keras import fit, predict_volume, segmentation_scores
    from volseg_keras.files import write_json
    from volseg_keras.training.fit import NOT_ANNOTATED

    done = folder / "jaccard.json"
    if done.is_file():
        return json.loads(done.read_text())
    image, label = study.train
    sparse = np.full_like(label, NOT_ANNOTATED)
    sparse[study.places(count)] = label[study.places(count)]
    keras.utils.set_random_seed(0)
    options = {"recipe": "fast", "steps": steps, "resume": True}
    fit(study.model(), image, sparse, output=folder, normalization="volume", **options)
    found, truth = predict_volume(folder, study.test[0]).argmax(-1), study.test[1]
    scores = segmentation_scores(truth[study.scored], found[study.scored])
    jaccard = scores["classes"][1]["jaccard"]
    write_json(done, jaccard)
    return jaccard


def draw(rows, steps, path):
    """Draw the curves."""
    from matplotlib.figure import Figure

    from volseg_keras.report.plots import save_figure, tidy

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    panel = figure.subplots()
    for name, label in NAMES.items():
        points = [(row["slices"], row["jaccard"]) for row in rows if row["study"] == name]
        if points:
            panel.plot(*zip(*points, strict=True), "o-", color=COLORS[name], label=label)
    panel.set_xscale("log", base=2)
    panel.set_xticks(SLICES, map(str, SLICES))
    panel.set(xlabel=f"annotated slices, {steps} steps of training", ylim=(0, 1))
    tidy(panel, "Jaccard index")
    panel.legend(frameon=False)
    save_figure(figure, path)


def main():
    """Run all that is missing; print a JSON line a run."""
    from volseg_keras.files import write_csv
    from volseg_keras.publishing.table1 import load_data

    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, steps = Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 800
    rows = []
    for study in studies(load_data(Path(sys.argv[1]))):
        for count in SLICES:
            if study.train is study.test and count > len(study.train[0]) - SCORED:
                continue
            jaccard = run(study, count, folder / f"{study.name}_{count}_{steps}", steps)
            rows.append({"study": study.name, "slices": count, "jaccard": jaccard})
            report(NAMES[study.name], slices=count, jaccard=jaccard, steps=steps)
            write_csv(folder / "sparse.csv", rows[0], rows)
            draw(rows, steps, folder / "sparse.png")


if __name__ == "__main__":
    main()
