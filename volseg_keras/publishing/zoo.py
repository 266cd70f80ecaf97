"""Published models as rows: what each is trained on, how long, and what it is scored on.

`volseg reproduce NAME --data DIR` trains a row, `volseg publish` scores the result. File names are
relative to DIR; see `volseg data epfl` and the sources below.
"""

from dataclasses import dataclass

from ..errors import require
from ..networks.variants import VARIANTS


@dataclass(frozen=True)
class Dataset:
    """Where volumes come from.

    Attributes:
        name: of the data.
        short: the same, for tables.
        description: what they show, microscope, size of a voxel.
        voxel_size: (z, y, x) in nm, which is missing in some of the files.
        source: address.
        terms: what they may be used for.
        cite: publications, as text.
    """

    name: str
    short: str
    description: str
    voxel_size: tuple
    source: str
    terms: str
    cite: tuple


@dataclass(frozen=True)
class Pair:
    """An image and its labels.

    Attributes:
        dataset: key of `DATASETS`.
        image: file; a pattern stands for parts along z.
        labels: file or pattern.
        hold_out: part to validate on, such as "x:0:256", None for none.
        without: classes of the labels that count as "not annotated".
    """

    dataset: str
    image: str
    labels: str
    hold_out: str | None = None
    without: tuple = ()

    @property
    def name(self):
        """The image's name, without the ends of its parts."""
        return self.image.partition("[")[0]


@dataclass(frozen=True)
class PublishedModel:
    """A published model.

    Attributes:
        network: name of a row of `VARIANTS`.
        train: `Pair`s to train on, with what is held out of them.
        steps: budget.
        validate: `Pair`s that are validated on beside the held-out parts.
        test: `Pair`s that are only scored on, in the end; the first one under shifts too.
        recipe: name of a row of `RECIPES`.
        batch_size: patches a step, None for the recipe's.
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


DATASETS = {
    "epfl": Dataset(
        name="EPFL hippocampus with Lucchi++ labels",
        short="EPFL",
        description="FIB-SEM of the CA1 region of a mouse's hippocampus, isotropic voxels of 5 nm.",
        voxel_size=(5.0, 5.0, 5.0),
        source="https://www.epfl.ch/labs/cvlab/data/data-em/",
        terms="For research.",
        cite=(
            "A. Lucchi et al., IEEE Transactions on Medical Imaging, 2015 (volumes)",
            "V. Casser et al., arXiv:1812.06024 (Lucchi++ labels)",
        ),
    ),
    "organelles": Dataset(
        name="EPFL hippocampus with labels of five structures",
        short="EPFL",
        description="The same FIB-SEM volumes, in 27 annotated sections of which mitochondria, "
        "membranes, vesicles and postsynaptic densities were drawn.",
        voxel_size=(5.0, 5.0, 5.0),
        source="https://www.epfl.ch/labs/cvlab/data/data-em/",
        terms="Volumes: for research. Labels: MIT licence.",
        cite=(
            "A. Lucchi et al., IEEE Transactions on Medical Imaging, 2015 (volumes)",
            "N. Sokolov et al., Lobachevsky University (labels)",
        ),
    ),
    "sbem": Dataset(
        name="CDeep3M2's demonstration of SBEM",
        short="SBEM",
        description="Serial block-face SEM of neuropil, sections of 40 nm, pixels of 5.9 nm.",
        voxel_size=(40.0, 5.9, 5.9),
        source="https://doi.org/10.1038/s41592-018-0106-z",
        terms="University of California: for education, research and non-profit use.",
        cite=("M. Haberl et al., Nature Methods, 2018, doi:10.1038/s41592-018-0106-z",),
    ),
}

# testing.tif, or parts such as testing_z000-082.tif, but no labels.
TESTING = "lucchi_pp/testing[._][tz]*"
EPFL_TRAIN = Pair("epfl", "lucchi_pp/training.tif", "lucchi_pp/training_groundtruth.tif", "x:0:256")
EPFL_TABLE_1 = Pair("epfl", EPFL_TRAIN.image, EPFL_TRAIN.labels, "x:0:128")
EPFL_TEST = Pair("epfl", TESTING, "lucchi_pp/testing_groundtruth*.tif")
SBEM_TRAIN = Pair("sbem", "sbem/training.tif", "sbem/training_groundtruth.tif")
SBEM_VALIDATION = Pair("sbem", "sbem/validation.tif", "sbem/validation_groundtruth.tif")
ORGANELLES_TRAIN = Pair(
    "organelles",
    "lucchi_pp/training.tif",
    "epfl_organelles/training_labels.tif",
    "x:0:256",
    without=(5,),  # myelin: 0.07 % of the voxels
)
ORGANELLES_TEST = Pair("organelles", TESTING, "epfl_organelles/testing_labels*.tif", without=(5,))
STRUCTURES = ("background", "mitochondrion", "membrane", "vesicle", "postsynaptic density")

ZOO = {
    "mito-2d": PublishedModel(
        "D",
        (EPFL_TRAIN, SBEM_TRAIN),
        steps=6_000,
        batch_size=8,
        validate=(SBEM_VALIDATION,),
        test=(EPFL_TEST, SBEM_VALIDATION),
        purpose="Mitochondria section by section, in electron microscopy of any kind.",
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
        purpose="Mitochondria in volumes, isotropic or of sections up to 50 nm.",
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
    """Return the `PublishedModel` of a name, in any case.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    found = {known.lower(): row for known, row in ZOO.items()}.get(str(name).lower())
    require(found, "name", f"one of {', '.join(ZOO)}", name)
    return found
