"""Every format: written, read back lazily, and as other programs write it."""

import warnings

import h5py
import imagecodecs
import mrcfile
import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
import zarr
from command import small_file_system
from hypothesis import given
from hypothesis import strategies as st

from volseg_keras import open_volume, save_volume
from volseg_keras.volumes.formats import slabs
from volseg_keras.volumes.formats.ome_zarr import finish_zarr, start_zarr
from volseg_keras.volumes.formats.registry import suffixes_with
from volseg_keras.volumes.geometry import Geometry
from volseg_keras.volumes.intensity import IntensityStatistics
from volseg_keras.volumes.writing import create_volume

WRITTEN = suffixes_with("write")

VOXELS = np.random.default_rng(0).integers(0, 100, (6, 70, 150)).astype(np.uint8)
SIZE = (10.0, 5.0, 4.0)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_is_written_is_read_back(suffix, dtype, tmp_path):
    path = save_volume(tmp_path / "new folder" / f"a volume{suffix}", VOXELS.astype(dtype))
    volume = open_volume(path)
    assert volume.shape == VOXELS.shape and volume.voxel_size is None
    if suffix not in (".mrc", ".rec"):
        assert volume.dtype == dtype
    np.testing.assert_array_equal(np.asarray(volume), VOXELS)
    np.testing.assert_array_equal(volume[1:5, -3, ::4], VOXELS[1:5, -3, ::4])
    np.testing.assert_array_equal(volume[..., 7], VOXELS[..., 7])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_the_voxel_size_goes_along(suffix, tmp_path):
    path = save_volume(tmp_path / f"a{suffix}", VOXELS, voxel_size=SIZE)
    volume = open_volume(path)
    if suffix == ".npy":
        assert volume.voxel_size is None
    else:
        assert volume.voxel_size == pytest.approx(SIZE, rel=1e-4)
    assert open_volume(path, voxel_size=(1, 2, 3)).voxel_size == (1, 2, 3)


def test_a_folder_is_left_alone(tmp_path):
    path = save_volume(tmp_path / "a.zarr", VOXELS)
    with pytest.raises(FileExistsError, match="`output`"):
        save_volume(path, VOXELS[::-1])
    np.testing.assert_array_equal(np.asarray(open_volume(path)), VOXELS)


@pytest.mark.parametrize("suffix", [s for s in WRITTEN if s != ".zarr"])
def test_a_file_may_be_replaced(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    for voxels in (VOXELS, VOXELS[::-1]):
        save_volume(path, voxels)
    np.testing.assert_array_equal(np.asarray(open_volume(path)), VOXELS[::-1])


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("planes", [3, 12])
def test_too_few_or_too_many_planes_are_an_error(suffix, planes, tmp_path):
    with (
        pytest.raises(ValueError, match="`slab`"),
        create_volume(tmp_path / f"a{suffix}", VOXELS.shape, "u1") as add,
    ):
        for z in range(0, planes, 3):
            add(VOXELS[z % 6 : z % 6 + 3])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("array", [VOXELS[0], VOXELS[None], VOXELS * 1j, np.array(["a"])])
def test_arrays_that_are_no_volume(array, tmp_path):
    with pytest.raises(ValueError, match="Invalid value for `(array|dtype)`"):
        save_volume(tmp_path / "a.tif", array)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_masks_are_written_as_bytes(suffix, tmp_path):
    path = save_volume(tmp_path / f"a{suffix}", VOXELS > 50)
    np.testing.assert_array_equal(np.asarray(open_volume(path)), VOXELS > 50)


def test_mrc_holds_16_bits(tmp_path):
    with pytest.raises(ValueError, match="`dtype`"):
        save_volume(tmp_path / "a.mrc", VOXELS.astype(np.uint32) * 70_000)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_half_precision_is_written_without_loss(suffix, tmp_path):
    voxels = (VOXELS / 7).astype(np.float16)
    volume = open_volume(save_volume(tmp_path / f"a{suffix}", voxels))
    assert volume.dtype in (np.float16, np.float32)
    np.testing.assert_array_equal(np.asarray(volume), voxels)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_longer_floats_are_refused(suffix, tmp_path):
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("long doubles are doubles here")
    with pytest.raises(ValueError, match="Invalid value for `dtype`"):
        save_volume(tmp_path / f"a{suffix}", VOXELS.astype(np.longdouble))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("side, version", [(2**15 - 1, b"n+1"), (2**15, b"n+2")])
def test_nifti_takes_sides_of_any_length(side, version, tmp_path):
    voxels = np.arange(2 * side, dtype=np.int32).reshape(2, 1, side)
    path = save_volume(tmp_path / "a.nii", voxels, voxel_size=SIZE)
    assert version in path.read_bytes()[:400]
    volume = open_volume(path)
    np.testing.assert_array_equal(np.asarray(volume), voxels)
    assert volume.voxel_size == pytest.approx(SIZE, rel=1e-4)


def test_slabs_of_any_thickness_fill_chunks(tmp_path):
    voxels = np.random.default_rng(1).integers(0, 255, (150, 5, 7)).astype(np.uint8)
    with create_volume(tmp_path / "a.h5", voxels.shape, "u1") as add:
        for z in np.split(voxels, [1, 2, 40, 130]):
            add(z)
    np.testing.assert_array_equal(np.asarray(open_volume(tmp_path / "a.h5")), voxels)


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_large_planes_are_in_flatter_chunks(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(slabs, "ROW_BYTES", 16 * VOXELS[0].nbytes)
    voxels = np.concatenate([VOXELS, VOXELS[::-1]] * 4)
    with create_volume(tmp_path / f"a{suffix}", voxels.shape, "u1") as add:
        for z in np.split(voxels, [1, 2, 17, 40]):
            add(z)
    np.testing.assert_array_equal(np.asarray(open_volume(tmp_path / f"a{suffix}")), voxels)
    assert open_volume(tmp_path / f"a{suffix}").pieces == (16, 70, 150)


@pytest.mark.parametrize(
    "side, dtype, chunk",
    [
        (2000, "u1", (64, 128, 128)),
        (2000, "u4", (64, 128, 128)),
        (5000, "u4", (4, 512, 512)),
        (20_000, "u1", (1, 1024, 1024)),
        (40_000, "u4", (1, 1024, 1024)),
    ],
)
def test_a_row_of_chunks_fits_in_memory(side, dtype, chunk):
    assert slabs.chunk_for_slabs((500, side, side), dtype) == chunk


SPANS = st.one_of(
    st.integers(-6, 5),
    st.builds(
        slice,
        st.one_of(st.none(), st.integers(-200, 200)),
        st.one_of(st.none(), st.integers(-200, 200)),
        st.one_of(st.none(), st.integers(1, 9)),
    ),
)


@given(key=st.tuples(SPANS, SPANS, SPANS))
def test_any_index_is_that_of_numpy(key, volumes_by_suffix):
    for volume in volumes_by_suffix:
        np.testing.assert_array_equal(volume[key], VOXELS[key])


@pytest.fixture(scope="module")
def volumes_by_suffix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    suffixes = (".nii", ".nii.gz", ".h5", ".zarr", ".tif", ".npy")
    return [open_volume(save_volume(folder / f"a{suffix}", VOXELS)) for suffix in suffixes]


@pytest.mark.parametrize(
    "shape, options",
    [((6, 70, 150, 3), {"channel": 1}), ((6, 1, 70, 150), {}), ((3, 6, 70, 150), {"channel": 1})],
)
def test_axes_of_an_array_without_names(shape, options, tmp_path):
    """Channels where Keras, or ImageJ, has them."""
    array = np.zeros(shape, np.uint8)
    place = (..., 1) if shape[-1] == 3 else (1,) if shape[0] == 3 else (slice(None), 0)
    array[place] = VOXELS
    np.save(tmp_path / "a.npy", array)
    if options:
        with pytest.raises(ValueError, match="--channel 0"):
            open_volume(tmp_path / "a.npy")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.npy", **options)[...], VOXELS)


def test_a_detached_header_of_nrrd_is_read_only(tmp_path):
    nrrd.write(str(tmp_path / "a.nhdr"), VOXELS, index_order="C")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.nhdr")[...], VOXELS)
    with pytest.raises(ValueError, match="`output`. Expected one of .tif"):
        save_volume(tmp_path / "b.nhdr", VOXELS)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_failed_writer_leaves_nothing(suffix, tmp_path):
    with pytest.raises(KeyError), create_volume(tmp_path / f"a{suffix}", (9, 70, 150), "u1") as add:
        add(VOXELS)
        raise KeyError("killed")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_slices_are_sorted_by_their_numbers(ending, tmp_path):
    folder = tmp_path / "many slices"
    folder.mkdir()
    for z, page in enumerate(VOXELS[:12].repeat(2, 0)):
        name = folder / f"slice {z}.{ending}"
        imagecodecs.imwrite(name, page) if ending == "png" else tifffile.imwrite(name, page)
    (folder / "notes.txt").touch()
    for path in (folder, folder / f"*.{ending}"):
        np.testing.assert_array_equal(np.asarray(open_volume(path)), VOXELS.repeat(2, 0))
    with pytest.raises(FileNotFoundError, match="Expected images"):
        open_volume(folder / "*.jpg")


@pytest.mark.parametrize(
    "names, told",
    [
        (["scan", "scan1", "scan2", "scan10"], False),
        (["scan", "scan (1)", "scan (2)"], False),
        (["Z4", "z5", "Z6"], False),
        (["z0", "z1", "z-2", "z-1"], True),
        (["a_0", "a_0_mask", "a_1", "a_1_mask"], True),
    ],
)
def test_slices_named_in_several_ways(names, told, tmp_path):
    """A copy without a number comes first; what may be several volumes is told."""
    for z, name in enumerate(names):
        imagecodecs.imwrite(tmp_path / f"{name}.png", VOXELS[z])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = open_volume(tmp_path)[...]
    assert told == any("named in several ways" in str(each.message) for each in caught)
    if not told:
        np.testing.assert_array_equal(found, VOXELS[: len(names)])


def test_the_last_of_many_arrays_of_a_zarr_group(tmp_path):
    group = zarr.open_group(tmp_path / "many.zarr", mode="w")
    for number in range(25):
        group.create_array(f"raw{number}", data=VOXELS[:2] + number)
    path = tmp_path / "many.zarr"
    np.testing.assert_array_equal(open_volume(path, series=24)[...], VOXELS[:2] + 24)


def test_a_coloured_slice_among_grey_ones_is_named(tmp_path):
    for z in range(3):
        page = VOXELS[z] if z else VOXELS[z][..., None].repeat(3, -1)
        imagecodecs.imwrite(tmp_path / f"{z}.png", page)
    with pytest.raises(ValueError, match=r"[12].png is .*0.png"):
        open_volume(tmp_path)[...]


@pytest.mark.parametrize("kind", ["float16", "uint64", "int64"])
def test_types_that_ome_tiff_lacks_are_refused(kind, tmp_path):
    with pytest.raises(ValueError, match=f"OME-TIFF has.*{kind}"):
        save_volume(tmp_path / "a.ome.tif", VOXELS.astype(kind))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_a_last_axis_of_one_sample_is_dropped(suffix, tmp_path):
    """As Keras has it."""
    path = tmp_path / f"volume{suffix}"
    if suffix == ".npy":
        np.save(path, VOXELS[..., None])
    else:
        with h5py.File(path, "w") as file:
            file["raw"] = VOXELS[..., None]
    np.testing.assert_array_equal(open_volume(path)[...], VOXELS)


def test_slices_of_two_channels_and_of_several_pages(tmp_path):
    for z in range(3):
        channels = np.stack([VOXELS[z], 255 - VOXELS[z]])
        tifffile.imwrite(tmp_path / f"{z}.tif", channels, imagej=True, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(open_volume(tmp_path, channel=1)[...], 255 - VOXELS[:3])
    with pytest.raises(ValueError, match="channel"):
        open_volume(tmp_path)
    tifffile.imwrite(tmp_path / "0.tif", VOXELS, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(ValueError, match="0.tif is not a single image, but ZYX"):
        open_volume(tmp_path)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("other", [VOXELS[0].T, VOXELS[0, :, ::2].astype("u2")])
def test_slices_of_different_kinds_are_no_volume(other, ending, tmp_path):
    """Of as many bytes, which could be taken for one another."""
    for z, page in enumerate([VOXELS[0], other]):
        imagecodecs.imwrite(tmp_path / f"{z}.{ending}", np.ascontiguousarray(page))
    volume = open_volume(tmp_path)
    np.testing.assert_array_equal(volume[0], VOXELS[0])
    with pytest.raises(ValueError, match=rf"1.{ending} is \(.*0.{ending}"):
        volume[...]


def test_hdf5_of_several_datasets(tmp_path):
    path = tmp_path / "some data.h5"
    with h5py.File(path, "w") as file:
        file["raw"] = VOXELS
        file["group/labels"] = VOXELS > 50
        file["table"] = np.arange(5)
    with pytest.raises(ValueError, match="group/labels, raw"):
        open_volume(path)
    np.testing.assert_array_equal(np.asarray(open_volume(f"{path}::/raw")), VOXELS)
    np.testing.assert_array_equal(np.asarray(open_volume(f"{path}::group/labels")), VOXELS > 50)
    with pytest.raises(ValueError, match="`path`.*FILE::NAME"):
        open_volume(f"{path}::missing")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_levels_channels_and_units(version, tmp_path):
    path = tmp_path / f"image {version}.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    both = np.stack([VOXELS, VOXELS[::-1]])
    for i in (0, 1):
        array = group.create_array(str(i), shape=both[..., :: 2**i].shape, dtype="u1")
        array[...] = both[..., :: 2**i]
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    datasets = [
        {
            "path": str(i),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1, 0.04, 0.005, 0.005 * 2**i]}
            ],
        }
        for i in (0, 1)
    ]
    scales = [{"axes": axes, "datasets": datasets, "version": version}]
    group.attrs.update(
        {"multiscales": scales} if version == "0.4" else {"ome": {"multiscales": scales}}
    )
    volume = open_volume(path, channel=1)
    np.testing.assert_array_equal(np.asarray(volume), both[1])
    assert volume.voxel_size == pytest.approx((40, 5, 5))
    coarse = open_volume(path, channel=0, level=1)
    np.testing.assert_array_equal(np.asarray(coarse), both[0, ..., ::2])
    assert coarse.voxel_size == pytest.approx((40, 5, 10))
    np.testing.assert_array_equal(np.asarray(open_volume(f"{path}::1", channel=0)), coarse)
    with pytest.raises(ValueError, match="levels 0 to 1"):
        open_volume(path, channel=0, level=2)
    with pytest.raises(ValueError, match="`channel`"):
        open_volume(path)
    with pytest.raises(ValueError, match="`channel`"):
        open_volume(path, channel=2)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_levels_of_an_ome_tiff(compression, tmp_path):
    path, options = (
        tmp_path / "a.ome.tif",
        {"photometric": "minisblack", "compression": compression},
    )
    metadata = {"axes": "ZYX"}
    for axis, side in zip("ZYX", SIZE, strict=True):
        metadata |= {f"PhysicalSize{axis}": side, f"PhysicalSize{axis}Unit": "nm"}
    voxels = np.random.default_rng(1).integers(0, 99, (4, 128, 192)).astype(np.uint8)
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(voxels, subifds=1, metadata=metadata, tile=(32, 32), **options)
        tif.write(voxels[:, ::2, ::2], subfiletype=1, tile=(32, 32), **options)
    for level, factor in ((0, 1), (1, 2)):
        volume = open_volume(path, level=level)
        np.testing.assert_array_equal(volume[...], voxels[:, ::factor, ::factor])
        assert volume.voxel_size == pytest.approx((10, 5 * factor, 4 * factor))
    with pytest.raises(ValueError, match="levels 0 to 1. Received: 2"):
        open_volume(path, level=2)


def test_our_pyramids_are_ome_zarr(tmp_path):
    voxels = np.zeros((5, 130, 260), np.uint8)
    path = save_volume(tmp_path / "labels.zarr", voxels, voxel_size=SIZE)
    group = zarr.open_group(path, mode="r")
    (image,) = group.attrs["multiscales"]
    assert image["version"] == "0.4" and [a["name"] for a in image["axes"]] == list("zyx")
    assert [d["path"] for d in image["datasets"]] == ["0", "1"] == sorted(group.array_keys())
    assert group["1"].shape == (3, 65, 130)
    scale = image["datasets"][1]["coordinateTransformations"][0]["scale"]
    assert scale == [20, 10, 8]


def test_mrc_tells_8_bits_and_statistics(tmp_path):
    for dtype in ("u1", "u2", "f4"):
        voxels = (VOXELS * 1.5).astype(dtype)
        path = save_volume(tmp_path / f"{dtype}.mrc", voxels)
        assert open_volume(path).dtype == dtype
        with mrcfile.open(path) as file:
            header = file.header
            found = header.dmin, header.dmax, header.dmean, header.rms
        want = voxels.min(), voxels.max(), voxels.mean(), voxels.std()
        assert found == pytest.approx(want, rel=1e-5)
        mrcfile.validate(path)
    for voxels in (VOXELS.astype("u2") + 300, VOXELS - np.float32(0.5)):
        path = save_volume(tmp_path / "changed.mrc", VOXELS)
        with mrcfile.open(path, "r+") as file:
            file.set_data(voxels)
        np.testing.assert_array_equal(open_volume(path)[...], voxels)


def test_a_single_nifti_image_with_units(tmp_path):
    image = nibabel.Nifti1Image(VOXELS[0].T, np.eye(4))
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert volume.voxel_size == (1e6, 1e6, 1e6)  # as thick as its pixels are high
    np.testing.assert_array_equal(volume[...], VOXELS[:1])


def test_a_link_to_an_ome_tiff_that_names_itself(tmp_path):
    (tmp_path / "store").mkdir()
    uuid = "urn:uuid:00000000-0000-0000-0000-000000000000"
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="{uuid}"><Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint8" '
        'DimensionOrder="XYZCT" SizeX="150" SizeY="70" SizeZ="6" SizeC="1" SizeT="1">'
        '<Channel ID="Channel:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="6">'
        f'<UUID FileName="v.ome.tif">{uuid}</UUID></TiffData></Pixels></Image></OME>'
    )
    options = {"photometric": "minisblack", "metadata": None, "compression": "zlib"}
    tifffile.imwrite(tmp_path / "store" / "v.ome.tif", VOXELS, description=xml, **options)
    link = tmp_path / "v.ome.tif"
    link.symlink_to(tmp_path / "store" / "v.ome.tif")
    np.testing.assert_array_equal(open_volume(link)[...], VOXELS)


def test_a_pyramid_that_was_interrupted_is_finished(tmp_path):
    path, voxels = tmp_path / "a.zarr", np.arange(2 * 300 * 260, dtype="u4").reshape(2, 300, 260)
    start_zarr(path, voxels.shape, voxels.dtype)[...] = voxels
    group = zarr.open_group(path, mode="r+")
    group.create_array("1", shape=(1, 150, 130), chunks=(1, 64, 64), dtype="u4")
    finish_zarr(path, Geometry.straight(SIZE))
    for level, step in enumerate((1, 2, 4)[: len(list(group.array_keys()))]):
        found = open_volume(path, level=level)[...]
        np.testing.assert_array_equal(found, voxels[::step, ::step, ::step])


def test_labels_in_ome_zarr_say_so(tmp_path):
    for labels in (False, True):
        path = tmp_path / f"{labels}.zarr"
        with create_volume(path, VOXELS.shape, "u1", SIZE, labels=labels) as append:
            append(VOXELS)
        attributes = zarr.open_group(path, mode="r").attrs
        assert ("image-label" in attributes) == labels and "multiscales" in attributes
        np.testing.assert_array_equal(open_volume(path)[...], VOXELS)


def test_other_programs_nifti_and_nrrd(tmp_path):
    image = nibabel.Nifti1Image(VOXELS.T, np.diag([4e-6, 5e-6, 1e-5, 1]))
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / "a.nii.gz")
    volume = open_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(volume), VOXELS)
    assert volume.dtype == np.uint8 and volume.voxel_size == pytest.approx(SIZE, rel=1e-4)
    image.header.set_slope_inter(0.5, 10)
    image.to_filename(tmp_path / "scaled.nii")
    scaled = open_volume(tmp_path / "scaled.nii")
    assert scaled.dtype == scaled[:1].dtype == np.float32
    np.testing.assert_allclose(scaled[...], nibabel.load(tmp_path / "scaled.nii").get_fdata().T)
    assert IntensityStatistics.of(scaled).mean == pytest.approx(scaled[...].mean(), rel=0.01)
    header = {
        "space dimension": 3,
        "space directions": np.diag([4.0, 5.0, 10.0]),
        "space units": ["nm"] * 3,
    }
    nrrd.write(str(tmp_path / "a.nrrd"), VOXELS.T, header)
    volume = open_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(np.asarray(volume), VOXELS)
    assert volume.voxel_size == pytest.approx(SIZE)


def test_the_microscopes_mrc(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(VOXELS.astype(np.int16))
        file.voxel_size = (40, 50, 100)
    volume = open_volume(tmp_path / "a.mrc")
    assert volume.dtype == np.int16 and volume.voxel_size == pytest.approx(SIZE)
    np.testing.assert_array_equal(np.asarray(volume), VOXELS)


@pytest.mark.parametrize(
    "options, unit, want",
    [
        ({"imagej": True, "resolution": (250, 200)}, "um", (10, 5, 4)),
        ({"imagej": True, "resolution": (0.25, 0.2)}, "nm", (10, 5, 4)),
        ({"imagej": True}, "pixel", None),
    ],
)
def test_imagej_units(options, unit, want, tmp_path):
    spacing = 0.01 if unit == "um" else 10
    metadata = {"axes": "ZYX", "spacing": spacing, "unit": unit}
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, metadata=metadata, **options)
    size = open_volume(tmp_path / "a.tif").voxel_size
    assert size == (want and pytest.approx(want, rel=1e-4))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ome_tiff_units_time_and_channel(compression, tmp_path):
    stack = np.stack([np.stack([VOXELS + 10 * t + 2 * c for c in range(2)]) for t in range(3)])
    metadata = {
        "axes": "TCZYX",
        "PhysicalSizeX": 0.004,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 5,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 100,
        "PhysicalSizeZUnit": "Å",
    }
    options = {"compression": compression, "metadata": metadata}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, **options)
    volume = open_volume(tmp_path / "a.ome.tif", time=2, channel=1)
    np.testing.assert_array_equal(np.asarray(volume), stack[2, 1])
    np.testing.assert_array_equal(volume[1:3], stack[2, 1, 1:3])
    assert volume.voxel_size == pytest.approx(SIZE)
    with pytest.raises(ValueError, match="`time` or `channel`"):
        open_volume(tmp_path / "a.ome.tif", time=0)


@pytest.mark.parametrize("suffix", [s for s in WRITTEN if s not in (".zarr",)])
def test_a_cut_file_is_one_line(suffix, tmp_path):
    path = save_volume(tmp_path / f"cut{suffix}", VOXELS)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match="Invalid value for `path`.*cut") as error:
        np.asarray(open_volume(path))
    assert len(str(error.value).splitlines()) <= 3


def test_a_corrupt_chunk_is_one_line(tmp_path):
    path = save_volume(tmp_path / "a.zarr", VOXELS)
    chunk = max((p for p in (path / "0").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    chunk.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="`path`"):
        np.asarray(open_volume(path))


def test_arguments_that_a_format_has_no_use_for(tmp_path):
    path = save_volume(tmp_path / "a.npy", VOXELS)
    for name, options in ((f"{path}::data", {}), (path, {"level": 1})):
        with pytest.raises(ValueError, match="Invalid value for `(path|level)`"):
            open_volume(name, **options)
    for size in (5, (1, 2), (0, 1, 1), (1, 1, float("nan"))):
        with pytest.raises(ValueError, match="`voxel_size`"):
            open_volume(path, voxel_size=size)
        with pytest.raises(ValueError, match="`voxel_size`"):
            save_volume(tmp_path / "b.npy", VOXELS, voxel_size=size)


def test_slices_know_their_voxel_size_and_take_no_options_of_files(tmp_path):
    for z in range(3):
        options = {"resolution": (1e7 / 5, 1e7 / 4), "resolutionunit": "CENTIMETER"}
        name = tmp_path / f"s[1]_{z}.tif"
        tifffile.imwrite(name, VOXELS[z], photometric="minisblack", **options)
    (tmp_path / "labels.tif").mkdir()
    for path in (tmp_path, tmp_path / "s[1]*.tif"):
        volume = open_volume(path)
        np.testing.assert_array_equal(volume[...], VOXELS[:3])
        assert volume.geometry.in_unit("nm").sides[1:] == pytest.approx((4, 5))
    for options in ({"level": 3}, {"series": 7}):
        with pytest.raises(ValueError, match=next(iter(options))):
            open_volume(tmp_path, **options)
    with pytest.raises(ValueError, match="FILE::NAME"):
        open_volume(f"{tmp_path}::data")
    (tmp_path / "s[1]_1.tif").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"s\[1\]_1.tif"):
        open_volume(tmp_path)[...]


def test_links_in_hdf5_are_followed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"], file["other"] = VOXELS, VOXELS[:2]
        file["entry/data"] = h5py.SoftLink("/raw")
        file["elsewhere"] = h5py.ExternalLink("b.h5", "/raw")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["raw"] = VOXELS
    np.testing.assert_array_equal(open_volume(tmp_path / "a.h5::entry/data")[...], VOXELS)
    with pytest.raises(ValueError, match="other files"):
        open_volume(tmp_path / "a.h5::elsewhere")


def test_an_hdf5_file_on_a_full_disk(tmp_path):
    with small_file_system(tmp_path / "small", "2m") as folder:
        with pytest.raises(OSError, match="No space left"):
            save_volume(folder / "a.h5", np.zeros((64, 256, 256), np.uint8))
        assert not list(folder.iterdir())


def test_large_shards_of_small_chunks(tmp_path):
    shards = {"shape": (1024, 1024, 2048), "chunks": (32, 32, 32), "shards": (1024, 1024, 2048)}
    zarr.create_array(tmp_path / "a.zarr", dtype="u1", zarr_format=3, **shards)
    assert open_volume(tmp_path / "a.zarr").shape == (1024, 1024, 2048)


def test_levels_of_a_single_section_are_as_thick(tmp_path):
    path = save_volume(
        tmp_path / "a.zarr", np.zeros((1, 512, 600), np.uint8), voxel_size=(40, 5, 4)
    )
    coarse = open_volume(path, level=1)
    assert coarse.shape == (1, 256, 300) and coarse.voxel_size == (40, 10, 8)
