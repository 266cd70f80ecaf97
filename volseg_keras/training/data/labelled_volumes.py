"""The labelled volumes that a network is trained and validated on."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ...errors import require
from ...resources import free_memory
from ...volumes.class_ids import ArrayClassIds, ClassIds
from ...volumes.crop import cropped
from ...volumes.dimensions import channels_of, check_shape
from ...volumes.file_class_ids import FileClassIds
from ...volumes.intensity import IntensityStatistics
from ...volumes.labels import NOT_ANNOTATED, class_ids
from ...volumes.volume import checked_finite

# Larger volumes than this share of the free memory are read patch by patch.
MEMORY_SHARE = 1 / 4


@dataclass(frozen=True)
class LabelledVolume:
    """A volume or a part of one, in memory or in a file.

    Attributes:
        name: file name, or "volume 2".
        image: `(z, y, x)` or `(z, y, x, channels)` intensities.
        label: its `ClassIds`, 255 where nothing is annotated.
        intensity: what the whole volume is standardised with.
        voxel_size: `(z, y, x)` in nm, or None.
    """

    name: str
    image: object
    label: ClassIds
    intensity: IntensityStatistics
    voxel_size: tuple | None = None

    def part(self, slices, name):
        """Return a part with another name."""
        image, label = cropped(self.image, slices), self.label.cropped(slices)
        return replace(self, name=name, image=image, label=label)


def labelled_volumes(images, labels, channels, num_classes, normalization, on_progress=None):
    """Read volumes and their labels as `LabelledVolume`s; check them before any long work.

    Args:
        images: an array-like or a list of these.
        labels: as many label volumes.
        channels: that the images must have.
        num_classes: that no class id may reach.
        normalization: "volume", or the `IntensityStatistics` of all of them.
        on_progress: called with the number of pieces of a volume read and their total.

    Raises:
        ValueError: volumes and labels do not fit each other, or have other channels or classes.
    """
    images, labels = pair_with_labels(images, labels)
    volumes = []
    for image in images:
        expected = "axes (z, y, x) or (z, y, x, channels)"
        require(len(np.shape(image)) in (3, 4), "images", expected, f"shape {np.shape(image)}")
    labels = read_labels(images, labels, on_progress)
    for name, image, label in zip(volume_names(images), images, labels, strict=True):
        voxel_size = getattr(image, "voxel_size", None)
        image = checked_image(image, channels, label.in_memory)
        check_labels(label, image, num_classes)
        if isinstance(normalization, str):
            intensity = IntensityStatistics.of(image, on_progress)
        else:
            intensity = normalization.with_padding_of(image)
        volumes.append(LabelledVolume(name, image, label, intensity, voxel_size))
    return volumes


def volume_names(images):
    """Return a name for each volume: its file's, with the folder where two are alike."""
    paths = [getattr(image, "path", None) for image in images]
    files = [path and Path(path).absolute() for path in paths]
    alike = len({file and file.name for file in files}) < len(files)
    return [
        f"volume {number}" if not file else "/".join(file.parts[-2:]) if alike else file.name
        for number, file in enumerate(files, 1)
    ]


def with_unique_names(volumes):
    """Return volumes of which no two have the same name."""
    names = [volume.name for volume in volumes]
    counts = [names[:i].count(name) for i, name in enumerate(names)]
    return [
        replace(volume, name=f"{volume.name} ({count + 1})") if count else volume
        for volume, count in zip(volumes, counts, strict=True)
    ]


def as_list(volumes):
    """Return one volume, or several, as a list."""
    return list(volumes) if isinstance(volumes, list | tuple) else [volumes]


def pair_with_labels(images, labels):
    """Return a list of images and one of as many labels, or raise ValueError."""
    images, labels = as_list(images), as_list(labels)
    received = f"{len(images)} images and {len(labels)} label volumes"
    good = images and len(images) == len(labels)
    require(good, "labels", "one label volume for each image", received)
    return images, labels


def held_in_file(image, label):
    """Return whether a volume is so large that it is read patch by patch."""
    if isinstance(image, np.ndarray) or not hasattr(image, "dtype"):
        return False
    size = sum(np.dtype(v.dtype).itemsize * int(np.prod(v.shape)) for v in (image, label))
    return size > MEMORY_SHARE * free_memory()


def checked_image(image, channels, in_memory):
    """Return an image that fits the network, in memory if its labels are."""
    image = np.asarray(image) if in_memory else image
    found = channels_of(image)
    received = f"{found}, shape {tuple(image.shape)}"
    require(found == channels, "images", f"the channels of `model`, {channels}", received)
    return checked_finite(image) if in_memory else image


def check_labels(label, image, num_classes):
    """Raise ValueError unless class ids fit the image and the network."""
    check_shape(image, label)
    largest = label.largest
    expected = f"class ids below {num_classes}, the classes of `model`"
    require(largest < num_classes, "labels", expected, largest)


def read_labels(images, labels, on_progress=None):
    """Return the `ClassIds` of label volumes, in memory unless a volume is too large.

    If 255 means "not annotated" in one of them, since it has class ids too, it does in all.
    """
    found = list(map(partial(_read, on_progress=on_progress), images, labels))
    if any(NOT_ANNOTATED in ids.present and ids.largest for ids in found):
        again = partial(_read, allow_mask=False, on_progress=on_progress)
        return [
            again(image, label) if _is_white(label, ids) else ids
            for image, label, ids in zip(images, labels, found, strict=True)
        ]
    return found


def read_pairs(images, labels, validation, on_progress=None):
    """Return pairs of an image and its `ClassIds`: those to train on, and those to validate on.

    Args:
        images: of the volumes to train on.
        labels: of them.
        validation: pairs of an image and its labels.
        on_progress: see `labelled_volumes`.
    """
    pairs = [*zip(images, labels, strict=True), *validation]
    everything = [image for image, _ in pairs]
    found = read_labels(everything, [label for _, label in pairs], on_progress)
    pairs = list(zip(everything, found, strict=True))
    return pairs[: len(images)], pairs[len(images) :]


def _is_white(label, ids):
    """Return whether a label map has 255 as the foreground of a mask, given its `ClassIds`."""
    if NOT_ANNOTATED in ids.present or isinstance(label, ClassIds):
        return False
    return np.max(label) == NOT_ANNOTATED if ids.in_memory else NOT_ANNOTATED in ids.class_of


def _read(image, label, allow_mask=True, on_progress=None):
    """Return the `ClassIds` of a label volume."""
    if isinstance(label, ClassIds):
        return label
    if held_in_file(image, label):
        return FileClassIds.scan(label, on_progress, allow_mask)
    return ArrayClassIds(class_ids(np.asarray(label), allow_mask))


def require_foreground(volumes):
    """Raise ValueError, which names the volume, for `LabelledVolume`s without any object."""
    for volume in volumes:
        unknown = NOT_ANNOTATED in volume.label.present
        how = "1 (255 is not annotated)" if unknown else "1 or white on black"
        expected = f"at least one object, painted with {how}"
        require(volume.label.largest, "labels", expected, f"{volume.name} without any")
