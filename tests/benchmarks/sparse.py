"""What annotated sections buy: `python tests/benchmarks/sparse.py DATA FOLDER [STEPS [START]]`.

DATA holds sbem/ with training.tif, validation.tif and NAME_groundtruth.tif of both: another
microscope and animal than START has seen, sections of 40 nm. Some of the 20 training sections are
annotated; what `fit("auto")` makes of them in STEPS (2,500, about the ten minutes of the default on
two cores, so that a busy machine changes nothing) is scored on the validation sections at the
threshold that it chose:

- `published`: from START (D), weights that have not seen this microscope, sections evenly spaced;
- `scratch`: from no weights;
- `self-trained`: as `published`, with a round of self-training;
- `suggested`: as `published`, from half as many sections of this kind and as many that `suggest`
  names by what was made of those.

A line of JSON a run goes to FOLDER/sparse.jsonl; what is there is not done again, and what was
stopped goes on. sparse.png is drawn anew after each. The first dozen runs are what README claims
something about: 4 and 1 sections, published and from scratch, three seeds.
"""

import json
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from common import report

SECTIONS, SEEDS = (4, 1, 2, 8, 16), (0, 1, 2)
CLAIM = (4, 1), ("published", "scratch")
# In the picture: text and colour.
STUDIES = {
    "published": ("from published weights", "#0072b2"),
    "scratch": ("from scratch", "#888888"),
    "self-trained": ("and self-training", "#009e73"),
    "suggested": ("sections named by suggest", "#e69f00"),
}
VOXEL_SIZE = (40.0, 5.9, 5.9)


@dataclass(frozen=True)
class Run:
    """A point of a curve."""

    study: str
    sections: int
    seed: int

    @property
    def name(self):
        """Of its folder."""
        return f"{self.study}_{self.sections}_{self.seed}"


def opened(data, name):
    """Return the image of a stack, and its class ids."""
    from volseg_keras import open_volume

    image = open_volume(data / "sbem" / f"{name}.tif", voxel_size=VOXEL_SIZE)
    truth = open_volume(data / "sbem" / f"{name}_groundtruth.tif")
    return image, (np.asarray(truth) > 0).astype(np.uint8)


def annotated(truth, sections):
    """Return class ids of which all but some sections are not annotated."""
    label = np.full_like(truth, 255)
    label[sections] = truth[sections]
    return label


def chosen_sections(run, image, truth, folder):
    """Return the sections that are annotated in a run.

    Raises:
        FileNotFoundError: those that a model shall name need a run that was not done.
    """
    from volseg_keras import suggest

    depth = len(truth)
    if run.study != "suggested" or run.sections == 1:
        return [(2 * i + 1) * depth // (2 * run.sections) for i in range(run.sections)]
    before = folder / Run(run.study, run.sections // 2, run.seed).name
    known = json.loads((before / "sections.json").read_text())
    count = run.sections - len(known)
    found = suggest(before, image, count, annotated(truth, known))
    named = [section.z for section in found]
    left = [z for z in range(depth) if z not in known + named]  # where some look damaged
    return sorted(known + named + left[: count - len(named)])


def do(run, data, folder, steps, start):
    """Train and score; return the row of a run."""
    import keras

    from volseg_keras import fit, predict_volume, segmentation_scores
    from volseg_keras.files import writable_folder, write_json

    image, truth = opened(data, "training")
    path = writable_folder(folder / run.name)
    if not (path / "sections.json").is_file():
        write_json(path / "sections.json", chosen_sections(run, image, truth, folder))
    sections = json.loads((path / "sections.json").read_text())
    keras.utils.set_random_seed(run.seed)
    summary = fit(
        "auto",
        image,
        annotated(truth, sections),
        output=path,
        start="scratch" if run.study == "scratch" else start,
        steps=steps,
        self_train=int(run.study == "self-trained"),
        seed=100 * run.seed,
        resume=True,
    )
    image, truth = opened(data, "validation")
    probability = predict_volume(path, image)[..., 1]
    row = asdict(run) | {"annotated": sections, "steps": steps, "start": start}
    for name, threshold in (("jaccard", summary["threshold"]), ("jaccard_at_half", 0.5)):
        scores = segmentation_scores(truth, (probability >= threshold).astype(np.uint8))
        row[name] = scores["classes"][1]["jaccard"]
    return row | {"threshold": summary["threshold"], "held_out": summary["held_out_jaccard"]}


def draw(rows, path):
    """Draw the mean of the seeds of each study, and every run."""
    from matplotlib.figure import Figure

    from volseg_keras.report.plots import save_figure, style_axes

    points = defaultdict(lambda: defaultdict(list))
    for row in rows:
        points[row["study"]][row["sections"]].append(row["jaccard"])
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    panel = figure.subplots()
    for study, found in points.items():
        counts = sorted(found)
        means = [np.mean(found[count]) for count in counts]
        text, color = STUDIES[study]
        panel.plot(counts, means, "-", color=color, label=text)
        for count in counts:
            panel.plot([count] * len(found[count]), found[count], "o", ms=3, color=color)
    panel.set_xscale("log", base=2)
    known = sorted({row["sections"] for row in rows})
    panel.set_xticks(known, map(str, known))
    panel.minorticks_off()
    panel.set(xlabel="annotated sections", ylim=(0, 1))
    style_axes(panel, "Jaccard index")
    panel.legend(frameon=False)
    save_figure(figure, path)


def main():
    """Run all that is missing."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 2_500
    start = sys.argv[4] if len(sys.argv) > 4 else "D"
    folder.mkdir(parents=True, exist_ok=True)
    lines = folder / "sparse.jsonl"
    rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    done = {Run(row["study"], row["sections"], row["seed"]) for row in rows}
    runs = [Run(study, n, seed) for seed, n, study in product(SEEDS, SECTIONS, STUDIES)]
    runs.sort(key=lambda run: not (run.sections in CLAIM[0] and run.study in CLAIM[1]))
    for run in runs:
        if run in done:
            continue
        rows.append(do(run, data, folder, steps, start))
        with open(lines, "a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        report(run.study, **{name: rows[-1][name] for name in ("sections", "seed", "jaccard")})
        draw(rows, folder / "sparse.png")


if __name__ == "__main__":
    main()
