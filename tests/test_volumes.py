import tracemalloc

import numpy as np
import pytest
import tifffile

from volseg_keras import open_volume, save_volume
from volseg_keras.volumes.formats import tiff
from volseg_keras.volumes.labels import class_ids
from volseg_keras.volumes.volume import as_volume

VOXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 9)).astype(np.uint8)

KINDS = {
    "plain": (VOXELS, {}),
    "one page at a time": (VOXELS, {"photometric": "minisblack", "metadata": None}),
    "deflate": (VOXELS, {"compression": "zlib"}),
    "lzw": (VOXELS, {"compression": "lzw"}),
    "tiled": (VOXELS, {"tile": (16, 16)}),
    "bigtiff": (VOXELS, {"bigtiff": True}),
    "1 bit": (VOXELS > 99, {}),
    "1 bit, one page at a time": (VOXELS > 99, {"photometric": "minisblack", "metadata": None}),
    "16 bits": (VOXELS.astype(np.uint16) * 257, {}),
    "big-endian": (VOXELS.astype(">u2"), {"byteorder": ">"}),
    "float": (VOXELS.astype(np.float32) / 7, {}),
    "imagej": (VOXELS, {"imagej": True, "metadata": {"axes": "ZYX"}}),
    "imagej frames": (VOXELS, {"imagej": True, "metadata": {"axes": "TYX"}}),
    "imagej hyperstack": (VOXELS[None, :, None], {"imagej": True, "metadata": {"axes": "TZCYX"}}),
    "ome": (VOXELS, {"ome": True, "metadata": {"axes": "ZYX"}}),
    "ome deflate": (
        VOXELS[None],
        {"ome": True, "metadata": {"axes": "CZYX"}, "compression": "zlib"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tiff(kind, tmp_path):
    voxels, options = KINDS[kind]
    path = tmp_path / "a volume.ome.tif" if "ome" in kind else tmp_path / "a volume.tif"
    tifffile.imwrite(path, voxels, **options)
    volume = open_volume(path)
    want = voxels.reshape(5, 7, 9)
    assert volume.shape == (5, 7, 9) and volume.ndim == 3 and volume.dtype == want.dtype
    np.testing.assert_array_equal(volume[1:4, 2, ::3], want[1:4, 2, ::3])
    np.testing.assert_array_equal(volume[-1], want[-1])
    for planes in (slice(1, 4), slice(0, 5, 2), slice(3, 3), slice(-2, None)):
        np.testing.assert_array_equal(volume[planes], want[planes])
    np.testing.assert_array_equal(np.asarray(volume), want)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_one_image_is_a_volume_one_voxel_thick(options, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", VOXELS[0], **options)
    volume = open_volume(tmp_path / "a.tif")
    assert volume.shape == (1, 7, 9)
    np.testing.assert_array_equal(volume[0, 2:], VOXELS[0, 2:])
    np.testing.assert_array_equal(np.asarray(volume)[0], VOXELS[0])


def test_opening_reads_no_voxels(tmp_path):
    path = tmp_path / "large.tif"
    tifffile.memmap(path, shape=(600, 1000, 1000), dtype=np.uint8).flush()
    volume = open_volume(path)
    assert volume.shape == (600, 1000, 1000) and not volume[599, -2:, -2:].any()


def test_a_thin_cut_needs_little_memory(tmp_path, monkeypatch):
    voxels = np.random.default_rng(0).integers(0, 9, (64, 256, 256)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", voxels, compression="zlib")
    volume = open_volume(tmp_path / "a.tif")
    monkeypatch.setattr(tiff, "TOGETHER", 2**18)
    monkeypatch.setattr(tiff, "usable_cores", lambda: 2)
    for key in (np.s_[:, :, 7], np.s_[:, :99, 3:99], np.s_[2:60:3, 5], np.s_[...]):
        tracemalloc.start()
        cut = volume[key]
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_array_equal(cut, voxels[key])
        assert cut.nbytes <= most < cut.nbytes + 2**20 < voxels.nbytes + 2**20 + 1
        assert cut.base is None or cut.base.nbytes <= cut.nbytes


def test_planes_of_an_ome_tiff_in_files_of_their_own(tmp_path):
    """The first is black, so that its file is shorter than where the planes of others lie."""
    voxels = np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.uint8)
    voxels[0] = 0
    names = [f"{z}.ome.tif" for z in range(3)]
    planes = "".join(
        f'<TiffData IFD="0" PlaneCount="1" FirstC="0" FirstT="0" FirstZ="{z}">'
        f'<UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    for z, name in enumerate(names):
        xml = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{z}"><Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint8" '
            'DimensionOrder="XYZCT" SizeX="64" SizeY="64" SizeZ="3" SizeC="1" SizeT="1">'
            f'<Channel ID="Channel:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
        )
        options = {"compression": "zlib", "photometric": "minisblack", "metadata": None}
        tifffile.imwrite(tmp_path / name, voxels[z], description=xml, **options)
    for name in names:
        volume = open_volume(tmp_path / name)
        np.testing.assert_array_equal(volume[...], voxels)
        np.testing.assert_array_equal(volume[1:, 3], voxels[1:, 3])


@pytest.mark.parametrize("name, axis", [("time", "T"), ("channel", "C")])
def test_an_index_of_an_axis_that_a_file_lacks(name, axis, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", VOXELS)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif", **{name: 0})[...], VOXELS)
    with pytest.raises(ValueError, match=f"`{name}`. Expected an index below 1. Received: 3"):
        open_volume(tmp_path / "a.tif", **{name: 3})


def wrong_files(folder):
    tifffile.imwrite(
        folder / "four.tif", np.zeros((2, 3, 4, 5), np.uint8), photometric="minisblack"
    )
    tifffile.imwrite(folder / "rgb.tif", np.zeros((8, 9, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(folder / "complex.tif", np.zeros((2, 8, 9), np.complex64))
    (folder / "text.tif").write_text("not an image")
    (folder / "empty.tif").touch()
    (folder / "volume.xyz").touch()


@pytest.mark.parametrize("name", ["four", "rgb", "complex", "text", "empty", "volume.xyz"])
def test_wrong_files(name, tmp_path):
    wrong_files(tmp_path)
    path = tmp_path / (name if "." in name else f"{name}.tif")
    with pytest.raises(ValueError, match=r"Invalid value for `path`. Expected .* Received: .*"):
        open_volume(path)


def test_images_of_different_sizes_are_no_volume(tmp_path):
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as tif:
        tif.write(VOXELS[0, :4], metadata=None)
        for page in VOXELS:
            tif.write(page, metadata=None)
    with pytest.raises(ValueError, match="2 images of different kinds"):
        open_volume(tmp_path / "mixed.tif")


def test_damaged_voxels_are_an_error_of_one_line(tmp_path):
    path = tmp_path / "damaged.tif"
    tifffile.imwrite(path, VOXELS, compression="zlib")
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[3].dataoffsets[0]
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 20] = bytes(20)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="damaged.tif"):
        np.asarray(open_volume(path))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_a_truncated_file_is_an_error_not_a_shorter_volume(share, options, tmp_path):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, VOXELS.repeat(9, 1), **options)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="`path`"):
        open_volume(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.tif"):
        open_volume(tmp_path / "missing.tif")


def test_save_and_open(tmp_path):
    path = save_volume(tmp_path / "new folder" / "labels.tif", VOXELS)
    np.testing.assert_array_equal(np.asarray(open_volume(path)), VOXELS)
    assert [p.name for p in path.parent.iterdir()] == ["labels.tif"]


@pytest.mark.parametrize("name, error", [("labels.png", ValueError), ("file/labels.tif", OSError)])
def test_outputs_that_cannot_be_written(name, error, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(error, match="Expected"):
        save_volume(tmp_path / name, VOXELS)


@pytest.mark.parametrize(
    "labels, want",
    [
        ([0, 255], [0, 1]),
        ([0, 1], [0, 1]),
        ([False, True], [0, 1]),
        ([0, 1, 255], [0, 1, 255]),
        ([0, 2, 1], [0, 2, 1]),
        ([0, 0], [0, 0]),
    ],
)
def test_class_ids(labels, want):
    got = class_ids(np.array(labels))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("labels", [[0, 1, 256], [-1, 0, 1], [0.0, 0.5], [0.0, np.nan], [1j, 0]])
def test_labels_that_are_no_class_ids(labels):
    with pytest.raises(ValueError, match="`label`"):
        class_ids(np.array(labels))


def test_axes_are_taken_as_told(tmp_path):
    np.save(tmp_path / "a.npy", VOXELS.T)
    volume = open_volume(tmp_path / "a.npy", axes="x y z")
    np.testing.assert_array_equal(np.asarray(volume), VOXELS)
    np.testing.assert_array_equal(volume[2, 5:, 3], VOXELS[2, 5:, 3])
    for axes in ("xy", "xyy", "xyzt"):
        with pytest.raises(ValueError, match="`axes`"):
            open_volume(tmp_path / "a.npy", axes=axes)
    with pytest.raises(ValueError, match="`path`"):
        open_volume(tmp_path / "a.npy", axes="xtz")


@pytest.mark.parametrize(
    "key", [(slice(None, None, -1),), (0, 0, 0, 0), ([0, 1],), (None,), (VOXELS > 3,)]
)
def test_other_indices_are_refused(key, tmp_path):
    volume = open_volume(save_volume(tmp_path / "a.npy", VOXELS))
    with pytest.raises(IndexError):
        volume[key]


def test_any_array_is_a_volume(tmp_path):
    save_volume(tmp_path / "a.tif", VOXELS, voxel_size=(40, 6, 6))
    opened = open_volume(tmp_path / "a.tif")
    assert as_volume(opened) is opened and as_volume(opened, (40, 6, 6)) is opened
    other = as_volume(opened, (30, 6, 6))
    assert other.voxel_size == (30, 6, 6) and other.path == opened.path
    plain, image = as_volume(VOXELS, (5, 5, 5), "name"), as_volume(VOXELS[2])
    assert plain.voxel_size == (5, 5, 5) and plain.path == "name" and image.voxel_size is None
    for volume in (other, plain):
        np.testing.assert_array_equal(volume[1:4, 2], VOXELS[1:4, 2])
    np.testing.assert_array_equal(image[...], VOXELS[2:3])
    with pytest.raises(ValueError, match="`array`. Expected axes"):
        as_volume(VOXELS[None])


def test_series_of_an_ome_tiff_in_files_of_their_own(tmp_path):
    """As Bio-Formats writes several series: every file names them all, and holds one."""
    sizes = {"a": (5, 7, 9), "b": (3, 4, 6)}
    voxels = {name: np.full(size, ord(name), np.uint8) for name, size in sizes.items()}
    images = "".join(
        f'<Image ID="Image:{i}"><Pixels ID="Pixels:{i}" DimensionOrder="XYZCT" Type="uint8" '
        f'SizeX="{x}" SizeY="{y}" SizeZ="{z}" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:{i}:0" SamplesPerPixel="1"/>'
        + "".join(
            f'<TiffData FirstZ="{k}" IFD="{k}" PlaneCount="1"><UUID FileName="{name}.ome.tif">'
            f"urn:uuid:0000000{i}-0000-4000-8000-000000000000</UUID></TiffData>"
            for k in range(z)
        )
        + "</Pixels></Image>"
        for i, (name, (z, y, x)) in enumerate(sizes.items())
    )
    for i, name in enumerate(sizes):
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><OME '
            'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:0000000{i}-0000-4000-8000-000000000000">{images}</OME>'
        )
        path = tmp_path / f"{name}.ome.tif"
        options = {"photometric": "minisblack", "metadata": None, "description": text}
        tifffile.imwrite(path, voxels[name], **options)
    for name, other in ("ab", "ba"):
        path = tmp_path / f"{name}.ome.tif"
        np.testing.assert_array_equal(open_volume(path)[...], voxels[name])
        index = list(sizes).index(other)
        np.testing.assert_array_equal(open_volume(path, series=index)[...], voxels[other])


def write_pages(path, odd, voxels=VOXELS):
    with tifffile.TiffWriter(path) as file:
        for i, page in enumerate(voxels.repeat(9, axis=1)):
            page = page[:4] if i == odd else page
            file.write(page, photometric="minisblack", metadata=None, contiguous=False)


@pytest.mark.parametrize("odd", [1, 4])
def test_a_page_of_another_size_is_told(odd, tmp_path):
    write_pages(tmp_path / "stack.tif", odd)
    with pytest.warns(UserWarning, match="lacks sections"):
        volume = open_volume(tmp_path / "stack.tif")
    np.testing.assert_array_equal(volume[...], np.delete(VOXELS, odd, 0).repeat(9, axis=1))


def test_a_smaller_page_in_between_is_an_error(tmp_path):
    write_pages(tmp_path / "stack.tif", 6, VOXELS.repeat(2, 0))
    with pytest.raises(ValueError, match="of different sizes"):
        open_volume(tmp_path / "stack.tif")


def test_every_series_has_its_own_voxel_size(tmp_path):
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as file:
        for size in (10, 5):
            resolution = (1e7 / size,) * 2
            options = {"photometric": "minisblack", "resolutionunit": "CENTIMETER"}
            file.write(VOXELS, resolution=resolution, **options)
    for series, size in enumerate((10, 5)):
        place = open_volume(path, series=series).geometry.in_unit("nm")
        assert place.sides[1:] == pytest.approx((size, size))
