"""Training recipes as rows; the schedule is a function of the share of the budget spent."""

import math
from dataclasses import dataclass, field, replace

from ..errors import require, require_one_of
from ..patches.augment import Augment

# Values of a recipe that are by number of spatial axes.
BY_AXES = ("patch", "batch", "rate", "optimizer")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; dictionaries are by number of spatial axes.

    Attributes:
        patch: shape of a patch, (y, x) or (z, y, x) in voxels.
        batch: patches per step.
        rate: peak learning rate.
        steps: the budget where none is given.
        minutes: the same in minutes of wall time, instead of `steps`, or None.
        optimizer: "MuonAdamW", or the name of a Keras optimizer.
        optimizer_options: its arguments, whatever the number of axes.
        loss: name of a loss in `networks.losses`.
        schedule: "cosine" to zero, or "drops" by 10 at 50 % and 75 % of the budget.
        warmup: steps of linear warm-up.
        foreground_fraction: share of patches placed near a foreground voxel.
        augment: what is drawn for a patch.
        settle: share of the budget, at its end, in which the network is trained in prediction mode:
            without dropout, and with means instead of stochastic downsampling.

    Raises:
        ValueError: a value by number of axes is not a dictionary, or the schedule is unknown.
    """

    patch: dict
    batch: dict
    rate: dict
    steps: int
    optimizer: dict
    optimizer_options: dict
    loss: str
    schedule: str
    warmup: int = 0
    foreground_fraction: float = 0.5
    augment: Augment = field(default_factory=Augment)
    settle: float = 0.0
    minutes: float | None = None

    def __post_init__(self):
        """Check what would fail late, or not at all."""
        for name in BY_AXES:
            value = getattr(self, name)
            expected = f"a dictionary by number of spatial axes, such as {{2: {value!r}}}"
            require(isinstance(value, dict), name, expected, f"{name}={value!r}")
        require_one_of(("cosine", "drops"), "schedule", self.schedule)

    def learning_rate(self, spatial_dims, progress, step):
        """Return the rate at a share `progress` (0 to 1) of the budget, at a step."""
        peak = self.rate[spatial_dims] * min(1, (step + 1) / max(self.warmup, 1))
        if self.schedule == "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
        return peak * 0.1 ** ((progress >= 0.5) + (progress >= 0.75))


# Other microscopes, stains and voxel sizes than those of the volumes trained on.
WIDE = Augment(
    elastic=0.5,
    displacement=1.0,
    scale=2.0,
    thickness=50.0,
    contrast=0.35,
    brightness=0.5,
    gamma=0.5,
    noise=1.0,
    blur=1.5,
    shading=0.2,
    inversion=0.03,
    staining=0.6,
    sections=0.1,
    myelin=0.05,
)
# The same stack, in other sections than the few that are annotated. Brightness hardly changes, as
# it distinguishes mitochondria from darker structures such as myelin; contrast varies in real
# stacks.
SAME_STACK = Augment(
    elastic=0.3,
    displacement=1.0,
    scale=1.2,
    contrast=0.3,
    brightness=0.1,
    gamma=0.1,
    noise=0.2,
    blur=0.5,
)
# Muon was chosen for 2D networks by tests/benchmarks/recipes.py, for 3D ones by one short run of H
# with each, on thin patches; `finetune` has not been measured with it in 3D.
FAST = Recipe(
    patch={2: (256, 256), 3: (64, 128, 128)},
    batch={2: 2, 3: 2},
    rate={2: 3e-3, 3: 3e-3},
    steps=4_000,
    optimizer={2: "MuonAdamW", 3: "MuonAdamW"},
    optimizer_options={"weight_decay": 1e-4},
    loss="JaccardCrossentropyLoss",
    schedule="cosine",
    warmup=50,
    augment=WIDE,
    settle=0.1,
)

DEFAULT = "fast"  # where none is given
RECIPES = {
    # Paper, Section 3, which does not state the L2 coefficient. He et al. 2016 add 1e-4 to the
    # gradient, which momentum 0.9 makes ten times as strong; Keras's decay bypasses the momentum.
    "paper": Recipe(
        patch={2: (256, 256), 3: (96, 128, 128)},
        batch={2: 24, 3: 3},
        rate={2: 0.05, 3: 0.1},
        steps=30_000,
        optimizer={2: "SGD", 3: "SGD"},
        optimizer_options={"momentum": 0.9, "weight_decay": 1e-3},
        loss="JaccardLoss",
        schedule="drops",
        foreground_fraction=1.0,
        augment=Augment(rotations=False, elastic=1.0, contrast=0, brightness=0),
    ),
    "fast": FAST,
    # From good weights, on the volume to be segmented. Half of the patches lie anywhere on
    # annotated sections: with most of them around objects, networks mark too much. Patches are
    # thin, since a larger share of their voxels is annotated if few sections are.
    "finetune": replace(
        FAST,
        patch={2: (256, 256), 3: (32, 128, 128)},
        batch={2: 2, 3: 4},
        rate={2: 1e-3, 3: 1e-3},
        steps=2_000,
        minutes=10,
        optimizer={2: "MuonAdamW", 3: "AdamW"},
        warmup=25,
        augment=SAME_STACK,
    ),
    # Patches small enough for hundreds of steps in the minutes of a demonstration on phantoms.
    "demo": replace(
        FAST,
        patch={2: (128, 128), 3: (32, 64, 64)},
        batch={2: 4, 3: 2},
        steps=400,
        optimizer={2: "AdamW", 3: "AdamW"},
        warmup=30,
        augment=Augment(),
        settle=0.0,
    ),
}


def get_recipe(recipe):
    """Return a `Recipe`, or the one of a name.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    if isinstance(recipe, Recipe):
        return recipe
    require_one_of(RECIPES, "recipe", recipe)
    return RECIPES[recipe]
