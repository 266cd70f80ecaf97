"""What a package for bioimage.io states about its model."""

from dataclasses import dataclass, field, fields

from ..errors import require
from ..networks.models import class_names

TAGS = ["segmentation", "semantic-segmentation", "tensorflow", "volseg_keras"]
PAPER = {
    "text": "H.-C. Cheng and A. Varshney, Volume segmentation using convolutional neural "
    "networks with limited training data, IEEE ICIP 2017, pp. 590-594",
    "url": "https://www.semanticscholar.org/paper/d86cc655aee9596de5e0db001275c6fee495eb08",
}


@dataclass(frozen=True)
class Card:
    """What a package states about its model; lists and dicts follow bioimage.io.

    Attributes:
        name: of the model.
        classes: names of its classes.
        license: SPDX identifier.
        authors: a list of dicts.
        description: one sentence.
        tags: a list of words.
        cite: a list of dicts.
        training_data: dict with `name` and `description`, or None.
        voxel_size: `(z, y, x)` in nm, or None.
        validation: its scores, as text.

    Raises:
        ValueError: authors or citations are not lists of dicts, or the data has no name.
    """

    name: str
    classes: list
    license: str
    authors: list
    description: str = "Gives the probability of every class for every voxel of an image or volume."
    tags: list = field(default_factory=TAGS.copy)
    cite: list = field(default_factory=lambda: [PAPER])
    training_data: dict | None = None
    voxel_size: list | None = None
    validation: str = "Its authors give no figures."

    def __post_init__(self):
        """Check the lists of dicts and the data."""
        examples = {
            "authors": '[{"name": "Jo Doe"}]',
            "cite": '[{"text": "Doe 2020", "doi": "10.1/2"}]',
        }
        for name, example in examples.items():
            entries = getattr(self, name)
            good = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
            require(good, name, f"a list such as {example} in card.json", entries)
        data = self.training_data
        good = not data or isinstance(data, dict) and {"name", "description"} <= set(data)
        expected = '{"name": ..., "description": ...} in card.json, or null'
        require(good, "training_data", expected, data)

    @classmethod
    def from_json(cls, entries, metadata):
        """Return the card for the `card` of `StoredFacts`, with defaults for missing entries.

        Args:
            entries: the dict.
            metadata: `ModelMetadata` of the model.

        Raises:
            ValueError: the terms are missing, or an entry is not valid.
        """
        missing = [name for name in ("license", "authors") if not entries.get(name)]
        expected = 'terms of its own, such as "license": "CC-BY-4.0", "authors": [{"name": '
        expected += '"Jo Doe"}] in card.json beside the model.keras of a run'
        require(not missing, "card", expected, f"no {' and no '.join(missing)}")
        name = f"Segmentation in {metadata.spatial_dims}D by volseg_keras ({metadata.name})"
        defaults = {"name": name, "classes": class_names(metadata.num_classes)}
        known = {each.name: entries[each.name] for each in fields(cls) if each.name in entries}
        return cls(**defaults | known)
