"""Write the folder of a published model: its formats, scores and card."""

import shutil
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import require
from ..export.export_model import export_savedmodel
from ..files import read_json, work_folder, write_json
from ..inference.open_model import open_model
from ..inference.options import PredictionOptions
from ..networks.inference_graph import check_tensorflow
from ..networks.variants import find_variant, get_variant
from ..pretrained.checksums import CHECKSUMS, write_checksums
from ..pretrained.choice import rescaling
from ..pretrained.presets import KERAS, METRICS, load_pretrained
from ..pretrained.stored_facts import StoredFacts
from ..training.recipes import get_recipe
from ..volumes.class_ids import annotated_sections
from ..volumes.dimensions import check_shape, known_voxel_size
from ..volumes.labels import NOT_ANNOTATED, class_ids
from .card import card_text, facts_of
from .catalogue import DATASETS
from .model_table import write_model_tables
from .scoring import scores_by_view, scores_under_shifts
from .zoo_training import open_pair

# Entries of the metrics.json of a run that a card, or its comparison with a row, needs.
NEEDED = ("variant", "parameters", "recipe", "seed", "steps", "minutes", "volumes", "hold_out")
NEEDED += ("held_out", "threshold")
CONTEXT = 24  # sections around those that are scored


@dataclass(frozen=True)
class ScoredVolume:
    """A volume that a model is scored on.

    Attributes:
        name: for the card.
        image: `(z, y, x)` intensities.
        truth: `(z, y, x)` class ids; 255 is "not annotated".
        voxel_size: `(z, y, x)` in nm, or None.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    voxel_size: tuple | None = None


def zoo_tests(row, data):
    """Return the `ScoredVolume`s of a row of the zoo, read from a folder of data."""
    tests = []
    for pair in row.test:
        image, truth = open_pair(pair, data)
        dataset = DATASETS[pair.dataset]
        name = f"{dataset.short}, {Path(pair.name).stem}"
        tests.append(ScoredVolume(name, image[...], truth, dataset.voxel_size))
    return tests


def given_test(image, label):
    """Return the `ScoredVolume` of an open volume and its labels."""
    size = known_voxel_size(image)
    return ScoredVolume(Path(image.path).name, image[...], class_ids(label), size)


def annotated_part(test):
    """Return a `ScoredVolume` from the first annotated section to the last, with some around."""
    sections = annotated_sections(test.truth, NOT_ANNOTATED)
    part = slice(max(0, sections[0] - CONTEXT), sections[-1] + 1 + CONTEXT)
    return replace(test, image=test.image[part], truth=test.truth[part])


def publish(run, output, tests, *, about="", row=None, on_progress=None):
    """Write a published model, in place of an earlier one of the same name.

    `output` receives model.keras; a SavedModel with a test vector, test_input.npy and
    test_output.npy; the run's history.csv, curve.png and card.json; metrics.json with all scores,
    card.md and SHA256SUMS. The tables of models in README.md files are updated.

    Args:
        run: folder of a run of `fit`.
        output: folder to write, named as the model.
        tests: `ScoredVolume`s; the first, of uint8, is scored under shifts too.
        about: paragraphs on the data for the card, instead of those of `row`.
        row: the `PublishedModel` that the run is of, None for another model.
        on_progress: called with the number of predictions done of a step and their total.

    Returns:
        The dict that is written to metrics.json.

    Raises:
        ValueError: the run has no held-out part, its network is not that of `row` or none of
            `build_model`, the first image is not uint8, or shapes differ.
        FileExistsError: `output` is a folder, but not of a published model.
    """
    check_tensorflow()
    run, output = Path(run), Path(output).resolve()
    metrics = check_run(run, row)
    check_tests(tests)
    check_output(output)
    require(row or about.strip(), "about", "paragraphs on the data, for the card", "none")
    model, stored = load_pretrained(run), StoredFacts.of(run)
    classes = model.output_shape[-1]
    good = not row or classes == len(row.classes)
    require(good, "run", f"a run with {row and len(row.classes)} classes", f"{classes} classes")
    round_weights(model)
    output.parent.mkdir(parents=True, exist_ok=True)
    with work_folder(output) as work:
        part, file = work / output.name, work / KERAS
        save_small(model, file)
        export_savedmodel(model, part, stored.card)
        predictor = open_model(file, defaults=stored.defaults)
        scored = score_all(predictor, tests, stored, on_progress)
        metrics["test"], metrics["other_tests"] = scored[0], scored[1:]
        write_files(model, run, part, metrics, about, row)
        file.replace(part / file.name)
        write_checksums(part)
        earlier = output.parent / ".earlier" / output.name
        if output.exists():
            shutil.rmtree(earlier, ignore_errors=True)
            earlier.parent.mkdir(exist_ok=True)
            output.replace(earlier)
        part.replace(output)  # if this process is killed before, the earlier one is kept
        shutil.rmtree(earlier, ignore_errors=True)
        with suppress(OSError):  # there is none, or it holds that of another model
            earlier.parent.rmdir()
    write_model_tables(output.parent)
    return metrics


def round_weights(model):
    """Round weights to float16, so that they compress to half the size, with the same scores.

    What is beyond the range of float16, such as some moving variances, stays as it is.
    """
    model.set_weights([rounded(weight) for weight in model.get_weights()])


def rounded(weight):
    """Return a weight rounded to float16, as float32; values too large for that are kept."""
    with np.errstate(over="ignore"):
        short = weight.astype(np.float16).astype(np.float32)
    return np.where(np.isfinite(short), short, weight)


def save_small(model, path):
    """Save a Keras model as a compressed .keras file."""
    plain = path.with_name(f"plain.{path.name}")
    model.save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in source.namelist():
            file.writestr(name, source.read(name))
    plain.unlink()


def score_all(predictor, tests, stored, on_progress=None):
    """Return the entry of each `ScoredVolume` in metrics.json; the first one has shifts too.

    Volumes are rescaled to the model's voxels, and what it finds is smoothed over sections, where
    `volseg predict` does so. If little of a volume is annotated, only that part is predicted.
    """
    scored = []
    for test, whole in zip(map(annotated_part, tests), tests, strict=True):
        size = stored.nearest_voxel_size(test.voxel_size)
        scale = rescaling(test.voxel_size, size, predictor.spatial_dims)
        options = PredictionOptions(scale=scale)
        scores = scores_by_view(
            predictor,
            test.image,
            test.truth,
            stored.threshold,
            options,
            on_progress=on_progress,
        )
        entry = {"name": test.name, "voxels": list(whole.image.shape), "scale": list(scale)}
        entry["sections"] = len(annotated_sections(test.truth, NOT_ANNOTATED))
        if not scored:
            entry["shifts"] = scores_under_shifts(
                predictor, test.image, test.truth, options, on_progress=on_progress
            )
        scored.append(entry | {"scores": scores})
    return scored


def check_run(run, row):
    """Return the dict of a run's metrics.json; raise ValueError unless it suits card and row.

    Args:
        run: its folder.
        row: the `PublishedModel` that it must be a run of, or None.
    """
    metrics = read_json(Path(run) / METRICS)
    held_out = metrics.get("held_out_jaccard") is not None
    require(held_out, "run", "a run with a held-out part", run)
    missing = [name for name in NEEDED if name not in metrics]
    expected = "a run of `fit` with this version of the package"
    require(not missing, "run", expected, f"{run}, whose metrics.json lacks {', '.join(missing)}")
    network = find_variant(metrics["variant"])
    require(network, "run", "a run of a network from `build_model`", metrics["variant"])
    if row:
        done, planned = trained_as(metrics), row_trained_as(row)
        require(done == planned, "run", f"a run trained like this row: {planned}", done)
    return metrics


def check_tests(tests):
    """Raise ValueError for volumes that a model cannot be scored on."""
    image = tests[0].image
    expected = "(z, y, x) intensities of 8 bits, since scores under shifts need them"
    good = image.dtype == np.uint8 and image.ndim == 3
    require(good, "image", expected, f"{image.dtype} of shape {image.shape}")
    for test in tests:
        check_shape(test.image, test.truth)


def trained_as(metrics):
    """Return what distinguishes runs of different rows, from the metrics.json of a run."""
    volumes, hold_out = metrics["volumes"], metrics["hold_out"]
    parts = hold_out if isinstance(hold_out, list) else [hold_out] * len(volumes)
    validation = metrics.get("validation", [])
    names = ([Path(volume["name"]).name for volume in some] for some in (volumes, validation))
    network = find_variant(metrics["variant"]).name
    training = network, metrics["recipe"], metrics["seed"]
    options = metrics.get("from"), metrics.get("batch")
    return _training_text(*training, *options, *names, parts)


def row_trained_as(row):
    """Return the text of `trained_as` for a run of a `PublishedModel`."""
    names = ([Path(pair.name).name for pair in pairs] for pairs in (row.train, row.validate))
    usual = get_recipe(row.recipe).batch[get_variant(row.network).spatial_dims]
    batch = None if row.batch_size == usual else row.batch_size
    training = row.network, row.recipe, row.seed, row.start, batch
    return _training_text(*training, *names, [pair.hold_out for pair in row.train])


def _training_text(network, recipe, seed, start, batch, names, validation, hold_out):
    volumes = f"{', '.join(names)} without {', '.join(map(str, hold_out))}"
    validated = f", validated on {', '.join(validation)}" if validation else ""
    start = f", from {start}" if start else ""
    batch = f", batches of {batch}" if batch else ""
    return f"network {network}, recipe {recipe}, seed {seed}{start}{batch}, {volumes}{validated}"


def check_output(output):
    """Raise FileExistsError for a folder that is not an earlier published model."""
    good = not output.exists() or (output / CHECKSUMS).is_file() or not any(output.iterdir())
    expected = "a new folder, or one of a published model"
    require(good, "output", expected, f"{output} without {CHECKSUMS}", FileExistsError)


def write_files(model, run, folder, metrics, about, row):
    """Write what describes a published model to its folder."""
    for name in ("history.csv", "curve.png", "card.json"):
        if (run / name).is_file():
            shutil.copy(run / name, folder)
    if row:
        write_json(folder / "card.json", facts_of(folder.name, row, metrics), indent=2)
    write_json(folder / METRICS, metrics, indent=2)
    text = card_text(folder.name, model, metrics, about, row)
    (folder / "card.md").write_text(text, encoding="utf-8")
