"""The nine networks as data: the rows of Table 1 (Cheng & Varshney, ICIP 2017)."""

from dataclasses import dataclass

from ..errors import require


@dataclass(frozen=True)
class Variant:
    """One row of Table 1.

    Attributes:
        name: the paper's name.
        spatial_dims: 2 or 3.
        parameters: number of them, of one channel and two classes.
        rank_one: whether 3^d convolutions of the encoder are rank-1 factorized.
        stochastic: whether halving shortcuts use stochastic downsampling.
        unet: whether this is the U-Net baseline instead of the residual network.
    """

    name: str
    spatial_dims: int
    parameters: int
    rank_one: bool = False
    stochastic: bool = False
    unet: bool = False

    @property
    def reduction(self):
        """How many voxels of a patch, along each axis, become one of the smallest maps."""
        return 16 if self.unet else 8

    @property
    def model_name(self):
        """Name of its Keras model."""
        return self.name.replace("-", "").lower()

    @property
    def description(self):
        """One-line description."""
        if self.unet:
            return "2D U-Net baseline"
        convolution = "rank-1" if self.rank_one else "full"
        tail = ", stochastic downsampling" if self.stochastic else ""
        return f"{self.spatial_dims}D {convolution} convolutions{tail}"


VARIANTS = {
    row.name: row
    for row in (
        Variant("U-Net", 2, 36_973_890, unet=True),
        Variant("A", 2, 1_675_464),
        Variant("B", 2, 1_675_464, stochastic=True),
        Variant("C", 2, 597_960, rank_one=True),
        Variant("D", 2, 597_960, rank_one=True, stochastic=True),
        Variant("E", 3, 4_935_286),
        Variant("F", 3, 4_935_286, stochastic=True),
        Variant("G", 3, 625_270, rank_one=True),
        Variant("H", 3, 625_270, rank_one=True, stochastic=True),
    )
}


def find_variant(name):
    """Return the row of Table 1 called `name`, as `get_variant`, or None."""
    known = {row.model_name: row for row in VARIANTS.values()}
    return known.get(str(name).lower().replace("-", ""))


def get_variant(name):
    """Return the row of Table 1 called `name`, whatever its case, or its network's name.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    row = find_variant(name)
    require(row, "variant", f"one of {', '.join(VARIANTS)}", f"variant={name!r}")
    return row
