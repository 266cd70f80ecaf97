"""Stacks of which only some sections are annotated."""

from dataclasses import replace

import numpy as np

from ...inference.tiled_prediction import HALO
from ...volumes.class_ids import ArrayClassIds
from ...volumes.crop import cropped
from ...volumes.labels import NOT_ANNOTATED

# Voxels along y and x of the part of a section that is predicted and scored.
SIDE = {2: 1024, 3: 512}
# Minimum number of annotated sections of which one is held out.
ENOUGH = 3
# Sections on each side of a held-out one that show the same objects.
NEAR_SECTIONS = HALO[3][0]


def without_unpainted(label):
    """Return class ids in which empty sections, and full ones of a mask, count as not annotated.

    Programs write 0 where nothing is painted; in a mask of 0 and 255, people write 255 there. If
    255 marks unannotated voxels among class ids, every 0 is background.

    Args:
        label: `ClassIds`.

    Returns:
        The `ClassIds`, and the number of sections that count as not annotated.
    """
    present = label.present
    if NOT_ANNOTATED in present:
        return label, 0
    painted = label.painted
    if present.max() == 1:
        painted = painted & ~label.full
    if painted.all() or not painted.any():
        return label, 0
    return label.without_sections(~painted), int(np.count_nonzero(~painted))


def report_empty_sections(name, label):
    """Say that most sections of a volume have no label, where they count as background."""
    empty = int(np.count_nonzero(~label.painted))
    if 2 * empty > len(label):
        print(
            f"{name}: {empty} of {len(label)} sections have no label and count as background; "
            "number classes from 1 and set all voxels of unannotated sections to 255"
        )


def spread(items, count):
    """Return at most `count` of some items, evenly spaced."""
    count = min(count, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def has_enough(label):
    """Return whether enough sections are annotated to hold one out."""
    return len(label.annotated_sections(NOT_ANNOTATED)) >= ENOUGH


def section_to_hold_out(label):
    """Return the z of an annotated section near the middle, None if there are too few.

    It has foreground, and the classes on it also occur on other sections.
    """
    if not has_enough(label):
        return None
    classes = label.classes_by_section()
    painted = list(classes)
    middle = sorted(painted, key=lambda z: abs(painted.index(z) - len(painted) // 2))
    for z in middle:
        if classes[z] <= set().union(*(classes[other] for other in painted if other != z)):
            return z
    return None


def section_view(volume, z, spatial_dims, context=0):
    """Return a part of a `LabelledVolume` to predict and score a section.

    Args:
        volume: the `LabelledVolume`.
        z: the section; all others of the part count as not annotated.
        spatial_dims: of the network; one of 3 axes has context around the section.
        context: sections on each side of it for a network of 2 axes.
    """
    depth, *plane = volume.label.shape
    context = max(context, HALO[spatial_dims][0])
    first = max(0, z - context)
    truth = np.asarray(volume.label[z : z + 1])[0]
    part = [slice(first, min(depth, z + context + 1))]
    for size, centre in zip(plane, _middle_of_foreground(truth), strict=True):
        start = int(np.clip(centre - SIDE[spatial_dims] // 2, 0, max(0, size - SIDE[spatial_dims])))
        part.append(slice(start, min(size, start + SIDE[spatial_dims])))
    label = np.full([p.stop - p.start for p in part], NOT_ANNOTATED, np.uint8)
    label[z - first] = truth[part[1], part[2]]
    image = np.asarray(cropped(volume.image, tuple(part)))
    name = f"{volume.name} z={z}"
    return replace(volume, name=name, image=image, label=ArrayClassIds(label))


def _middle_of_foreground(truth):
    """Return the foreground voxel (y, x) nearest to the middle of all; without any, the centre."""
    places = np.argwhere((truth > 0) & (truth != NOT_ANNOTATED))
    if not len(places):
        return np.array(truth.shape) // 2
    places = places[:: 1 + len(places) // 2**20]
    return places[np.square(places - places.mean(0)).sum(1).argmin()]


def without_context(volume):
    """Return a `LabelledVolume` from its first to its last annotated section."""
    sections = volume.label.annotated_sections(NOT_ANNOTATED)
    return volume.part((slice(sections[0], sections[-1] + 1), *[slice(None)] * 2), volume.name)


def without_section(volume, z, apart=False):
    """Return a `LabelledVolume` in which a section is not annotated.

    Args:
        volume: the `LabelledVolume`.
        z: the section.
        apart: leave out its neighbours too, which show the same objects, if half of the annotated
            sections are left then.
    """
    places = np.arange(len(volume.label))
    label = volume.label.without_sections(places == z)
    if not apart:
        return replace(volume, label=label)
    others = label.without_sections(np.abs(places - z) <= NEAR_SECTIONS)
    left, known = (len(ids.annotated_sections(NOT_ANNOTATED)) for ids in (others, volume.label))
    classes = [set().union(*ids.classes_by_section().values()) for ids in (others, label)]
    enough = 2 * left >= known and classes[0] == classes[1]
    return replace(volume, label=others if enough else label)
