"""All steps in one run: predict, score, export, reload, draw; optionally train first."""

import shutil
import time

import keras
import numpy as np

from .datasets.phantom import phantom
from .errors import require
from .export.export_model import export_savedmodel
from .files import writable_folder
from .inference.segmenter import predict_volume
from .networks.inference_graph import check_tensorflow
from .networks.models import build_model
from .pretrained.choice import choose_model
from .pretrained.presets import load_pretrained
from .pretrained.stored_facts import StoredFacts
from .progress import progress_bar
from .report.plots import overlay
from .scores import segmentation_scores
from .training.fit import fit
from .volumes.writing import save_volume

WRITTEN = ("image.tif", "truth.tif", "labels.tif", "overlay.png", "savedmodel")
RUN = "run"
TRAIN_SHAPE = (96, 256, 256)
TEST_SHAPE = (64, 192, 192)


def run(output, minutes=None):
    """Segment a phantom that the model has not seen and write everything to a folder.

    Args:
        output: folder to write; one that an earlier demonstration wrote is replaced.
        minutes: time to train network H on another phantom; None takes the published models that
            suit the phantom, which were trained on real tissue.

    Returns:
        The foreground Jaccard index on the unseen phantom.
    """
    check_tensorflow()
    output = writable_folder(output)
    clear(output, (*WRITTEN, RUN) if minutes else WRITTEN)
    unseen, truth = phantom(TEST_SHAPE, seed=1)
    if minutes:
        models = [train_on_phantom(output / RUN, minutes)]
    else:
        models = list(choose_model(unseen).models)
    say(f"phantom     {unseen.shape} voxels, {truth.mean():.1%} mitochondria, unseen")
    source = models[0]
    model = load_pretrained(source)
    say(f"loaded      {' and '.join(map(str, models))}")
    start = time.monotonic()
    with progress_bar("predicting") as on_progress:
        probability = predict_volume(models, unseen, on_progress=on_progress)
    seconds = time.monotonic() - start
    labels = probability.argmax(-1).astype(np.uint8)
    for name, array in (("image", unseen), ("truth", truth), ("labels", labels)):
        save_volume(output / f"{name}.tif", array)
    say(f"predicted   in {seconds:.0f} s: {output / 'labels.tif'}")
    scores = segmentation_scores(truth, labels)
    row = scores["classes"][1]
    say(
        f"scored      precision {row['precision']:.3f}, recall {row['recall']:.3f}, "
        f"Jaccard {row['jaccard']:.3f}, VOC {scores['voc']:.3f}"
    )
    export_savedmodel(model, output / "savedmodel", StoredFacts.of(source).card)
    say(f"exported    {output / 'savedmodel'}")
    crop = unseen[:32, :64, :64]
    again, memory = (
        predict_volume(each, crop, engine="keras", tta=False, denoise=0)
        for each in (output / "savedmodel", model)
    )
    difference = np.abs(again - memory).max()
    say(f"reloaded    probabilities differ by at most {difference:.1e}")
    picture = overlay(unseen, labels, output / "overlay.png", truth=truth)
    say(f"drawn       {picture}")
    return row["jaccard"]


def train_on_phantom(folder, minutes):
    """Train model H on a phantom; returns the folder of the run."""
    keras.utils.set_random_seed(0)
    image, label = phantom(TRAIN_SHAPE, seed=0)
    fit(build_model("H"), image, label, output=folder, recipe="demo", minutes=minutes)
    say(f"trained     at most {minutes:g} minutes on another phantom: {folder / 'curve.png'}")
    return folder


def say(text):
    """Print a line at once."""
    print(text, flush=True)


def clear(output, names):
    """Remove what an earlier demonstration wrote to a folder, and note what this one will.

    Args:
        output: the folder.
        names: of the files and folders to be written.

    Raises:
        FileExistsError: there are others of these names, or the folder is not of a demonstration.
    """
    mark = output / ".volseg-demo"
    noted = mark.read_text(encoding="utf-8").split() if mark.exists() else []
    earlier = [name for name in (*WRITTEN, RUN) if name in noted]
    others = {path.name for path in output.iterdir()} - {mark.name, *earlier}
    taken = others & set(names) if mark.exists() else others
    received = f"{output} with {', '.join(sorted(taken))}"
    require(not taken, "output", "a new folder", received, FileExistsError)
    for path in (output / name for name in earlier):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    mark.write_text("\n".join(names), encoding="utf-8")
