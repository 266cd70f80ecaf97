"""What users of a model need to know about it, without Keras."""

from dataclasses import dataclass, fields
from typing import NamedTuple


class Normalization(NamedTuple):
    """The constants that a model itself standardises grey levels with.

    Attributes:
        mean: grey level that becomes 0, or one for each channel.
        standard_deviation: difference of grey levels that becomes 1, or one for each channel.
        contrast: gain of the standardised grey levels.
    """

    mean: float | list
    standard_deviation: float | list
    contrast: float = 1.0


@dataclass(frozen=True)
class ModelMetadata:
    """What users of a model need to know about it.

    Attributes:
        name: of the Keras model.
        spatial_dims: 2 or 3.
        channels: number of image channels.
        num_classes: number of classes, background included.
        normalization: its `Normalization`, None if it takes standardised grey levels.
    """

    name: str
    spatial_dims: int
    channels: int
    num_classes: int
    normalization: Normalization | None

    def to_json(self):
        """Return the dict that is written beside exports and graphs."""
        constants = self.normalization
        return {
            "name": self.name,
            "spatial_dims": self.spatial_dims,
            "channels": self.channels,
            "num_classes": self.num_classes,
            "input": "grey levels" if constants else "standardised grey levels",
            "normalization": constants and constants._asdict(),
        }

    @classmethod
    def from_json(cls, entries):
        """Return the metadata among the entries of such a dict, which may have others."""
        found = {each.name: entries[each.name] for each in fields(cls)}
        constants = found.pop("normalization")
        return cls(**found, normalization=constants and Normalization(**constants))
