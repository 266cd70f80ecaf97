"""The stacks that `fit` with "auto" trains on, read and checked before any long work."""

from dataclasses import dataclass, replace
from functools import partial

from ...errors import invalid
from ...networks.models import check_sizes, split_normalization
from ...pretrained.presets import load_pretrained
from ...progress import progress_bar
from ...volumes.dimensions import channels_of
from ...volumes.labels import NOT_ANNOTATED, count_classes
from ..arguments import training_normalization
from ..data.annotated_sections import report_empty_sections, without_unpainted
from ..data.labelled_volumes import (
    labelled_volumes,
    pair_with_labels,
    read_pairs,
    require_foreground,
)
from ..new_network import with_new_head


@dataclass(frozen=True)
class AnnotatedStacks:
    """What `fit` with "auto" trains on: stacks of which a few sections may be annotated.

    Attributes:
        volumes: `LabelledVolume`s to train on.
        validation: those to validate on.
        num_classes: number of classes.
    """

    volumes: list
    validation: list
    num_classes: int


def read_stacks(request):
    """Return the `AnnotatedStacks` of a `Request` with "auto" for a model.

    Sections without labels count as not annotated. A network is loaded only if one was named to
    start from.

    Raises:
        ValueError: volumes and labels do not fit each other or that network.
    """
    images, labels = pair_with_labels(request.images, request.labels)
    with progress_bar("reading volumes") as on_progress:
        training, further = read_pairs(images, labels, request.validation, on_progress)
        labels = [label for _, label in training]
        num_classes = count_classes(*(label.present for label in labels))  # warns of odd ones
        channels, constants = channels_of(images[0]), None
        if request.start_model:
            network, constants = split_normalization(_start_model(request, num_classes))
            check_sizes(network)
            channels = network.inputs[0].shape[-1]
        read = partial(
            labelled_volumes,
            channels=channels,
            num_classes=num_classes,
            normalization=training_normalization(constants, request.normalization),
            on_progress=on_progress,
        )
        volumes, validation = read(images, labels), []
        if further:
            validation = read(*map(list, zip(*further, strict=True)))
    require_foreground([*volumes, *validation])
    present = {int(i) for label in labels for i in label.present} - {NOT_ANNOTATED}
    if present == {1}:
        expected = "objects and background around them, in the labels of some volume"
        raise invalid("labels", expected, "labels that mark everything as an object")
    volumes, validation = ([_only_annotated(one) for one in some] for some in (volumes, validation))
    return AnnotatedStacks(volumes, validation, num_classes)


def _start_model(request, num_classes):
    """Return the model that was named to start from; say so if it gets a new last layer."""
    model = load_pretrained(request.start_model)
    own = model.output_shape[-1]
    if own == num_classes:
        return model
    print(
        f"{request.start_model} has {own} classes, the labels have {num_classes}: its last layer "
        "starts anew"
    )
    return with_new_head(model, num_classes)


def _only_annotated(volume):
    """Return a volume in which sections without labels count as not annotated; say so."""
    label, unpainted = without_unpainted(volume.label)
    if unpainted:
        print(
            f"{volume.name}: {unpainted} of {len(label)} sections are empty or full, and "
            "count as not annotated"
        )
    else:
        report_empty_sections(volume.name, label)
    return replace(volume, label=label)
