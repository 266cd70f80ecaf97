"""Published models as rows: what each is trained on, how long, and what it is scored on.

`volseg reproduce NAME --data DIR` trains a row, `volseg publish` scores the result.
"""

from dataclasses import dataclass

from ..errors import require
from ..networks.variants import VARIANTS
from .catalogue import (
    EPFL_TABLE_1,
    EPFL_TEST,
    EPFL_TRAIN,
    ORGANELLES_TEST,
    ORGANELLES_TRAIN,
    SBEM_TRAIN,
    SBEM_VALIDATION,
)


@dataclass(frozen=True)
class PublishedModel:
    """A published model.

    Attributes:
        network: name of a row of `VARIANTS`.
        train: `Pair`s to train on, with what is held out of them.
        steps: budget.
        validate: `Pair`s to validate on, besides the held-out parts.
        test: `Pair`s to score the trained model on; the first one under shifts too.
        recipe: name of a row of `RECIPES`.
        batch_size: patches per step, None for the recipe's.
        classes: their names.
        seed: of weights and patches.
        start: published model of the same network whose weights it starts from, all but the last
            convolution if it has other classes; None to start from scratch.
        purpose: what it is for, a sentence.
    """

    network: str
    train: tuple
    steps: int
    validate: tuple = ()
    test: tuple = ()
    recipe: str = "fast"
    batch_size: int | None = None
    classes: tuple = ("background", "mitochondria")
    seed: int = 0
    start: str | None = None
    purpose: str = ""

    def __post_init__(self):
        """Check what would otherwise fail only when the trained model is published."""
        for pair in (*self.train, *self.validate):
            good = not set("*[?") & set(pair.image)
            require(good, "train", "a single file; patterns are for test volumes", pair.image)


STRUCTURES = ("background", "mitochondrion", "membrane", "vesicle", "postsynaptic density")

ZOO = {
    "mito-2d": PublishedModel(
        "D",
        (EPFL_TRAIN, SBEM_TRAIN),
        steps=6_000,
        batch_size=8,
        validate=(SBEM_VALIDATION,),
        test=(EPFL_TEST, SBEM_VALIDATION),
        purpose="Mitochondria section by section, in FIB-SEM and SBEM of brain tissue.",
    ),
    "epfl-mito": PublishedModel(
        "H",
        (EPFL_TRAIN,),
        steps=3_000,
        recipe="finetune",
        start="mito-3d",
        test=(EPFL_TEST,),
        purpose="Mitochondria in isotropic FIB-SEM of brain tissue like that of EPFL.",
    ),
    "mito-3d": PublishedModel(
        "H",
        (EPFL_TRAIN, SBEM_TRAIN),
        steps=10_000,
        validate=(SBEM_VALIDATION,),
        test=(EPFL_TEST, SBEM_VALIDATION),
        purpose="Mitochondria in volumes of brain tissue, isotropic or of sections up to 50 nm.",
    ),
    "epfl-organelles": PublishedModel(
        "H",
        (ORGANELLES_TRAIN,),
        steps=4_000,
        start="mito-3d",
        test=(ORGANELLES_TEST,),
        classes=STRUCTURES,
        purpose="Four structures of neuropil in isotropic FIB-SEM.",
    ),
    **{
        name: PublishedModel(
            name,
            (EPFL_TABLE_1,),
            steps=24_000 if row.spatial_dims == 2 else 8_000,
            test=(EPFL_TEST,),
            purpose="A row of Table 1, all of which were trained alike.",
        )
        for name, row in VARIANTS.items()
    },
}


def get_row(name):
    """Return the `PublishedModel` of a name, in any case; see `row_name`."""
    return ZOO[row_name(name)]


def row_name(name):
    """Return the name of a row of `ZOO`, given in any case, as it is spelled there.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    found = {known.lower(): known for known in ZOO}.get(str(name).lower())
    require(found, "name", f"one of {', '.join(ZOO)}", name)
    return found
