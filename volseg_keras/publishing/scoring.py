"""Score a model on a labelled volume: as it is, post-processed, and on changed copies."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from ..inference.engines.output import label_map, to_labels
from ..inference.options import PredictionOptions
from ..postprocessing.filters import median
from ..pretrained.summaries import AS_IT_IS, AVERAGED
from ..scores import Confusion, segmentation_scores
from ..volumes.labels import NOT_ANNOTATED


def scores_by_view(predictor, image, truth, threshold, options=None, *, on_progress=None):
    """Score a model with and without each step of post-processing.

    Args:
        predictor: a `Predictor`, see `inference.open_model`.
        image: `(z, y, x)` grey levels.
        truth: `(z, y, x)` class ids; 255 is "not annotated".
        threshold: chosen on held-out training data, for two classes.
        options: `PredictionOptions`.
        on_progress: called with the number of predictions done and their total.

    Returns:
        A dict from the name of each variant to its `segmentation_scores`.
    """
    scores, num_classes = {}, predictor.metadata.num_classes
    options = options or PredictionOptions()

    def score(view, labels):
        scores[view] = segmentation_scores(
            truth, labels, num_classes=num_classes, ignore_class=NOT_ANNOTATED
        )

    for done, averaged in enumerate((False, True), 1):
        views = replace(options, tta=True) if averaged else options
        slabs = list(predictor.slabs(image, views))
        labels = label_map(slabs)
        score(AVERAGED if averaged else AS_IT_IS, labels)
        if num_classes == 2:
            view = "averaged, chosen threshold" if averaged else "chosen threshold"
            score(view, label_map(slabs, threshold))
        if not averaged:
            score("median of 3", median(labels, 3))
        if on_progress:
            on_progress(done, 2)
    return scores


def scores_under_shifts(predictor, image, truth, options=None, *, on_progress=None):
    """Score a model on changed copies of a uint8 volume, standardised with their own statistics.

    All are rescaled alike, as if the other voxel size of some were unknown.

    Returns:
        A dict from the name of each of `SHIFTS` to its `scores.Confusion.foreground_jaccard`,
        without those that leave no annotated voxel.
    """
    table = {}
    for done, (name, shift) in enumerate(SHIFTS.items(), 1):
        copy, labels = shift(image, truth)
        if (labels != NOT_ANNOTATED).any():
            confusion = Confusion(predictor.metadata.num_classes, NOT_ANNOTATED)
            for z, values in predictor.slabs(copy, options):
                confusion.add(labels[z : z + len(values)], to_labels(values))
            table[name] = confusion.foreground_jaccard()
        if on_progress:
            on_progress(done, len(SHIFTS))
    return table


def grey_shift(change):
    """Return a shift of grey levels, cut to 0 to 255."""

    def shift(image, truth):
        return np.clip(np.rint(change(image.astype(np.float32))), 0, 255).astype(np.uint8), truth

    return shift


def noisy(image):
    """Add white noise of 25 grey levels."""
    return image + 25 * np.random.default_rng(0).standard_normal(image.shape, np.float32)


def missing_sections(image):
    """Replace every 16th section by noise."""
    image[8::16] = 128 + 40 * np.random.default_rng(0).standard_normal(image[8::16].shape)
    return image


def zoomed_by(factor):
    """Return a shift that changes the number of voxels along every axis."""

    def shift(image, truth):
        smooth = ndimage.gaussian_filter(image.astype(np.float32), max(0, 0.4 / factor - 0.4))
        return (
            np.clip(ndimage.zoom(smooth, factor, order=1), 0, 255).astype(np.uint8),
            ndimage.zoom(truth, factor, order=0),
        )

    return shift


def framed(image, truth):
    """Put a volume in a frame of zeros, in the middle of planes twice as high and wide."""
    width = [(0, 0), *((n // 2, n - n // 2) for n in truth.shape[1:])]
    padded = np.pad(image, width + [(0, 0)] * (image.ndim - 3))
    return padded, np.pad(truth, width)


def every_eighth_section(image, truth):
    """Keep every eighth section: isotropic voxels of 5 nm become sections of 40 nm."""
    return image[::8], truth[::8]


SHIFTS = {
    AS_IT_IS: lambda image, truth: (image, truth),
    "contrast x 0.6": grey_shift(lambda v: (v - 128) * 0.6 + 128),
    "contrast x 1.4": grey_shift(lambda v: (v - 128) * 1.4 + 128),
    "30 levels darker": grey_shift(lambda v: v - 30),
    "30 levels brighter": grey_shift(lambda v: v + 30),
    "gamma 0.7": grey_shift(lambda v: 255 * (v / 255) ** 0.7),
    "gamma 1.4": grey_shift(lambda v: 255 * (v / 255) ** 1.4),
    "16 bits": lambda image, truth: (image.astype(np.uint16) * 257, truth),
    "0 to 1": lambda image, truth: (image.astype(np.float32) / 255, truth),
    "in a frame of zeros": framed,
    "contrast inverted": grey_shift(lambda v: 255 - v),
    "blur, sigma 1.5 voxels": grey_shift(lambda v: ndimage.gaussian_filter(v, 1.5)),
    "white noise, 25 levels": grey_shift(noisy),
    "every 16th section noise": grey_shift(missing_sections),
    "every 8th section alone": every_eighth_section,
    "voxels 20 % smaller": zoomed_by(1.25),
    "voxels 25 % larger": zoomed_by(0.8),
}
