"""Which published model is chosen for which volume."""

import pytest

from volseg_keras.pretrained.choice import BEST, choose_model, rescaling, spatial_dims_for
from volseg_keras.pretrained.presets import published


@pytest.mark.parametrize(
    "shape, voxel_size, dims, told",
    [
        ((165, 768, 1024), (5, 5, 5), 3, "about as thick"),
        ((165, 768, 1024), None, 3, "--voxel-size"),
        ((20, 1024, 1024), (40, 5.9, 5.9), 2, "6.8 times"),
        ((200, 1024, 1024), (40, 5.9, 5.9), 2, "6.8 times"),
        ((10, 1024, 1024), None, 2, "10 sections"),
        ((100, 64, 64), (15, 5, 5), 3, "about as thick"),
    ],
)
def test_axes(shape, voxel_size, dims, told):
    found, why = spatial_dims_for(shape, voxel_size)
    assert found == dims and told in why
    choice = choose_model(shape, voxel_size)
    assert choice.model in BEST[dims] and choice.model.lower() in published()
    assert why in choice.reason


@pytest.mark.parametrize(
    "voxel_size, trained, dims, scale",
    [
        (None, (5, 5, 5), 3, (1, 1, 1)),
        ((5, 5, 5), None, 3, (1, 1, 1)),
        ((6, 6, 6), (5, 5, 5), 3, (1, 1, 1)),
        ((8, 8, 8), (5, 5, 5), 3, (1.6, 1.6, 1.6)),
        ((40, 6, 6), (5, 5, 5), 2, (1, 1, 1)),
        ((40, 10, 10), (5, 5, 5), 2, (1, 2, 2)),
        ((40, 3, 3), (14, 5.4, 5.4), 2, (1, 0.5556, 0.5556)),
    ],
)
def test_scale(voxel_size, trained, dims, scale):
    assert rescaling(voxel_size, trained, dims) == scale


def test_the_scale_is_told():
    choice = choose_model((100, 64, 64), (10, 10, 10))
    assert choice.scale == (2, 2, 2) and "rescaled by 2, 2, 2" in choice.reason
