"""Which published model suits a volume, and the voxel size at which it should see it."""

from dataclasses import dataclass

import numpy as np

from ..errors import require
from ..volumes.dimensions import check_axes, known_voxel_size
from .network_dims import dims_for
from .presets import published
from .stored_facts import StoredFacts, mean_threshold

AUTO = "auto"  # as the name of a model
# Models by number of spatial axes, best first; the first published one is used.
BEST = {2: ("mito-2d", "D"), 3: ("mito-3d", "H")}
OTHER = {2: 3, 3: 2}
FEWEST_FOR_BOTH = 8  # sections of a volume that a 2D and a 3D model segment together
# Voxel sizes that differ by less than the first factor count as equal; volumes are not rescaled by
# more than the second.
ALIKE, TOO_FAR = 1.25, 4.0


@dataclass(frozen=True)
class ChosenModels:
    """The models to segment a volume with.

    Attributes:
        models: names of published models, best first; several are averaged.
        reason: a line to display.
    """

    models: tuple
    reason: str

    @classmethod
    def of(cls, volume, models):
        """Return the given models, or the choice of `choose_model` for "auto".

        Args:
            volume: see `choose_model`.
            models: tuple of names of published models, runs or files, or of "auto" alone.
        """
        if is_auto(models):
            return choose_model(volume)
        return cls(models, f"Model {' and '.join(map(str, models))}")

    @property
    def model(self):
        """The model that suits best."""
        return self.models[0]

    @property
    def threshold(self):
        """Mean of the thresholds that are stored with the models."""
        return mean_threshold(self.models)

    def scale(self, volume):
        """Return the voxels that the models see per voxel of a volume; see `common_scale`."""
        return common_scale(self.models, known_voxel_size(volume))


def is_auto(models):
    """Return whether a model is to be chosen for the volume: "auto", also alone in a list."""
    if isinstance(models, list | tuple):
        return len(models) == 1 and is_auto(models[0])
    return isinstance(models, str) and models == AUTO


def choose_model(volume):
    """Return the `ChosenModels` for a volume.

    A 2D model if sections are more than three times as thick as a pixel is wide, or if the volume
    has few sections; else a 3D one. If the voxel size is unknown, the thickness is measured, see
    `section_thickness`. The best model of the other kind is averaged with it, since the two make
    different errors. Jaccard indices of mito-2d, mito-3d and their mean: 0.874, 0.922 and 0.928 on
    the held-out part of EPFL; 0.817, 0.786 and 0.872 on every eighth section of it; 0.652, 0.755
    and 0.731 on SBEM's validation volume.

    Args:
        volume: `(z, y, x)` or `(z, y, x, channels)` array-like; a `Volume` also has a voxel size.

    Raises:
        ValueError: the axes of the volume are not these, or no model is published.
    """
    check_axes(volume)
    dims, why = dims_for(volume, getattr(volume, "voxel_size", None))
    known = published()
    model = next((name for name in BEST[dims] if name.lower() in known), None)
    expected = f"one of {', '.join(BEST[dims])} to be published"
    require(model, "model", expected, ", ".join(sorted(known)) or "none")
    models, reason = [model], f"Model {model}, {dims}D: {why}"
    partner = BEST[OTHER[dims]][0]
    if model == BEST[dims][0] and partner.lower() in known and volume.shape[0] >= FEWEST_FOR_BOTH:
        models.append(partner)
        reason += f"; averaged with {partner}"
    return ChosenModels(tuple(models), reason)


def common_scale(models, voxel_size):
    """Return the `rescaling` of a volume for models that see it together.

    Args:
        models: names, runs or files.
        voxel_size: of the volume, or None.

    Returns:
        Three numbers, all 1 if the models were trained at voxel sizes that differ by more than a
        quarter. The thickness of sections is that of the 3D models, if there are any.
    """
    stored = [StoredFacts.of(model) for model in models]
    dims = [each.spatial_dims for each in stored]
    sizes = [each.nearest_voxel_size(voxel_size) for each in stored]
    size = None if None in dims else common_voxel_size(sizes, dims)
    if size is None:
        return (1, 1, 1)
    if min(dims) == max(dims):
        return rescaling(voxel_size, size, max(dims))
    # Sections too thick for the 3D models must not prevent rescaling along y and x.
    flat = rescaling(voxel_size, size, 2)
    thick = rescaling((voxel_size[0], *size[1:]), size, 3)
    return (thick[0], *flat[1:])


def scale_to(models, voxel_size):
    """Return the voxels of the models' size per voxel of a volume, along (z, y, x).

    For 2D models, sections stay as they are.

    Args:
        models: names, runs or files.
        voxel_size: of the volume, `(z, y, x)` in nm, or None.

    Raises:
        ValueError: a voxel size is unknown, or the models have different ones.
    """
    require(voxel_size, "voxel_size", "the voxel size of the volume, to rescale", "none")
    stored = [StoredFacts.of(model) for model in models]
    dims = [each.spatial_dims for each in stored]
    sizes = [each.nearest_voxel_size(voxel_size) for each in stored]
    size = common_voxel_size(sizes, [n or 3 for n in dims])
    known = " and ".join(map(str, {*sizes} - {None})) or "none"
    require(size, "model", "a model with one known voxel size, to rescale", known)
    scale = [round(a / b, 4) for a, b in zip(voxel_size, size, strict=True)]
    return (1, *scale[1:]) if set(dims) == {2} else tuple(scale)


def common_voxel_size(sizes, dims):
    """Return the voxel size that models of an ensemble were trained at.

    Args:
        sizes: `StoredFacts.nearest_voxel_size` of each.
        dims: spatial axes of each. The thickness of sections is that of the 3D ones.

    Returns:
        (z, y, x) in nm, a geometric mean; None if it is unknown, or differs by more than a quarter.
    """
    if None in sizes:
        return None
    logs = np.log(sizes)
    logs[np.less(dims, max(dims)), 0] = np.nan
    if np.exp(np.nanmax(logs, 0) - np.nanmin(logs, 0)).max() > ALIKE:
        return None
    return tuple(np.exp(np.nanmean(logs, 0)).tolist())


def rescaling(voxel_size, trained, spatial_dims):
    """Return the voxels that a model sees per voxel of a volume, along (z, y, x).

    Args:
        voxel_size: of the volume, `(z, y, x)` in nm, or None.
        trained: that of the model.
        spatial_dims: of the model, None if unknown; for 2, sections are kept as they are.

    Returns:
        Three numbers, all 1 if a size is unknown, or if sizes differ by less than a quarter or more
        than fourfold.
    """
    if not (voxel_size and trained and spatial_dims):
        return (1, 1, 1)
    scale = [a / b for a, b in zip(voxel_size, trained, strict=True)]
    scale[: 3 - spatial_dims] = [1] * (3 - spatial_dims)
    apart = max(max(s, 1 / s) for s in scale)
    return tuple(round(s, 4) for s in scale) if ALIKE < apart <= TOO_FAR else (1, 1, 1)


def scale_text(scale):
    """Return a line that states a scale."""
    return f"Rescaled by {', '.join(f'{s:g}' for s in scale)} (z, y, x) to the model's voxel size"
