"""What a file says of its layout is believed: axes, signs, images of several, or refused."""

import json
import pickle
import struct
import warnings
import zlib
from itertools import permutations

import h5py
import imagecodecs
import mrcfile
import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from volseg_keras import open_volume, save_volume
from volseg_keras.volumes.formats.mrc import SUFFIXES
from volseg_keras.volumes.labels import are_labels
from volseg_keras.volumes.volume import as_volume, with_whole_numbers

RNG = np.random.default_rng(5)
VOXELS = RNG.integers(0, 256, (5, 18, 23)).astype(np.uint8)
OTHER = 255 - VOXELS


def header(shape, mode=0, order="<", word=b"MAP ", **changes):
    """Return the header of an MRC file; changes are `at_OFFSET`: (format, *values)."""
    z, y, x = shape
    raw = bytearray(1024)
    struct.pack_into(f"{order}4i", raw, 0, x, y, z, mode)
    struct.pack_into(f"{order}3i", raw, 28, x, y, z)
    struct.pack_into(f"{order}6f", raw, 40, 40.0 * x, 50.0 * y, 60.0 * z, 90, 90, 90)
    struct.pack_into(f"{order}3i", raw, 64, 1, 2, 3)
    raw[208:212], raw[212:214] = word, b"DD" if order == "<" else b"\x11\x11"
    for name, (kind, *values) in changes.items():
        struct.pack_into(order + kind, raw, int(name[3:]), *values)
    return bytes(raw)


def packed(voxels):
    """Return voxels of 4 bits, two a byte, rows of an odd length padded."""
    padded = np.pad(voxels, [(0, 0), (0, 0), (0, voxels.shape[2] % 2)])
    return (padded[..., ::2] | padded[..., 1::2] << 4).tobytes()


IMOD = ("2i", 1146047817)
FEW = VOXELS % 16
EVEN = FEW[..., :22]
HALF_BYTES = {"at_152": (*IMOD, 16)}
MRC = {
    "IMOD, no sign": (header(VOXELS.shape, at_152=(*IMOD, 0)) + VOXELS.tobytes(), VOXELS),
    "IMOD, sign": (
        header(VOXELS.shape, at_152=(*IMOD, 1)) + VOXELS.tobytes(),
        VOXELS.view(np.int8),
    ),
    "IMOD, sign, against its statistics": (
        header(VOXELS.shape, at_152=(*IMOD, 1), at_76=("2f", 0, 255)) + VOXELS.tobytes(),
        VOXELS.view(np.int8),
    ),
    "no flags, greatest 250": (
        header(VOXELS.shape, at_76=("2f", 3, 250)) + VOXELS.tobytes(),
        VOXELS,
    ),
    "no flags, least -100": (
        header(VOXELS.shape, at_76=("2f", -100, 90)) + VOXELS.tobytes(),
        VOXELS.view(np.int8),
    ),
    "no flags": (header(VOXELS.shape) + VOXELS.tobytes(), VOXELS.view(np.int8)),
    "without MAP": (
        header(VOXELS.shape, word=bytes(4), at_152=(*IMOD, 0)) + VOXELS.tobytes(),
        VOXELS,
    ),
    "big-endian": (
        header(VOXELS.shape, 1, ">") + VOXELS.astype(">i2").tobytes(),
        VOXELS.astype(np.int16),
    ),
    "big-endian, stamped little": (
        header(VOXELS.shape, 2, ">", at_212=("4s", b"DA")) + VOXELS.astype(">f4").tobytes(),
        VOXELS.astype(np.float32),
    ),
    "mode 101": (header(FEW.shape, 101) + packed(FEW), FEW),
    "bytes of two voxels": (header((5, 18, 11), **HALF_BYTES) + packed(EVEN), EVEN),
    "longer header": (
        header(VOXELS.shape, 6, at_92=("i", 80)) + bytes(80) + VOXELS.astype("u2").tobytes(),
        VOXELS,
    ),
    "axes never filled in": (
        header(VOXELS.shape, at_64=("3i", 0, 0, 0), at_152=(*IMOD, 0)) + VOXELS.tobytes(),
        VOXELS,
    ),
}


@pytest.mark.parametrize("kind", MRC)
@pytest.mark.parametrize("suffix", [".mrc", ".st"])
def test_mrc_of_many_programs(kind, suffix, tmp_path):
    raw, want = MRC[kind]
    (tmp_path / f"a{suffix}").write_bytes(raw)
    volume = open_volume(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume[...], want)
    np.testing.assert_array_equal(volume[1:4, 3, 5::2], want[1:4, 3, 5::2])
    assert volume.dtype.newbyteorder("=") == want.dtype or kind == "longer header"
    assert volume.voxel_size == pytest.approx((6, 5, 4))
    assert not are_labels(volume)  # though voxels of 4 bits have few grey levels


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("append", [False, True])
def test_sections_that_were_written_one_by_one_are_a_stack(compression, append, tmp_path):
    image, path = np.arange(6 * 40 * 50, dtype=np.uint16).reshape(6, 40, 50), tmp_path / "a.tif"
    if append:
        for section in image:
            tifffile.imwrite(path, section, append=True, compression=compression)
    else:
        with tifffile.TiffWriter(path) as file:
            for section in image:
                file.write(section, compression=compression)
    volume = open_volume(path)
    assert volume.shape == image.shape
    np.testing.assert_array_equal(volume[...], image)
    np.testing.assert_array_equal(volume[2:5, 3:9, 4:7], image[2:5, 3:9, 4:7])
    np.testing.assert_array_equal(open_volume(path, series=4)[...], image[4:5])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_suffixes_of_mrc(suffix, tmp_path):
    path = save_volume(tmp_path / f"a{suffix}", VOXELS)
    np.testing.assert_array_equal(open_volume(path)[...], VOXELS)
    path.write_text("a text that somebody called so")
    with pytest.raises(ValueError, match="`path`"):
        open_volume(path)


@pytest.mark.parametrize("order", [*permutations((1, 2, 3))])
def test_axes_of_mrc_in_any_order(order, tmp_path):
    """The sizes of the cell and its grid are of x, y and z, whatever the columns are."""
    stored = VOXELS.transpose([3 - axis for axis in order[::-1]])
    grid = VOXELS.shape[::-1]
    changes = {"at_64": ("3i", *order), "at_28": ("3i", *grid), "at_152": (*IMOD, 0)}
    cell = [n * side for n, side in zip(grid, (40.0, 50.0, 60.0), strict=True)]
    raw = header(
        stored.shape, at_40=("3f", *cell), at_16=("3i", *[10 * a for a in order]), **changes
    )
    (tmp_path / "a.map").write_bytes(raw + stored.tobytes())
    volume = open_volume(tmp_path / "a.map")
    np.testing.assert_array_equal(volume[...], VOXELS)
    assert volume.voxel_size == pytest.approx((6, 5, 4))
    assert volume.geometry.start == (30, 20, 10)


@pytest.mark.parametrize("order", [(1, 1, 2), (1, 2, 0)])
def test_axes_of_mrc_that_contradict_each_other(order, tmp_path):
    (tmp_path / "a.mrc").write_bytes(header(VOXELS.shape, at_64=("3i", *order)) + VOXELS.tobytes())
    with pytest.raises(ValueError, match="`path`.*columns, rows and sections"):
        open_volume(tmp_path / "a.mrc")


def test_a_stack_of_mrc_volumes(tmp_path):
    with mrcfile.new(tmp_path / "a.mrcs") as file:
        file.set_data(np.stack([VOXELS, OTHER]).astype(np.int16))
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mrcs", channel=1)[...], OTHER)
    with pytest.raises(ValueError, match="--channel 0"):
        open_volume(tmp_path / "a.mrcs")


def ilastik(path, array, axes):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("exported_data", data=array)
        data.attrs["axistags"] = json.dumps({"axes": [{"key": a, "typeFlags": 2} for a in axes]})


def hdf5_labels(path, array, axes):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("raw", data=array)
        for dim, name in zip(data.dims, axes, strict=True):
            dim.label = {"z": "depth", "y": "height", "x": "width"}.get(name, name)


def zarr_three(path, array, axes):
    options = {"chunks": array.shape, "dimension_names": list(axes)}
    zarr.create_array(path, data=np.ascontiguousarray(array), **options)


def xarray_zarr(path, array, axes):
    group = zarr.open_group(path, mode="w", zarr_format=2)
    data = group.create_array("intensity", data=np.ascontiguousarray(array), chunks=array.shape)
    data.attrs["_ARRAY_DIMENSIONS"] = list(axes)
    for name, size in zip(axes, array.shape, strict=True):
        group.create_array(name, data=np.arange(size))


def nrrd_kinds(path, array, axes):
    kinds = {"c": "vector", "t": "time"}
    told = {"kinds": [kinds.get(a, "domain") for a in axes[::-1]]}
    nrrd.write(str(path), np.ascontiguousarray(array), told, index_order="C")


def nrrd_labels(path, array, axes):
    nrrd.write(
        str(path), np.ascontiguousarray(array), {"labels": list(axes[::-1])}, index_order="C"
    )


SAY = {
    "ilastik": (ilastik, ".h5"),
    "HDF5": (hdf5_labels, ".h5"),
    "Zarr 3": (zarr_three, ".zarr"),
    "xarray": (xarray_zarr, ".zarr"),
    "NRRD labels": (nrrd_labels, ".nrrd"),
}


@pytest.mark.parametrize("axes", ["xyz", "yxz", "zyx", "xzyc", "tzyxc", "cxyz"])
@pytest.mark.parametrize("kind", SAY)
def test_axes_that_a_file_names(kind, axes, tmp_path):
    write, suffix = SAY[kind]
    several = np.stack([VOXELS, OTHER]) if "c" in axes else VOXELS[None]
    array = (
        several[None]
        .transpose(
            ["tczyx".index(a) for a in axes] + [i for i, a in enumerate("tczyx") if a not in axes]
        )
        .reshape([{"t": 1, "c": len(several), "z": 5, "y": 18, "x": 23}[a] for a in axes])
    )
    write(tmp_path / f"a{suffix}", array, axes)
    if len(several) > 1:
        with pytest.raises(ValueError, match="--channel 0"):
            open_volume(tmp_path / f"a{suffix}")
    volume = open_volume(tmp_path / f"a{suffix}", channel=len(several) - 1)
    np.testing.assert_array_equal(volume[...], several[-1])
    np.testing.assert_array_equal(volume[2:, 7, ::4], several[-1][2:, 7, ::4])


@pytest.mark.parametrize("axes", ["zyxc", "czyx", "tzyx"])
def test_kinds_of_nrrd(axes, tmp_path):
    both = np.stack([VOXELS, OTHER])
    array = np.moveaxis(both, 0, axes.index(axes.strip("zyx")))
    nrrd_kinds(tmp_path / "a.nrrd", array, axes)
    chosen = {"time" if "t" in axes else "channel": 1}
    np.testing.assert_array_equal(open_volume(tmp_path / "a.nrrd", **chosen)[...], OTHER)


@pytest.mark.parametrize("kind", ["ilastik", "xarray"])
@pytest.mark.parametrize("axes", ["zyy", "zyxc", "zy"])
def test_names_that_do_not_fit_are_refused(kind, axes, tmp_path):
    write, suffix = SAY[kind]
    write(tmp_path / f"a{suffix}", VOXELS, "zyx")
    if kind == "ilastik":
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            told = json.dumps({"axes": [{"key": a} for a in axes]})
            file["exported_data"].attrs["axistags"] = told
    else:
        zarr.open(tmp_path / "a.zarr")["intensity"].attrs["_ARRAY_DIMENSIONS"] = list(axes)
    with pytest.raises(ValueError, match="`path`.*--axes zyx") as error:
        open_volume(tmp_path / f"a{suffix}")
    assert len(str(error.value).splitlines()) == 1


def test_names_that_say_nothing_are_left_alone(tmp_path):
    zarr_three(tmp_path / "a.zarr", VOXELS, ("dim_0", "dim_1", "dim_2"))
    np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr")[...], VOXELS)


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"photometric": "minisblack"}])
def test_three_or_four_sections_of_a_tiff(count, options, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        planar = {"planarconfig": "separate"} if options.get("photometric") else {}
        tifffile.imwrite(tmp_path / "a.tif", VOXELS[:count], **options, **planar)
    volume = open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume[...], VOXELS[:count])
    np.testing.assert_array_equal(volume[1:, 3], VOXELS[1:count, 3])


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_many_channels_without_sections_are_sections(name, tmp_path):
    """Written by `tifffile.imwrite(path, volume, imagej=True)` without axes."""
    options = {"imagej": True} if name == "a.tif" else {}
    for count in (4, 5):
        tifffile.imwrite(tmp_path / name, VOXELS[:count], photometric="minisblack", **options)
        if count == 4:
            with pytest.raises(ValueError, match="--axes zyx or --channel 0"):
                open_volume(tmp_path / name)
    with pytest.warns(UserWarning, match="5 channels without a z axis are taken for sections"):
        volume = open_volume(tmp_path / name)
    np.testing.assert_array_equal(volume[...], VOXELS)
    np.testing.assert_array_equal(open_volume(tmp_path / name, axes="zyx")[...], VOXELS)
    np.testing.assert_array_equal(open_volume(tmp_path / name, channel=2)[0], VOXELS[2])


def test_channels_beside_sections_have_to_be_chosen(tmp_path):
    for name, axes in (("a.ome.tif", "CZYX"), ("b.ome.tif", "TCYX")):
        metadata = {"axes": axes}
        tifffile.imwrite(tmp_path / name, np.stack([VOXELS] * 6), metadata=metadata)
    with pytest.raises(ValueError, match=r"such as --channel 0\. Received"):
        open_volume(tmp_path / "a.ome.tif")
    with pytest.raises(ValueError, match="--channel 0"):
        open_volume(tmp_path / "b.ome.tif")


@pytest.mark.parametrize("plain", [{4}, {1, 3}], ids=str)
def test_sections_that_are_stored_in_different_ways(plain, tmp_path):
    """They are two images to tifffile, and none may be left out."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for z, section in enumerate(VOXELS):
            file.write(section, compression=None if z in plain else "zlib", metadata=None)
    with pytest.raises(ValueError, match="stored in different ways; save it again.*--series: 0"):
        open_volume(tmp_path / "a.tif")


def test_planar_colours_of_another_program_are_no_sections(tmp_path):
    options = {"photometric": "rgb", "planarconfig": "separate", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", VOXELS[:3], **options)
    with pytest.raises(ValueError, match="--channel 0"):
        open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif", axes="zyx")[...], VOXELS[:3])
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif", channel=2)[0], VOXELS[2])


def several_series(path, ome):
    with tifffile.TiffWriter(path, ome=ome) as tif:
        for part in (VOXELS, OTHER[:, :12], OTHER):
            told = {"axes": "ZYX", "PhysicalSizeX": 0.004, "PhysicalSizeY": 0.005}
            tif.write(part, metadata=told, photometric="minisblack", compression="zlib")


@pytest.mark.parametrize("ome", [True, False])
def test_series_of_a_tiff(ome, tmp_path):
    several_series(tmp_path / "a.tif", ome)
    with pytest.raises(ValueError, match=r"--series: 0: ZYX \(5, 18, 23\).*1: ZYX \(5, 12, 23\)"):
        open_volume(tmp_path / "a.tif")
    for number, want in enumerate((VOXELS, OTHER[:, :12], OTHER)):
        volume = open_volume(tmp_path / "a.tif", series=number)
        np.testing.assert_array_equal(volume[...], want)
        np.testing.assert_array_equal(volume[2, 3:5], want[2, 3:5])
    with pytest.raises(ValueError, match="`series`.*0 to 2"):
        open_volume(tmp_path / "a.tif", series=3)


def bdv(path, setups=1, levels=2, times=1):
    """Write an HDF5 file of BigDataViewer, whose grey levels have a sign to the library only."""
    grey = VOXELS.astype(np.uint16) * 250
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for s in range(setups):
            factors = [[2**i, 2**i, 1] for i in range(levels)]
            file[f"s{s:02}/resolutions"] = np.array(factors, float)
            file[f"s{s:02}/subdivisions"] = np.full((levels, 3), 16)
            for t in range(times):
                for i in range(levels):
                    part = grey[:, :: 2**i, :: 2**i] + s
                    file[f"t{t:05}/s{s:02}/{i}/cells"] = part.view(np.int16)
    text = "".join(
        f"<ViewSetup><id>{s}</id><voxelSize><unit>µm</unit>"
        "<size>0.004 0.005 0.04</size></voxelSize></ViewSetup>"
        for s in range(setups)
    )
    path.with_suffix(".xml").write_text(f"<SpimData>{text}</SpimData>", encoding="utf-8")
    return path.with_suffix(".h5"), grey


def test_hdf5_of_bigdataviewer(tmp_path):
    path, grey = bdv(tmp_path / "one")
    volume = open_volume(path)
    assert volume.dtype == np.uint16 and volume.voxel_size == pytest.approx((40, 5, 4))
    np.testing.assert_array_equal(volume[...], grey)
    coarse = open_volume(path, level=1)
    np.testing.assert_array_equal(coarse[1:], grey[1:, ::2, ::2])
    assert coarse.voxel_size == pytest.approx((40, 10, 8))
    np.testing.assert_array_equal(open_volume(f"{path}::t00000/s00/0/cells")[...], grey)
    path, grey = bdv(tmp_path / "two", setups=2)
    with pytest.raises(ValueError, match="--series"):
        open_volume(path)
    np.testing.assert_array_equal(open_volume(path, series=1)[...], grey + 1)
    with pytest.raises(ValueError, match="`level`.*0 to 1"):
        open_volume(path, series=1, level=2)


def ome_zarr(group, array, scale=(40, 5, 4), axes="zyx"):
    group.create_array("0", data=np.ascontiguousarray(array), chunks=array.shape)
    names = [{"name": a, "type": "space", "unit": "nanometer"} for a in axes]
    steps = [{"type": "scale", "scale": list(scale)}]
    dataset = {"path": "0", "coordinateTransformations": steps}
    group.attrs["multiscales"] = [{"version": "0.4", "axes": names, "datasets": [dataset]}]


def test_images_within_a_zarr(tmp_path):
    """As bioformats2raw and plates have them: the images lie in groups."""
    one = zarr.open_group(tmp_path / "one.zarr", mode="w", zarr_format=2)
    ome_zarr(one.create_group("0"), VOXELS)
    one.create_group("OME").attrs["series"] = ["0"]
    assert open_volume(tmp_path / "one.zarr").voxel_size == (40, 5, 4)
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/10"}, {"path": "B/2"}]}
    for name, part in (("A/1/0", VOXELS), ("B/10/0", OTHER), ("B/2/0", OTHER[:3])):
        ome_zarr(plate.create_group(name), part)
    with pytest.raises(ValueError, match="A/1/0, B/2/0, B/10/0"):
        open_volume(tmp_path / "plate.zarr")
    for options in ({"series": 2}, {}):
        path = tmp_path / "plate.zarr" if options else f"{tmp_path / 'plate.zarr'}::B/10/0"
        np.testing.assert_array_equal(open_volume(path, **options)[...], OTHER)
    with pytest.raises(ValueError, match="no B/3 in it, but A/1/0"):
        open_volume(f"{tmp_path / 'plate.zarr'}::B/3")


def test_a_level_of_a_zarr_has_the_axes_of_its_image(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    ome_zarr(group, VOXELS.transpose(2, 1, 0), (4, 5, 40), "xyz")
    for path in (f"{tmp_path / 'a.zarr'}::0", tmp_path / "a.zarr" / "0"):
        volume = open_volume(path)
        np.testing.assert_array_equal(volume[...], VOXELS)
        assert volume.voxel_size == (40, 5, 4)
    (tmp_path / "a.zarr").rename(tmp_path / "without suffix")
    np.testing.assert_array_equal(open_volume(tmp_path / "without suffix")[...], VOXELS)


def test_a_group_of_hdf5_that_holds_one_array(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volumes/raw"], file["volumes/labels/ids"] = VOXELS, OTHER
    path = f"{tmp_path / 'a.h5'}::volumes/labels"
    np.testing.assert_array_equal(open_volume(path)[...], OTHER)
    with pytest.raises(ValueError, match="volumes/labels/ids, volumes/raw"):
        open_volume(f"{tmp_path / 'a.h5'}::nothing")


def test_an_empty_dataset_of_hdf5_is_no_volume(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["comment"] = VOXELS, h5py.Empty("f")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.h5")[...], VOXELS)


@pytest.mark.parametrize("shape", [(), (1, 1, 1, 2, 3, 4)], ids=str)
def test_an_array_of_too_few_or_many_axes(shape, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="`path`. Expected two to five axes"):
        open_volume(tmp_path / "a.npy")


def test_n5_is_told(tmp_path):
    (tmp_path / "a.n5").mkdir()
    (tmp_path / "a.n5" / "attributes.json").write_text('{"n5": "2.0.0"}')
    with pytest.raises(ValueError, match="N5 is not read.*Fiji"):
        open_volume(tmp_path / "a.n5")


def test_a_nifti_of_five_axes(tmp_path):
    both = np.stack([VOXELS.T, OTHER.T], axis=-1)[:, :, :, None]
    nibabel.Nifti1Image(both, np.eye(4)).to_filename(tmp_path / "a.nii")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.nii", channel=1)[...], OTHER)


GREY = np.stack([VOXELS] * 3, axis=-1)
CLEAR = np.concatenate([GREY, np.full_like(GREY[..., :1], 255)], axis=-1)


@pytest.mark.parametrize("colours", [GREY, CLEAR])
def test_colours_that_are_grey(colours, tmp_path):
    (tmp_path / "slices").mkdir()
    for z, page in enumerate(colours):
        imagecodecs.imwrite(tmp_path / "slices" / f"{z}.png", page)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", compression="zlib")
    for path in (tmp_path / "slices", tmp_path / "a.tif"):
        volume = open_volume(path)
        np.testing.assert_array_equal(volume[...], VOXELS)
        np.testing.assert_array_equal(volume[1:3, 4, ::5], VOXELS[1:3, 4, ::5])
    colours = colours.copy()
    colours[1, 2, 3, 0] += 1  # not a plane that is looked at before
    tifffile.imwrite(tmp_path / "b.tif", colours, photometric="rgb")
    volume = open_volume(tmp_path / "b.tif")
    np.testing.assert_array_equal(volume[2], VOXELS[2])
    with pytest.raises(ValueError, match="in colour.*--channel 0"):
        volume[...]
    colours[0] += np.arange(colours.shape[-1], dtype=np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", colours, photometric="rgb")
    with pytest.raises(ValueError, match="--channel 0"):
        open_volume(tmp_path / "c.tif")
    np.testing.assert_array_equal(open_volume(tmp_path / "c.tif", channel=1)[2:], VOXELS[2:])


def test_a_palette_is_of_labels_or_of_greys(tmp_path):
    labels = RNG.integers(0, 4, (18, 23)).astype(np.uint8)
    for name, palette in {
        "colours": [0, 0, 0, 230, 159, 0, 86, 180, 233, 0, 158, 115],
        "greys": [255] * 3 + [170] * 3 + [85] * 3 + [0] * 3,
    }.items():
        image = Image.fromarray(labels, "P")
        image.putpalette(palette)
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "0.png")
    np.testing.assert_array_equal(open_volume(tmp_path / "colours")[0], labels)
    np.testing.assert_array_equal(open_volume(tmp_path / "greys")[0], 255 - 85 * labels)


def write_slices(folder, numbers, ending="tif"):
    folder.mkdir()
    for number in numbers:
        tifffile.imwrite(folder / f"section_7_{number:03}.{ending}", VOXELS[number % 5])


def test_files_of_macos_are_no_slices(tmp_path):
    write_slices(tmp_path / "a", range(5))
    for number in range(5):
        (tmp_path / "a" / f"._section_7_{number:03}.tif").write_bytes(b"\0\5\26\7" * 99)
    for path in (tmp_path / "a", tmp_path / "a" / "*.tif"):
        np.testing.assert_array_equal(open_volume(path)[...], VOXELS)
    imagecodecs.imwrite(tmp_path / "a" / "labels.png", VOXELS[0])
    with pytest.raises(ValueError, match=r'as ".*a/\*.png"'):
        open_volume(tmp_path / "a")


@pytest.mark.parametrize("numbers, told", [((0, 1, 2, 4, 5, 6), "2 and 4"), ((0, 1, 2), None)])
@pytest.mark.parametrize("step", [1, 10])
def test_missing_slices_are_told(numbers, told, step, tmp_path):
    write_slices(tmp_path / "a", [n * step for n in numbers])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        open_volume(tmp_path / "a")
    text = "".join(str(warning.message) for warning in caught)
    if told:
        one, other = told.split(" and ")
        assert f"between {int(one) * step} and {int(other) * step}" in text
    else:
        assert not text


@pytest.mark.parametrize("name", ["a::b.tif", "a::b.h5", "d::e/f.h5", "d::e/f::g.npy"])
def test_names_with_colons(name, tmp_path):
    path = save_volume(tmp_path / name, VOXELS)
    np.testing.assert_array_equal(open_volume(path)[...], VOXELS)
    if path.suffix == ".h5":
        np.testing.assert_array_equal(open_volume(f"{path}::data")[...], VOXELS)


def test_a_pattern_in_a_folder_with_colons(tmp_path):
    write_slices(tmp_path / "d::e", range(5))
    for path in (tmp_path / "d::e", tmp_path / "d::e" / "*.tif"):
        np.testing.assert_array_equal(open_volume(path)[...], VOXELS)


def test_a_filter_of_hdf5_without_its_plugin_is_named(tmp_path):
    raw = zlib.compress(VOXELS.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk(VOXELS.shape)
        made.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, (0, 2))
        space = h5py.h5s.create_simple(VOXELS.shape)
        data = h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT8, space, made)
        data.write_direct_chunk((0, 0, 0), raw)
    if h5py.h5z.filter_avail(32008):
        pytest.skip("the plugin is there")
    with pytest.raises(ValueError, match="Bitshuffle, filter 32008.*pip install hdf5plugin"):
        open_volume(tmp_path / "a.h5")


@pytest.mark.parametrize("suffix", [".h5", ".tif", ".npy", ".mrc", ".nrrd", ".zarr"])
def test_an_open_volume_goes_to_another_process(suffix, tmp_path, monkeypatch):
    path = save_volume(tmp_path / f"a{suffix}", VOXELS, voxel_size=(4, 5, 6))
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(open_volume(path.name, voxel_size=(1, 2, 3)))
    monkeypatch.chdir("/")
    volume = pickle.loads(sent)
    np.testing.assert_array_equal(volume[2:4], VOXELS[2:4])
    assert volume.voxel_size == (1, 2, 3) and len(sent) < 1000


def test_an_array_goes_to_another_process_as_it_is(tmp_path):
    path = save_volume(tmp_path / "a.npy", VOXELS.astype(np.float32))
    whole = with_whole_numbers(open_volume(path), "label")
    for volume in (whole, as_volume(OTHER, (4, 5, 6), path), as_volume(OTHER, name="layer")):
        other = pickle.loads(pickle.dumps(volume))
        np.testing.assert_array_equal(other[...], volume[...])
        assert (other.dtype, other.voxel_size) == (np.uint8, volume.voxel_size)
        assert (other.path, other.geometry) == (volume.path, volume.geometry)
    resized = pickle.loads(pickle.dumps(as_volume(open_volume(path), (7, 8, 9))))
    assert resized.dtype == np.float32 and resized.voxel_size == (7, 8, 9)
