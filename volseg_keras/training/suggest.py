"""Which sections to annotate next."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import require, require_positive
from ..inference.engines.output import (
    foreground_probability,
    join_slabs,
    to_labels,
    to_probability,
)
from ..inference.open_model import open_model
from ..inference.options import PredictionOptions
from ..inference.tiled_prediction import HALO
from ..pretrained.choice import ChosenModels, common_scale
from ..pretrained.stored_facts import StoredFacts
from ..volumes.class_ids import ArrayClassIds
from ..volumes.crop import cropped
from ..volumes.dimensions import check_shape, known_voxel_size
from ..volumes.labels import NOT_ANNOTATED, class_ids, in_smallest_type, present_ids
from .data.annotated_sections import spread, without_unpainted

# Sections that a 2D network predicts, and the side in pixels of their middle that is predicted.
MOST_PREDICTED, SIDE = 48, 768
# Uncertain regions thinner than this many pixels are rims of objects and do not count.
RIM = 7
# Robust deviations from the median beyond which a section counts as damaged.
DAMAGED = 8.0
# A section counts as a neighbour of another one within 1 / GAPS of the mean distance between those
# that are annotated and suggested.
GAPS = 2


@dataclass(frozen=True)
class Suggestion:
    """A section to annotate.

    Attributes:
        z: its number, from 0.
        mean_uncertainty: mean of `uncertainty`, without rims of objects.
        distance: distance, in position and appearance, from annotated and suggested sections.
        plane: `(y, x)` grey levels.
        labels: `(y, x)` predicted class ids.
        uncertainty: `(y, x)`, from 0 to 1 at the threshold.
    """

    z: int
    mean_uncertainty: float
    distance: float
    plane: np.ndarray
    labels: np.ndarray
    uncertainty: np.ndarray


def suggest(model, volume, count=3, labels=None, on_progress=None):
    """Return the sections of a stack whose annotation would teach a model most.

    These are the sections where it is least certain and that differ most from the annotated ones
    and from each other. Sections that look unlike all others, such as damaged ones, come last. A 2D
    model predicts each section by itself here, without an average over its neighbours.

    Args:
        model: folder of a run, .keras file or name of a published model; or "auto", see
            `choose_model`, of which the first is taken.
        volume: `(z, y, x)` array-like of grey levels.
        count: number of sections.
        labels: `(z, y, x)` array-like of the annotation so far, or None.
        on_progress: called with the number of sections, or of tiles, predicted and their total.

    Returns:
        A list of `Suggestion`, the most useful first; fewer if fewer sections were predicted: a 2D
        model predicts 48, evenly spaced, and of each the middle 768 x 768 pixels.

    Raises:
        ValueError: an argument does not fit.

    Example:
        >>> for section in volseg_keras.suggest("run", volume, labels=labels):
        ...     print(section.z)
    """
    require_positive(count=count)
    annotated = [] if labels is None else annotated_of(volume, labels)
    model = ChosenModels.of(volume, (model,)).model
    predictor = SectionPredictor(model, volume, on_progress)
    uncertainties, appearances = predictor.sections(annotated)
    gap = max(1, len(volume) // (GAPS * (len(annotated) + count)))
    columns = zip(*appearances.values(), strict=True)
    scaled = np.array([robust_deviations(column) for column in columns]).T
    places = dict(zip(appearances, scaled, strict=True))
    intact = {z for z, place in places.items() if np.abs(place[:-1]).max() < DAMAGED}
    chosen = most_informative(intact - set(annotated), annotated, uncertainties, places, count, gap)
    known = {*annotated, *(z for z, _ in chosen)}
    damaged = set(places) - intact - known
    chosen += most_informative(damaged, known, uncertainties, places, count - len(chosen), gap)
    return [predictor.suggestion(z, uncertainties[z], distance) for z, distance in chosen]


def annotated_of(volume, labels):
    """Return the z of annotated sections; without any label, a section is not annotated."""
    check_shape(volume, labels)
    if nothing_is_annotated(labels):
        return []
    ids, _ = without_unpainted(ArrayClassIds(class_ids(np.asarray(labels))))
    return ids.annotated_sections(NOT_ANNOTATED).tolist() if ids.painted.any() else []


def nothing_is_annotated(labels):
    """Return whether labels are 255 everywhere, which is not a mask of the whole stack."""
    return bool((np.asarray(labels) == NOT_ANNOTATED).all())


def most_informative(free, known, uncertainties, places, count, gap):
    """Return up to `count` pairs of a section and its distance, by uncertainty times distance.

    Sections within `gap` of others, which show the same objects, are taken if none else is left.
    """
    known, free, chosen = list(known), set(free), []
    while free and len(chosen) < count:
        new = {z for z in free if all(abs(z - k) > gap for k in known)}
        distances = {
            z: min((np.linalg.norm(places[z] - places[k]) for k in known), default=1.0)
            for z in sorted(new or free)
        }
        best = max(distances, key=lambda z: uncertainties[z] * distances[z])
        chosen.append((best, float(distances[best])))
        known.append(best)
        free.remove(best)
    return chosen


def robust_deviations(values):
    """Return how many robust deviations numbers are from their median."""
    values = np.asarray(values)
    apart = values - np.median(values)
    return apart / (1.4826 * np.median(np.abs(apart)) + 0.05 * np.abs(apart).max() + 1e-6)


def uncertainty_of(probability, threshold):
    """Return the uncertainty of probabilities `(y, x, maps)`, from 0 to 1 at the threshold."""
    if probability.shape[-1] > 2:
        count = probability.shape[-1]
        return (1 - probability.max(-1)) * count / (count - 1)
    foreground = probability[..., -1]
    below = foreground / threshold
    return np.minimum(below, (1 - foreground) / (1 - threshold))


class SectionPredictor:
    """Predicts the sections of a stack one by one.

    Args:
        model: folder of a run, .keras file or name of a published model.
        volume: `(z, y, x)` array-like of grey levels.
        on_progress: see `suggest`.
    """

    def __init__(self, model, volume, on_progress=None):
        self.volume, self.on_progress = volume, on_progress
        self.threshold = StoredFacts.of(model).threshold
        scale = common_scale((model,), known_voxel_size(volume))
        options = PredictionOptions(tta=False, scale=scale)
        self.prepared = open_model(model).prepare(volume, options)
        starts = [max(0, n - SIDE) // 2 for n in volume.shape[1:]]
        self.middle = cropped(volume, (slice(None), *(slice(a, a + SIDE) for a in starts)))
        self.spatial_dims = self.prepared.spatial_dims

    def sections(self, annotated):
        """Return mean uncertainty and appearance of every predicted section, as dicts by z."""
        uncertainties, appearances = {}, {}
        for z, probability in self.predictions(annotated):
            uncertainty = uncertainty_of(probability, self.threshold)
            uncertainties[z] = float(ndimage.grey_opening(uncertainty, size=RIM).mean())
            appearances[z] = self.appearance(z, probability)
        return uncertainties, appearances

    def predictions(self, annotated):
        """Yield z and the probabilities `(y, x, maps)` of sections, one by one."""
        depth = self.volume.shape[0]
        if self.spatial_dims == 3:
            for first, values in self.prepared.slabs(self.on_progress, self.middle):
                yield from enumerate(map(to_probability, values), first)
            return
        chosen = sorted({*spread(range(depth), MOST_PREDICTED), *annotated})
        for done, z in enumerate(chosen, 1):
            yield z, self.predict(self.middle, z)
            if self.on_progress:
                self.on_progress(done, len(chosen))

    def predict(self, volume, z):
        """Return the probabilities `(y, x, maps)` of a section, predicted with its context."""
        first = max(0, z - HALO[self.spatial_dims][0])
        block = np.asarray(volume[first : z + HALO[self.spatial_dims][0] + 1])
        return to_probability(join_slabs(self.prepared.slabs(part=block))[z - first])

    def appearance(self, z, probability):
        """Return numbers that describe how a section looks and, the last, its position."""
        grey = self.prepared.intensity.standardize(np.asarray(self.middle[z : z + 1]))[0]
        sharpness = np.abs(np.diff(grey, axis=1)).mean()
        return grey.mean(), grey.std(), sharpness, foreground_probability(probability).mean(), z

    def suggestion(self, z, mean_uncertainty, distance):
        """Return the `Suggestion` of a section."""
        probability, plane = self.predict(self.volume, z), np.asarray(self.volume[z : z + 1])[0]
        found = to_labels(probability, self.threshold)
        uncertainty = uncertainty_of(probability, self.threshold)
        return Suggestion(z, mean_uncertainty, distance, plane, found, uncertainty)


def draft(labels, suggestions, shape):
    """Return labels `(z, y, x)` with what a model finds in suggested sections, to be corrected.

    Args:
        labels: the annotation so far, or None.
        suggestions: `Suggestion`s.
        shape: `(z, y, x)` of the stack.

    Returns:
        uint8 class ids, 255 in all other sections without annotation. If `labels` are a mask of
        two grey levels, so is what is returned, with empty sections where nothing is annotated.

    Raises:
        ValueError: nothing was annotated or found, so that the draft would be read as a mask.
    """
    given = np.full(shape, NOT_ANNOTATED, np.uint8) if labels is None else np.asarray(labels)
    ids = given if nothing_is_annotated(given) else class_ids(given)
    found = np.array(without_unpainted(ArrayClassIds(ids))[0])
    if not present_ids(found):  # nothing is painted yet
        found[:] = NOT_ANNOTATED
    for suggestion in suggestions:
        found[suggestion.z] = suggestion.labels
    if not np.array_equal(ids, given):
        return in_smallest_type(np.abs(as_mask(found, given)))
    good = present_ids(found)
    require(good, "model", "one that finds something in these sections, for a draft", "nothing")
    return found


def is_of_grey_levels(labels):
    """Return whether labels are a mask of two grey levels that are not class ids themselves."""
    return not nothing_is_annotated(labels) and not np.array_equal(class_ids(labels), labels)


def as_mask(ids, mask):
    """Return class ids in the two grey levels of a mask, 255 as background.

    Raises:
        ValueError: there are several classes.
    """
    low, high = mask.min(), mask.max()
    foreground, background = (high, low) if high else (low, high)  # -1 beside 0 is a mask, too
    several = max(present_ids(ids), default=0) > 1
    received = "a mask of two grey levels"
    require(not several, "labels", "class ids, for a model of several classes", received)
    return np.where(ids == 1, foreground, background)


def draft_section(labels, suggestion):
    """Write what a model finds in a suggested section to labels, unless something is painted there.

    Args:
        labels: `(z, y, x)` array, which is changed, or array-like, of which a copy is. A mask of
            two grey levels stays one.
        suggestion: a `Suggestion`.

    Returns:
        The array.
    """
    labels = labels if isinstance(labels, np.ndarray) else np.array(labels)
    plane = labels[suggestion.z] if labels.ndim == 3 else labels
    if is_of_grey_levels(labels):
        empty, found = as_mask(np.zeros(1), labels), as_mask(suggestion.labels, labels)
    else:
        empty, found = (0, NOT_ANNOTATED), suggestion.labels
    if np.isin(plane, empty).all():
        plane[...] = found
    return labels
