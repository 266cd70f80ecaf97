"""The data that published models are trained and scored on: where they are from, and their files.

File names are relative to a folder; `volseg data epfl` fills it, and see the sources below.
"""

from dataclasses import dataclass


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
        description="The same FIB-SEM volumes. In 27 sections of the training volume and 3 of the "
        "first 83 of the test volume mitochondria, membranes, vesicles, postsynaptic densities and "
        "myelin (class 5, 0.07 % of the voxels) were drawn.",
        voxel_size=(5.0, 5.0, 5.0),
        source="https://doi.org/10.3390/technologies13040127",
        terms="Volumes: for research. Labels: MIT licence.",
        cite=(
            "A. Lucchi et al., IEEE Transactions on Medical Imaging, 2015 (volumes)",
            "N. Sokolov et al., Lobachevsky University: Technologies 13(4), 2025, 127, "
            "doi:10.3390/technologies13040127 (labels)",
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
