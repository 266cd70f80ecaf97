"""Labels lie where their image lies, for every program that reads both."""

import h5py
import mrcfile
import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
import zarr
from command import volseg

from volseg_keras import open_volume, save_volume, write_instances
from volseg_keras.volumes.formats.mrc import STAMP
from volseg_keras.volumes.geometry import Geometry, difference_text, size_in_nm

VOXELS = np.random.default_rng(0).integers(90, 170, (6, 32, 48)).astype(np.uint8)
TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])


def affine(unit=1.0):
    turned = np.eye(4)
    turned[:3, :3] = TURN @ np.diag([0.0041, -0.0052, 0.0403]) * unit
    turned[:3, 3] = (12.5 * unit, -34.25 * unit, 5.125 * unit)
    return turned


def copy(image):
    """Return the path of labels of an image, in its format."""
    volume = open_volume(image)
    return save_volume(image.with_name(f"labels_{image.name}"), VOXELS > 120, like=volume)


@pytest.mark.parametrize("unit", ["mm", "micron", "meter", "unknown"])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 2), (0, 0)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti(unit, codes, suffix, tmp_path):
    image = nibabel.Nifti1Image(VOXELS.T, affine())
    image.header.set_xyzt_units(unit)
    image.set_qform(affine(), codes[0])
    image.set_sform(affine(), codes[1])
    image.to_filename(tmp_path / f"a{suffix}")
    want, found = (
        nibabel.load(p) for p in (tmp_path / f"a{suffix}", copy(tmp_path / f"a{suffix}"))
    )
    np.testing.assert_allclose(found.affine, want.affine, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.header.get_zooms(), want.header.get_zooms(), rtol=1e-6)
    assert found.header.get_xyzt_units()[0] == unit
    for name in ("qform_code", "sform_code"):
        assert found.header[name] == want.header[name]


SPACES = ("left-posterior-superior", "RAS", "scanner-xyz", "3D-left-handed")


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("unit", ["um", "mm", None])
def test_nrrd(space, unit, tmp_path):
    header = {"space": space, "space directions": affine()[:3, :3].T, "kinds": ["domain"] * 3}
    header |= {"space origin": affine()[:3, 3]} | ({"space units": [unit] * 3} if unit else {})
    nrrd.write(str(tmp_path / "a.nrrd"), VOXELS.T, header)
    found = nrrd.read_header(str(copy(tmp_path / "a.nrrd")))
    assert found["space"] == {"RAS": "right-anterior-superior"}.get(space, space.lower())
    for name in ("space directions", "space origin"):
        np.testing.assert_allclose(found[name], header[name], rtol=1e-6, atol=1e-9)
    assert found.get("space units") == header.get("space units")
    assert (open_volume(tmp_path / "a.nrrd").voxel_size is None) == (unit is None)


def test_nrrd_of_spacings_alone(tmp_path):
    header = {"spacings": [0.004, 0.005, 0.04], "units": ["um"] * 3}
    nrrd.write(str(tmp_path / "a.nrrd"), VOXELS.T, header)
    found = nrrd.read_header(str(copy(tmp_path / "a.nrrd")))
    np.testing.assert_allclose(found["spacings"], header["spacings"])
    assert found["units"] == ["um"] * 3 and "space origin" not in found


@pytest.mark.parametrize("flags, version", [(None, 20141), (None, 0), (0, 0), (4, 0), (0, 20140)])
def test_mrc(flags, version, tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(VOXELS.astype(np.int16))
        file.voxel_size = (41.3, 52.5, 403.1)
        file.header.origin = (100.5, -200.25, 300.125)
        file.header.nxstart, file.header.nystart, file.header.nzstart = -7, 0, 12
        file.header.nversion = version
        if flags is not None:
            extra = bytearray(file.header.extra2.tobytes())
            extra[40:48] = np.array([STAMP, flags], "<i4").tobytes()
            file.header.extra2 = np.void(bytes(extra))
    with mrcfile.open(tmp_path / "a.mrc") as want, mrcfile.open(copy(tmp_path / "a.mrc")) as found:
        for name in ("nxstart", "nystart", "nzstart", "nversion"):
            assert found.header[name] == want.header[name]
        for axis in "xyz":
            assert found.header.origin[axis] == want.header.origin[axis]
            assert found.voxel_size[axis] == pytest.approx(float(want.voxel_size[axis]), rel=1e-6)
        told = [file.header.extra2.tobytes()[40:48] for file in (want, found)]
        assert told[0] == told[1]


@pytest.mark.parametrize(
    "unit, scale",
    [("um", 1), ("micron", 1), ("\\u00B5m", 1), ("nm", 1e3), ("mm", 1e-3), ("inch", 1)],
)
def test_imagej(unit, scale, tmp_path):
    sides = np.array((0.0403, 0.0052, 0.0041)) * scale
    metadata = {"axes": "ZYX", "spacing": sides[0], "unit": unit}
    resolution = (1 / sides[2], 1 / sides[1])
    options = {"imagej": True, "resolution": resolution, "metadata": metadata}
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, **options)
    with (
        tifffile.TiffFile(tmp_path / "a.tif") as want,
        tifffile.TiffFile(copy(tmp_path / "a.tif")) as found,
    ):
        assert found.is_imagej and found.imagej_metadata["slices"] == 6
        assert found.imagej_metadata["unit"] == want.imagej_metadata["unit"]
        assert found.imagej_metadata["spacing"] == pytest.approx(sides[0], rel=1e-6)
        for name in ("XResolution", "YResolution"):
            one, other = (np.divide(*t.pages[0].tags[name].value) for t in (want, found))
            assert other == pytest.approx(one, rel=1e-6)
        assert found.pages[0].tags["ResolutionUnit"].value == 1


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "f4"])
def test_every_type_of_tiff_is_a_stack_of_imagej(dtype, tmp_path):
    path = save_volume(tmp_path / "a.tif", VOXELS.astype(dtype), voxel_size=(40, 5, 4))
    with tifffile.TiffFile(path) as tif:
        assert tif.is_imagej and len(tif.pages) == 6
        assert tif.imagej_metadata["unit"] == "nm" and tif.imagej_metadata["spacing"] == 40
    volume = open_volume(path)
    assert volume.voxel_size == pytest.approx((40, 5, 4)) and volume.dtype == dtype
    np.testing.assert_array_equal(volume[...], VOXELS)


def test_a_calibration_of_x_and_y_alone(tmp_path):
    """Of a plain TIFF in cm and an ImageJ stack without spacing; dots an inch are none."""
    one = {"resolution": (2e6, 2.5e6), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, photometric="minisblack", **one)
    volume = open_volume(tmp_path / "a.tif")
    assert volume.voxel_size is None
    assert open_volume(tmp_path / "a.tif", voxel_size=(40, 4, 5)).voxel_size == (40, 4, 5)
    with tifffile.TiffFile(copy(tmp_path / "a.tif")) as found:
        assert found.pages[0].tags["XResolution"].value == (2_000_000, 1)
        assert found.imagej_metadata["unit"] == "cm" and "spacing" not in found.imagej_metadata
    for dots in (72, 300):
        options = {"resolution": (dots, dots), "resolutionunit": "INCH"}
        tifffile.imwrite(tmp_path / "b.tif", VOXELS, photometric="minisblack", **options)
        assert open_volume(tmp_path / "b.tif").geometry is None


def test_a_single_image_is_as_thick_as_its_pixels_are_high(tmp_path):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.004, "PhysicalSizeY": 0.005}
    tifffile.imwrite(tmp_path / "a.ome.tif", VOXELS[0], metadata=metadata)
    image = open_volume(tmp_path / "a.ome.tif")
    assert image.voxel_size == pytest.approx((5, 5, 4))
    for suffix in (".mrc", ".zarr", ".h5"):
        path = save_volume(tmp_path / f"b{suffix}", VOXELS[:1], like=image)
        assert open_volume(path).voxel_size == pytest.approx((5, 5, 4))


@pytest.mark.parametrize("unit, nm", [("µm", 1e3), ("Å", 0.1)])
@pytest.mark.parametrize("suffix", [".nrrd", ".tif", ".ome.tif", ".h5", ".nii"])
def test_units_of_other_letters_than_ascii(unit, nm, suffix, tmp_path):
    sides = {f"PhysicalSize{axis}": side / nm for axis, side in zip("ZYX", (40, 5, 4), strict=True)}
    metadata = {"axes": "ZYX", **sides, **{f"{name}Unit": unit for name in sides}}
    tifffile.imwrite(tmp_path / "a.ome.tif", VOXELS, metadata=metadata)
    path = save_volume(tmp_path / f"b{suffix}", VOXELS, like=open_volume(tmp_path / "a.ome.tif"))
    assert open_volume(path).voxel_size == pytest.approx((40, 5, 4), rel=1e-4)


def test_a_unit_for_sections_of_their_own(tmp_path):
    metadata = {"axes": "ZYX", "spacing": 0.04, "unit": "nm", "zunit": "micron"}
    options = {"imagej": True, "resolution": (1 / 4, 1 / 5), "metadata": metadata}
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, **options)
    assert open_volume(tmp_path / "a.tif").voxel_size == pytest.approx((40, 5, 4))


def test_a_part_of_an_ome_tiff_that_another_file_describes(tmp_path):
    text = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    text += '<BinaryOnly MetadataFile="all.companion.ome" UUID="urn:uuid:1"/></OME>'
    tifffile.imwrite(tmp_path / "a.ome.tif", VOXELS, description=text, metadata=None)
    volume = open_volume(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(volume[...], VOXELS)
    assert volume.voxel_size is None


def test_ome_tiff(tmp_path):
    told = {"PhysicalSizeX": 0.004, "PhysicalSizeY": 0.005, "PhysicalSizeZ": 0.04}
    tifffile.imwrite(tmp_path / "a.ome.tif", VOXELS, metadata={"axes": "ZYX", **told})
    with tifffile.TiffFile(copy(tmp_path / "a.ome.tif")) as found:
        pixels = tifffile.xml2dict(found.ome_metadata)["OME"]["Image"]["Pixels"]
    assert {name: pixels[name] for name in told} == told
    assert all(pixels[f"{name}Unit"] == "µm" for name in told)
    assert open_volume(tmp_path / "labels_a.ome.tif").voxel_size == pytest.approx((40, 5, 4))


def test_ome_zarr(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=VOXELS, chunks=VOXELS.shape)
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    steps = [
        {"type": "scale", "scale": [0.04, 0.005, 0.004]},
        {"type": "translation", "translation": [1.5, -2.5, 3.5]},
    ]
    dataset = {"path": "0", "coordinateTransformations": steps}
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [dataset]}]
    (found,) = zarr.open_group(copy(tmp_path / "a.zarr"), mode="r").attrs["multiscales"]
    assert found["axes"] == axes and found["datasets"][0]["coordinateTransformations"] == steps


@pytest.mark.parametrize("suffix", [".zarr", ".ome.tif", ".tif", ".h5", ".mrc"])
@pytest.mark.parametrize("unit, factor", [(None, 1e-3), ("pixel", 1), ("nanometer", 1e-3)])
def test_a_given_voxel_size_adds_the_unit_that_a_file_lacks(unit, factor, suffix, tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=VOXELS, chunks=VOXELS.shape)
    axes = [{"name": a, "type": "space"} | ({"unit": unit} if unit else {}) for a in "zyx"]
    steps = [{"type": "scale", "scale": [40 * factor, 5 * factor, 4 * factor]}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    volume = open_volume(tmp_path / "a.zarr", voxel_size=(40, 5, 4))
    found = open_volume(save_volume(tmp_path / f"b{suffix}", VOXELS, like=volume))
    assert found.voxel_size == pytest.approx((40, 5, 4), rel=1e-6)


@pytest.mark.parametrize("unit, factor", [("nm", 1), ("um", 1e-3), ("mm", 1e-6)])
def test_a_given_voxel_size_says_the_unit_of_nrrd(unit, factor, tmp_path):
    sides = [4 * factor, 5 * factor, 40 * factor]
    nrrd.write(str(tmp_path / "a.nrrd"), VOXELS.T, {"spacings": sides})
    volume = open_volume(tmp_path / "a.nrrd", voxel_size=(40, 5, 4))
    header = nrrd.read_header(str(save_volume(tmp_path / "b.nrrd", VOXELS, like=volume)))
    assert header["units"] == [unit] * 3
    np.testing.assert_allclose(header["spacings"], sides)
    assert open_volume(tmp_path / "b.nrrd").voxel_size == pytest.approx((40, 5, 4))
    image = nibabel.Nifti1Image(VOXELS.T, np.diag([*sides, 1]))
    image.to_filename(tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii", voxel_size=(40, 5, 4))
    found = open_volume(save_volume(tmp_path / "b.nii", VOXELS, like=volume))
    assert found.voxel_size == (None if unit == "nm" else pytest.approx((40, 5, 4)))
    np.testing.assert_allclose(found.geometry.sides, sides[::-1], rtol=1e-6)


@pytest.mark.parametrize("size", ["abc", (5, 5), (0, 5, 5), (5, 5, float("nan"))], ids=str)
def test_a_wrong_voxel_size_is_named(size, tmp_path):
    with pytest.raises(ValueError, match="`voxel_size`. Expected three positive numbers"):
        open_volume(save_volume(tmp_path / "a.tif", VOXELS), voxel_size=size)


def test_a_given_voxel_size_where_a_file_knows_no_side():
    unknown = Geometry(((0.0,) * 3,) * 3, unit="mm")
    assert unknown.resized((40, 5, 5)).voxel_size == (40, 5, 5)


def images(folder):
    """Return images of one place by format, each written by its own library."""
    straight = np.diag([0.004, 0.005, 0.04, 1])
    straight[:3, 3] = (1, 2, 3)
    image = nibabel.Nifti1Image(VOXELS.T, straight)
    image.header.set_xyzt_units("micron")
    image.to_filename(folder / "a.nii")
    header = {"space": "right-anterior-superior", "space directions": straight[:3, :3]}
    header |= {"space origin": (1, 2, 3), "space units": ["um"] * 3}
    nrrd.write(str(folder / "a.nrrd"), VOXELS.T, header)
    with mrcfile.new(folder / "a.mrc") as file:
        file.set_data(VOXELS.astype(np.int16))
        file.voxel_size, file.header.origin = (40, 50, 400), (1e4, 2e4, 3e4)
    metadata = {"axes": "ZYX", "spacing": 0.04, "unit": "um"}
    metadata |= {"xorigin": -250.0, "yorigin": -400.0, "zorigin": -75.0}
    options = {"imagej": True, "resolution": (250, 200), "metadata": metadata}
    tifffile.imwrite(folder / "a.tif", VOXELS, **options)
    return [folder / f"a{suffix}" for suffix in (".nii", ".nrrd", ".mrc", ".tif")]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mrc", ".tif", ".zarr"])
def test_from_every_format_to_every_other(suffix, tmp_path):
    for image in images(tmp_path):
        volume = open_volume(image)
        found = open_volume(save_volume(tmp_path / f"of_{image.name}{suffix}", VOXELS, like=volume))
        assert found.voxel_size == pytest.approx((40, 5, 4), rel=1e-6)
        corner = found.geometry.in_unit("nm").origin
        np.testing.assert_allclose(corner, (1000, 2000, 3000), rtol=1e-6)
        assert difference_text(volume, found) is None


def test_hdf5_keeps_the_voxel_size_alone(tmp_path):
    path = save_volume(tmp_path / "a.h5", VOXELS, like=open_volume(images(tmp_path)[0]))
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["data"].attrs["element_size_um"], (0.04, 0.005, 0.004))


@pytest.mark.parametrize("unit, offset", [("nm", (0, 0, 0)), ("um", (1, 2, 3))])
def test_hdf5_of_cremi(unit, offset, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("volumes/raw", data=VOXELS)
        data.attrs["resolution"], data.attrs["offset"] = (40.0, 4.0, 5.0), offset
        if unit != "nm":
            data.attrs["unit"] = unit
    volume = open_volume(tmp_path / "a.h5")
    scale = {"nm": 1, "um": 1e3}[unit]
    assert volume.voxel_size == pytest.approx((40 * scale, 4 * scale, 5 * scale))
    assert volume.geometry.origin == offset[::-1]


def test_a_voxel_size_that_is_told(tmp_path):
    """What a user says counts, but a mere unit does not move the labels of a file without one."""
    image = nibabel.Nifti1Image(VOXELS.T, affine())
    image.to_filename(tmp_path / "a.nii")
    for size, kept in (((40.3, 5.2, 4.1), True), ((50, 5, 5), False)):
        volume = open_volume(tmp_path / "a.nii", voxel_size=size)
        assert volume.voxel_size == pytest.approx(size)
        found = nibabel.load(save_volume(tmp_path / "b.nii", VOXELS, like=volume))
        assert np.allclose(found.affine, affine(), atol=1e-6) == kept
        assert open_volume(tmp_path / "b.nii").voxel_size == pytest.approx(size)
        path = save_volume(tmp_path / "b.tif", VOXELS, like=volume)
        assert open_volume(path).voxel_size == pytest.approx(size)


def test_axes_that_are_told_take_their_sides_along(tmp_path):
    path = save_volume(tmp_path / "a.h5", VOXELS, voxel_size=(40, 5, 4))
    volume = open_volume(path, axes="xzy")
    np.testing.assert_array_equal(volume[...], VOXELS.transpose(1, 2, 0))
    assert volume.voxel_size == pytest.approx((5, 4, 40))
    nibabel.Nifti1Image(VOXELS.T, affine()).to_filename(tmp_path / "a.nii")
    turned = open_volume(tmp_path / "a.nii", axes="zyx").geometry
    np.testing.assert_allclose(turned.steps, affine()[:3, :3].T, atol=1e-6)


def test_geometry_in_other_units_and_spaces():
    place = Geometry.straight((40, 5, 4), "nm", (1000, 2000, 3000), space="left-posterior-superior")
    other = place.in_unit("um").in_space("right-anterior-superior")
    assert other.origin == (-1, -2, 3) and other.steps[2] == (-0.004, 0, 0)
    assert not other.is_straight and place.is_straight
    assert Geometry.straight((1, 1, 1), None).in_unit("nm") is None


def predicted(image, output, *options):
    assert volseg("predict", image, "-o", output, *options) == 0
    return open_volume(output)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--instances", "--fill-holes"),
        ("--median", 3, "--min-size", 5, "--probability"),
        ("--resume",),
    ],
)
def test_every_way_to_predict_keeps_the_place(options, tmp_path):
    image = nibabel.Nifti1Image(VOXELS.T, affine())
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / "a.nii.gz")
    predicted(tmp_path / "a.nii.gz", tmp_path / "labels.nii.gz", *options)
    names = ["labels"] + ["labels_probability"] * ("--probability" in options)
    for name in names:
        found = nibabel.load(tmp_path / f"{name}.nii.gz")
        np.testing.assert_allclose(found.affine, affine(), rtol=1e-6, atol=1e-6)


def test_blocks_to_zarr_and_instances_keep_the_place(tmp_path):
    image = images(tmp_path)[2]
    found = predicted(image, tmp_path / "labels.zarr", "--resume")
    np.testing.assert_allclose(found.geometry.in_unit("nm").origin, (1000, 2000, 3000))
    predicted(image, tmp_path / "labels.ome.tif", "--resume", "--median", 3)
    with tifffile.TiffFile(tmp_path / "labels.ome.tif") as tif:
        assert tif.is_ome
    like = open_volume(
        save_volume(tmp_path / "p.zarr", VOXELS / np.float32(255), like=open_volume(image))
    )
    write_instances(like, tmp_path / "ids.nrrd", threshold=0.5)
    np.testing.assert_allclose(
        open_volume(tmp_path / "ids.nrrd").geometry.in_unit("nm").origin, (1000, 2000, 3000)
    )


def test_volumes_that_lie_apart_are_told(tmp_path, capsys):
    labels = (VOXELS > 130).astype(np.uint8)
    one, other = tmp_path / "one.nrrd", tmp_path / "other.nrrd"
    save_volume(one, labels, voxel_size=(40, 5, 5))
    save_volume(other, labels, voxel_size=(40, 8, 8))
    with pytest.warns(UserWarning, match="the same place as truth.*40 x 5 x 5 nm"):
        assert volseg("evaluate", one, other) == 0
    for path, origin in ((one, (5, 5, 5)), (other, (105, 5, 5))):
        header = {"space": "left-posterior-superior", "space directions": np.eye(3) * 5}
        header |= {"space origin": origin, "space units": ["nm"] * 3}
        nrrd.write(str(path), labels.T, header)
    with pytest.warns(UserWarning, match=r"\(100, -0, 0\) nm .* away|\(100, 0, 0\) nm"):
        assert volseg("evaluate", one, other) == 0
    save_volume(other, labels[1:])
    assert volseg("evaluate", one, other) == 2


@pytest.mark.parametrize(
    "sides, units, size",
    [
        ((40, 6, 6), ("nm", "nm", "nm"), (40, 6, 6)),
        ((0.04, 6e-3, 6e-3), ("micrometer",) * 3, (40, 6, 6)),
        ((1, 40, 6, 6), ("pixel", "nm", "nm", "nm"), (40, 6, 6)),
        ((6, 5), ("nm", "nm"), (6, 6, 5)),
        ((1, 1, 1), ("pixel",) * 3, None),
        ((40, 6, 6), ("nm", "nm", "pixel"), None),
    ],
)
def test_sizes_in_nm(sides, units, size):
    found = size_in_nm(sides, units)
    assert found == (size and pytest.approx(size))
