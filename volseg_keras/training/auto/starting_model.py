"""Where to start training from: published models, scored on the annotated sections."""

import math
import time
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product

import numpy as np

from ...errors import require
from ...files import read_json, write_json
from ...inference.engines.output import foreground_maps, join_slabs
from ...inference.open_model import open_model
from ...inference.options import PredictionOptions
from ...pretrained.choice import BEST, rescaling
from ...pretrained.network_dims import dims_for
from ...pretrained.presets import published
from ...pretrained.stored_facts import StoredFacts
from ...progress import progress_bar
from ...report.console import print_table
from ...resources import free_memory
from ...scores import ThresholdScores, best_threshold
from ...volumes.class_ids import ArrayClassIds
from ...volumes.dimensions import channels_of
from ...volumes.labels import NOT_ANNOTATED, present_ids
from ...volumes.resampling import resample, resample_labels
from ..arguments import check_recipe
from ..data.annotated_sections import section_view, spread
from ..new_network import NETWORKS
from ..recipes import get_recipe

# Sections of a volume to score models on, and seconds after which no further model is scored.
SECTIONS, SECONDS = 4, 90
# A model finds something if its Jaccard index exceeds the all-foreground baseline by this much.
MARGIN = 0.03
SHARE = 1 / 8  # of the free memory that a rescaled stack may take


@dataclass(frozen=True)
class Candidate:
    """A published model to start from.

    Attributes:
        name: its name.
        scale: how many voxels it sees for one of the stack, along (z, y, x).
        jaccard: Jaccard index on the annotated sections at `threshold`, the highest of any class of
            the labels with any class of the model.
        threshold: the minimum foreground probability for which the index is highest.
        chance: the all-foreground baseline: the index if every voxel is foreground.
    """

    name: str
    scale: tuple
    jaccard: float
    threshold: float
    chance: float

    @property
    def finds(self):
        """Whether it finds anything."""
        return self.jaccard > self.chance + MARGIN

    @property
    def row(self):
        """Its row of a table."""
        scale = " x ".join(f"{s:.3g}" for s in self.scale)
        scale = "as they are" if set(self.scale) == {1} else scale
        verdict = "" if self.finds else f"all-foreground baseline: {self.chance:.3f}"
        return self.name, scale, f"{self.jaccard:.3f}", f"{self.threshold:.2f}", verdict


@dataclass(frozen=True)
class Start:
    """What a training run starts from.

    Attributes:
        spatial_dims: axes of the network, 2 or 3; None if unknown for a given model.
        why: the reason for them.
        name: of the model whose weights it starts from, None for new ones.
        scale: how many voxels the network sees for one of the stack, along (z, y, x).
        looked_at: the models that were scored, `Candidate`s as dicts.
        asked: what the run was asked for, see `Request.resume_conditions`.
    """

    spatial_dims: int | None
    why: str
    name: str | None
    scale: tuple = (1, 1, 1)
    looked_at: tuple = ()
    asked: dict = field(default_factory=dict)

    @classmethod
    def from_json(cls, found):
        """Return the `Start` of a dict with the entries of start.json."""
        axes = found.get("spatial_dims", found.get("dims"))  # its name in earlier versions
        known = {each.name: found[each.name] for each in fields(cls) if each.name in found}
        return cls(**{**known, "spatial_dims": axes, "scale": tuple(found["scale"])})


SCORED = f"Jaccard (at most {SECTIONS} sections)"
COLUMNS = ("start", "voxels (z, y, x)", SCORED, "threshold", "")


def choose_start(volumes, request, file):
    """Return the `Start` of a training run, which is kept in a file for a resumed run.

    Raises:
        ValueError: the run to resume was asked for something else.
    """
    if request.can_resume and file.is_file():
        start = Start.from_json(read_json(file))
        for option, value in request.resume_conditions.items():
            before = start.asked.get(option, value)
            expected = f"the {option} that the run was begun with, {before or 'none'}"
            require(value == before, "resume", expected, value or "none")
        return start
    if request.start_model:
        tried = [request.start_model]
        axes = StoredFacts.of(request.start_model).spatial_dims
        start = Start(axes, "as given", request.start_model, asked=request.resume_conditions)
    else:
        found = [dims_for(volume.image, volume.voxel_size) for volume in volumes]
        axes, why = min(found)  # 2D if one stack needs it
        start = Start(axes, why, None, asked=request.resume_conditions)
        print(f"{axes}D: {why}", flush=True)
        tried = [] if request.start else suitable_models(volumes, axes)
    planned = [(name, scale) for name in tried for scale in scales(name, volumes, axes)]
    if request.recipe and axes:
        check_recipe(get_recipe(request.recipe), axes)
    if len(planned) > 1 or planned and not request.start_model:  # there is something to choose
        best, *others = score_candidates(volumes, axes, planned)
        print_table(COLUMNS, [candidate.row for candidate in (best, *others)])
        start = replace(start, looked_at=tuple(asdict(each) for each in (best, *others)))
        if best.finds or request.start_model:
            start = replace(start, name=best.name, scale=best.scale)
    print(start_text(start), flush=True)
    write_json(file, asdict(start), indent=2)
    return start


def start_text(start):
    """Return one line about a `Start`."""
    if start.name is None:
        none = ": no published model finds anything here" if start.looked_at else ""
        return f"Starts {NETWORKS[start.spatial_dims]} from scratch{none}"
    size = " x ".join(f"{s:g}" for s in start.scale)
    scaled = "" if set(start.scale) == {1} else f", the stack rescaled by {size}"
    return f"Starts from {start.name}{scaled}"


def rescale_volumes(volumes, start):
    """Return `LabelledVolume`s rescaled for the network."""
    return [resampled_volume(volume, start.scale) for volume in volumes]


def rescale_to_match(volumes, trained, start, spatial_dims):
    """Return `LabelledVolume`s rescaled to the voxel size of the volumes that are trained on.

    Args:
        volumes: to validate on, each of its own voxel size; of an unknown one they are rescaled as
            the volumes that are trained on were; those larger than memory are not.
        trained: the rescaled volumes.
        start: the `Start`.
        spatial_dims: axes of the network.
    """
    sizes = {volume.voxel_size for volume in trained}
    size, found = sizes.pop() if len(sizes) == 1 else None, []
    for volume in volumes:
        known = size and volume.voxel_size
        scale = rescaling(volume.voxel_size, size, spatial_dims) if known else start.scale
        found.append(resampled_volume(volume, scale) if volume.label.in_memory else volume)
    return found


def score_candidates(volumes, spatial_dims, planned, seconds=SECONDS):
    """Score models on the annotated sections of some volumes.

    At most `SECTIONS` sections of a volume are predicted.

    Args:
        volumes: `LabelledVolume`s.
        spatial_dims: 2 or 3, the axes of the networks.
        planned: pairs of the name of a model and a scale to try it at.
        seconds: time after which no further model is scored.

    Returns:
        A list of `Candidate`, the best first.
    """
    crops = [(volume, crops_of(volume, spatial_dims)) for volume in volumes]
    tried, started = [], time.monotonic()
    with progress_bar("scoring published models") as on_progress:
        for done, (name, scale) in enumerate(planned):
            on_progress(done, len(planned))
            if tried and time.monotonic() - started > seconds:
                print(f"Skipped for lack of time: {', '.join(n for n, _ in planned[done:])}")
                break
            tried.append(score_model(name, scale, crops))
        on_progress(len(planned), len(planned))
    return sorted(tried, key=lambda candidate: -candidate.jaccard)


def crops_of(volume, spatial_dims):
    """Return parts of a volume around some of its sections with objects."""
    sections = volume.label.sections_with_foreground().tolist()
    return [section_view(volume, z, spatial_dims) for z in spread(sections, SECTIONS)]


def suitable_models(volumes, spatial_dims):
    """Return the names of published models with `spatial_dims` axes and the volumes' channels.

    The most general ones are first, for a machine that has no time for all.
    """
    if channels_of(volumes[0].image) != 1:
        return []
    names = [file.parent.name for file in published().values()]
    names = [name for name in names if StoredFacts.of(name).spatial_dims == spatial_dims]
    best = {name: rank for rank, name in enumerate(BEST[spatial_dims])}
    return sorted(names, key=lambda name: (best.get(name, len(best)), name))


def scales(name, volumes, spatial_dims):
    """Return the scales to try a model at: 1, and that of its own voxel size if it differs."""
    sizes = {volume.voxel_size for volume in volumes}
    size = sizes.pop() if len(sizes) == 1 else None
    scale = rescaling(size, StoredFacts.of(name).nearest_voxel_size(size), spatial_dims)
    needed = sum(4 * math.prod(volume.image.shape) for volume in volumes)
    fits = max(1, math.prod(scale)) * needed < SHARE * free_memory()
    return [(1, 1, 1), scale] if fits and scale != (1, 1, 1) else [(1, 1, 1)]


def score_model(name, scale, crops):
    """Return the `Candidate` of a model at a scale.

    Args:
        name: of the model.
        scale: see `Candidate`.
        crops: pairs of a `LabelledVolume` and its parts to predict.
    """
    predictor, scores = open_model(name), {}
    for volume, parts in crops:
        options = PredictionOptions(tta=False, normalization=volume.intensity, scale=scale)
        prepared = predictor.prepare(parts[0].image, options)
        for part in parts:
            found = join_slabs(prepared.slabs(part=part.image))
            label = np.asarray(part.label)
            pairs = product(present_ids(volume.label.present), enumerate(foreground_maps(found)))
            for class_id, (number, probability) in pairs:
                truth = np.where(label == NOT_ANNOTATED, NOT_ANNOTATED, label == class_id)
                each = scores.setdefault((class_id, number), ThresholdScores(NOT_ANNOTATED))
                each.add(truth, probability)
    curve = max((each.jaccard() for each in scores.values()), key=lambda curve: curve[1:256].max())
    best = curve[1:256].max()
    return Candidate(name, scale, float(best), best_threshold(curve), float(curve[0]))


def resampled_volume(volume, scale):
    """Return a `LabelledVolume` resampled to other voxels, with the same intensity statistics.

    Args:
        volume: the `LabelledVolume`.
        scale: the number of new voxels for one, along (z, y, x).
    """
    if set(scale) == {1}:
        return volume
    size = volume.voxel_size
    size = size and tuple(round(a / b, 4) for a, b in zip(size, scale, strict=True))
    image, label = resample(volume.image, scale), resample_labels(volume.label, scale)
    return replace(volume, image=image, label=ArrayClassIds(label), voxel_size=size)
