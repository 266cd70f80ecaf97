"""What is known of the axes of a volume."""

import numpy as np
import pytest

from volseg_keras import open_volume, save_volume
from volseg_keras.datasets.phantom import phantom
from volseg_keras.volumes.dimensions import known_voxel_size, lacks_thickness
from volseg_keras.volumes.geometry import Geometry
from volseg_keras.volumes.volume import as_volume


@pytest.mark.parametrize(
    "sides, unit, lacks",
    [
        ((None, 5.0, 5.0), "nm", True),
        ((None, 5e-7, 5e-7), "cm", True),
        ((40.0, 5.0, 5.0), "nm", False),
        ((None, 1 / 72, 1 / 72), "inch", False),  # the resolution of a screen
        ((None, 352_778.0, 352_778.0), "nm", False),
        ((None, None, 5.0), "nm", False),
        ((None, 5.0, 5.0), None, False),
    ],
)
def test_a_volume_without_section_thickness(sides, unit, lacks):
    volume = as_volume(np.zeros((4, 8, 8), np.uint8))
    volume.geometry = Geometry.straight(sides, unit)
    assert lacks_thickness(volume) == lacks


def test_a_file_that_knows_all_or_nothing(tmp_path):
    for size in (None, (40, 6, 6)):
        path = save_volume(tmp_path / "a.tif", np.zeros((4, 8, 8), np.uint8), voxel_size=size)
        assert not lacks_thickness(open_volume(path))


@pytest.mark.parametrize("every", [1, 4])
def test_the_thickness_that_a_file_does_not_state_is_measured(every):
    volume = as_volume(phantom((32, 96, 96))[0][::every])
    assert known_voxel_size(volume) is None and known_voxel_size(np.asarray(volume)) is None
    volume.geometry = Geometry.straight((None, 6.0, 5.0), "nm")
    thick, *pixel = known_voxel_size(volume)
    assert pixel == [6, 5] and thick == pytest.approx(5 * every, rel=0.5)


@pytest.mark.parametrize("image", [np.zeros((4, 64, 64)), phantom((16, 64, 64))[0].repeat(3, 0)])
def test_a_thickness_that_cannot_be_measured_is_unknown(image):
    volume = as_volume(image.astype(np.uint8))
    volume.geometry = Geometry.straight((None, 6.0, 5.0), "nm")
    assert known_voxel_size(volume) is None
