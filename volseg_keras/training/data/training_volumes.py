"""The volumes of a training run, read and checked before any long work."""

from dataclasses import dataclass

from ...progress import progress_bar
from ..arguments import check_weights
from .annotated_sections import report_empty_sections
from .hold_out import hold_out_parts
from .labelled_volumes import (
    labelled_volumes,
    pair_with_labels,
    read_pairs,
    require_foreground,
    with_unique_names,
)


@dataclass(frozen=True)
class TrainingVolumes:
    """What a network is trained and validated on, lists of `LabelledVolume`s.

    Attributes:
        whole: the volumes to train on, whole; in a stage of "auto" the same as `training`.
        training: the volumes to train on, without their held-out parts.
        validation: further volumes to validate on; in a stage of "auto" all that are validated on,
            since parts were cut from the stacks before.
        scored: all that is validated on: the held-out parts, then `validation`.
    """

    whole: list
    training: list
    validation: list
    scored: list


def read_volumes(request, spatial_dims, channels, num_classes, normalization):
    """Return the `TrainingVolumes` of a `Request` for a network.

    Args:
        request: the `Request`.
        spatial_dims: axes of the network, 2 or 3.
        channels: of its input.
        num_classes: of its output.
        normalization: see `labelled_volumes`.

    Raises:
        ValueError: volumes, labels, weights or hold-out do not fit each other or the network.
    """
    validation = []
    images, labels = pair_with_labels(request.images, request.labels)
    with progress_bar("reading volumes") as on_progress:
        pairs, further = read_pairs(images, labels, request.validation, on_progress)
        options = channels, num_classes, normalization, on_progress
        whole = _read_and_warned(*map(list, zip(*pairs, strict=True)), *options)
        check_weights(request.weights, whole)
        if further:
            validation = _read_and_warned(*map(list, zip(*further, strict=True)), *options)
        require_foreground([*whole, *validation])
        training, held_out = hold_out_parts(whole, request.hold_out, spatial_dims)
    scored = with_unique_names([*held_out, *validation])
    return TrainingVolumes(whole, training, validation, scored)


def _read_and_warned(images, labels, *options):
    """Return `LabelledVolume`s; report those that look partly annotated."""
    volumes = labelled_volumes(images, labels, *options)
    for volume in volumes:
        report_empty_sections(volume.name, volume.label)
    return volumes
