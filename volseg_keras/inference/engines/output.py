"""Convert the values that engines return to probabilities and class ids.

They are `(z, y, x, maps)`, float32 or uint8 levels of 1/256; a single map is the foreground's.
"""

import numpy as np


def to_probability(values):
    """Return float32 probabilities of the values of an engine."""
    return (values + np.float32(0.5)) / np.float32(256) if values.dtype == np.uint8 else values


def to_labels(values, threshold=0.5):
    """Return uint8 class ids `(z, y, x)` of probabilities or levels `(z, y, x, maps)`.

    Args:
        values: returned by an engine.
        threshold: minimum foreground probability for two classes; for more, the most probable
            class wins.
    """
    if values.shape[-1] > 2:
        return values.argmax(-1).astype(np.uint8)
    if values.dtype == np.uint8:
        # The lowest level is never foreground and the highest always, whatever the threshold.
        threshold = np.clip(np.ceil(256 * threshold - 0.5), 1, 255)
    return (values[..., -1] >= threshold).view(np.uint8)


def join_slabs(slabs):
    """Return the values of slabs `(z, values)` as one array."""
    return _concatenate([values for _, values in slabs])


def _concatenate(parts):
    """Join arrays along the first axis; a single one is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def probabilities(slabs):
    """Return the float32 probabilities `(z, y, x, classes)` of slabs."""
    return _concatenate([_all_classes(values) for _, values in slabs])


def _all_classes(values):
    """Return float32 probabilities of all classes from the values of an engine."""
    if values.shape[-1] > 1:
        return to_probability(values)
    if values.dtype != np.uint8:
        return np.concatenate([1 - values, values], axis=-1)
    foreground = to_probability(np.arange(256, dtype=np.uint8))
    table = np.stack([1 - foreground, foreground], axis=-1)
    found = np.empty((*values.shape[:3], 2), np.float32)
    for plane, into in zip(values[..., 0], found, strict=True):
        np.take(table, plane, axis=0, out=into, mode="clip")  # "raise" would copy `out`
    return found


def label_map(slabs, threshold=0.5):
    """Return the uint8 class ids `(z, y, x)` of slabs; see `to_labels`."""
    return np.concatenate([to_labels(values, threshold) for _, values in slabs])


def foreground_probability(values):
    """Return the float32 probability `(z, y, x)` that a voxel is not background."""
    values = to_probability(values)
    return values[..., 0] if values.shape[-1] == 1 else 1 - values[..., 0]


def foreground_maps(values):
    """Return the float32 probability `(z, y, x)` of every class but the background."""
    values = to_probability(values)
    first = 0 if values.shape[-1] == 1 else 1
    return [values[..., number] for number in range(first, values.shape[-1])]
