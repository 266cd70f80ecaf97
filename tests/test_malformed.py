"""Damaged and hostile files: read or refused in one line; no crash, hang, bomb, code or escape."""

import zlib

import h5py
import numpy as np
import pytest
from damage import SHAPE, VOXELS, read_apart, write_mutants, write_nrrd, write_valid
from hostile import (
    binary,
    chunk_link,
    external_group,
    external_link,
    external_storage,
    hdf5,
    hdf5_bomb,
    hdf5_objects,
    json_text,
    large_chunk,
    nifti_bomb,
    npy,
    npy_pickle,
    npz,
    nrrd,
    nrrd_outside,
    ome_outside,
    ome_zarr,
    payload,
    pickle_called,
    png,
    slices,
    tiff,
    virtual,
    zarr_two,
    zeros,
)

from volseg_keras import open_volume

HUGE = 10**6

HOSTILE = {
    "npy 10^18 voxels": npy((HUGE,) * 3),
    "npy 10^90 voxels": npy((10**30,) * 3),
    "npy negative": npy((-6, 20, 24)),
    "npy twice negative": npy((-6, -20, 24)),
    "npy without voxels": npy((0, 20, 24)),
    "npy objects": npy(descr="|O"),
    "npy pickle": npy_pickle,
    "npy complex": npy((6, 20, 3), descr="<c8"),
    "npy text": npy((6, 20, 6), descr="<U1"),
    "npy records": npy((6, 20, 12), descr=[("a", "u1"), ("b", "u1")]),
    "npy deep header": npy(header="(" * 5000),
    "npy code in the header": npy(header="__import__('os').mkdir('executed')"),
    "npy no shape": npy(header="{'descr': '|u1', 'fortran_order': False}"),
    "npy 12 axes": npy((1,) * 9 + SHAPE),
    "npy is npz": npz,
    **{
        f"pickle called {suffix}": pickle_called(f"v{suffix}")
        for suffix in (".npy", ".tif", ".h5", ".mrc", ".nii", ".nii.gz", ".nrrd", ".zarr")
    },
    "mrc 10^18 voxels": binary("v.mrc", (0, "<3i", HUGE, HUGE, HUGE)),
    "mrc overflow": binary("v.mrc", (0, "<3i", 2**31 - 1, 2**31 - 1, 2**31 - 1)),
    "mrc negative": binary("v.mrc", (0, "<3i", -24, -20, 6)),
    "mrc without voxels": binary("v.mrc", (0, "<3i", 0, 20, 6)),
    "mrc mode": binary("v.mrc", (12, "<i", 99)),
    "mrc complex": binary("v.mrc", (12, "<i", 4)),
    "mrc long header": binary("v.mrc", (92, "<i", 2**31 - 1)),
    "mrc negative header": binary("v.mrc", (92, "<i", -1024)),
    **{
        f"{suffix} {name}": binary(f"v{suffix}", change)
        for suffix in (".nii", ".nii.gz")
        for name, change in {
            "10^13 voxels": (40, "<4h", 3, 32767, 32767, 32767),
            "negative": (40, "<4h", 3, -24, -20, 6),
            "without voxels": (40, "<4h", 3, 24, 0, 6),
            "99 axes": (40, "<h", 99),
            "complex": (70, "<2h", 32, 64),
            "colours": (70, "<2h", 128, 24),
            "unknown type": (70, "<2h", 77, 8),
            "data far away": (108, "<f", 1e9),
            "data before the file": (108, "<f", -1e9),
            "data nowhere": (108, "<f", np.nan),
        }.items()
    },
    "nii bomb": nifti_bomb,
    "nrrd 10^18 voxels": nrrd(sizes="1000000 1000000 1000000"),
    "nrrd raw 10^18 voxels": nrrd(
        VOXELS.tobytes(), encoding="raw", sizes="1000000 1000000 1000000"
    ),
    "nrrd overflow": nrrd(sizes=f"{2**32} {2**32} 6"),
    "nrrd negative": nrrd(sizes="-24 -20 6"),
    "nrrd without voxels": nrrd(sizes="24 0 6"),
    "nrrd axes": nrrd(dimension=7),
    "nrrd type": nrrd(type="void"),
    "nrrd blocks": nrrd(type="block", block_size=10**12),
    "nrrd encoding": nrrd(encoding="rot13"),
    "nrrd skips bytes": nrrd(VOXELS.tobytes(), encoding="raw", byte_skip=10**15),
    "nrrd skips lines": nrrd(line_skip=10**12),
    "nrrd bomb": nrrd(zeros(3000, 31)),
    "nrrd beside the folder": nrrd_outside("../secret.raw"),
    "nrrd absolute": nrrd_outside("{secret}"),
    "nrrd through a link": nrrd_outside("link"),
    "nrrd list": nrrd(b"", encoding="raw", data_file="LIST"),
    "h5 external link": hdf5(external_link),
    "h5 external group": hdf5(external_group),
    "h5 external storage": hdf5(external_storage),
    "h5 virtual": hdf5(virtual),
    "h5 dangling": hdf5(lambda file, _: file.update(raw=__import__("h5py").SoftLink("/nowhere"))),
    "h5 itself": hdf5(lambda file, _: file.update(raw=file["/"])),
    "h5 bomb": hdf5(hdf5_bomb),
    "h5 chunk of 3 GB": hdf5(large_chunk),
    "h5 objects": hdf5(hdf5_objects),
    "h5 without voxels": hdf5(lambda file, _: file.create_dataset("raw", (0, 20, 24))),
    "zarr negative": zarr_two(shape=(-6, 20, 24)),
    "zarr without voxels": zarr_two(shape=(0, 20, 24)),
    "zarr chunks of nothing": zarr_two(chunks=(0, 0, 0)),
    "zarr chunks of 10^18": zarr_two(shape=(HUGE,) * 3, chunks=(HUGE,) * 3),
    "zarr one chunk of 3 GB": zarr_two(
        zeros(3600, 15),
        chunks=(1, 60000, 60000),
        shape=(1, 60000, 60000),
        compressor={"id": "zlib"},
    ),
    "zarr bomb zlib": zarr_two(zeros(3000, 15), compressor={"id": "zlib"}),
    "zarr bomb gzip": zarr_two(zeros(3000, 31), compressor={"id": "gzip"}),
    "zarr pickle filter": zarr_two(payload, filters=[{"id": "pickle"}]),
    "zarr pickle compressor": zarr_two(payload, compressor={"id": "pickle"}),
    "zarr pickle objects": zarr_two(payload, dtype="|O", filters=[{"id": "pickle"}]),
    "zarr unknown codec": zarr_two(compressor={"id": "none such"}),
    "zarr complex": zarr_two(dtype="<c8"),
    "zarr deep metadata": json_text("[" * 100_000),
    "zarr no object": json_text("17"),
    "zarr long metadata": json_text('{"zarr_format": 2, "shape": [' + "9, " * 10**7 + "9]}"),
    "zarr chunk elsewhere": chunk_link,
    "ome-zarr ..": ome_zarr("../x"),
    "ome-zarr ../..": ome_zarr("a/../../x"),
    "ome-zarr absolute": ome_zarr("/etc"),
    "ome-zarr link": ome_zarr("link"),
    "tif bomb": tiff((64, 64), zeros(3000, 15)),
    "tif strip of 3 GB": tiff((60000, 60000), zlib.compress(bytes(99)), rowsperstrip=60000),
    "tif tile of 4 GB": tiff((65520, 65520), zeros(4200, 15), tile=(65520, 65520)),
    "ome-tif other file": ome_outside,
    "png 10^9 pixels": slices(png(2**30, 2**30)),
    "png bomb": slices(png(60000, 60000, 3600)),
    "png other size": slices(png(8, 8), png(9, 8)),
}


def faults(paths):
    """Read volumes in a process of their own; return what went wrong, and all outcomes."""
    found, _ = read_apart(paths)
    assert len(found) == len(paths)
    return {path: told for path, told in found.items() if told.startswith("fault")}, found


def test_what_is_not_damaged_is_read(tmp_path):
    _, found = faults(write_valid(tmp_path))
    assert set(found.values()) == {"read"} and len(found) > 15


@pytest.mark.slow
def test_damaged_files_are_read_or_refused(tmp_path):
    wrong, found = faults(write_mutants(tmp_path))
    assert not wrong and len(found) > 400
    refused = sum(told.startswith("refused") for told in found.values())
    assert len(found) / 2 < refused < len(found)


@pytest.mark.slow
def test_hostile_files_are_refused(tmp_path):
    paths = {}
    for i, (name, write) in enumerate(HOSTILE.items()):
        folder = tmp_path / f"case {i}" / "folder"
        folder.mkdir(parents=True)
        paths[str(write(folder))] = name
    _, found = faults(paths)
    assert not {paths[path]: told for path, told in found.items() if "refused" not in told[:7]}
    assert not list(tmp_path.rglob("executed"))


def test_a_pickle_would_have_created_a_folder(tmp_path):
    np.load(npy_pickle(tmp_path), allow_pickle=True)
    assert (tmp_path / "executed").is_dir()


def test_a_bomb_is_one():
    inflated = zlib.decompressobj().decompress(zeros(64, 15))
    assert len(inflated) == 64 * 2**20 > 900 * len(zeros(64, 15))


@pytest.mark.parametrize("code", ["os.kill(os.getpid(), 11)", "np.ones(2**27 + 2**24)"])
def test_the_reader_tells_of_crashes_and_memory(code, tmp_path, monkeypatch):
    """Guards the guard: a program that fails instead of reading is a fault of that file alone."""
    monkeypatch.setenv("VOLSEG_TEST_FAULT", code)
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    np.save(good, VOXELS)
    np.save(bad, VOXELS)
    _, found = faults([bad, good])
    assert found[str(bad)].startswith("fault") and found[str(good)] == "read"


def test_data_files_beside_their_header_are_read(tmp_path):
    (tmp_path / "v.raw").write_bytes(VOXELS.tobytes())
    write_nrrd(tmp_path / "v.nrrd", b"", encoding="raw", data_file="v.raw")
    np.testing.assert_array_equal(open_volume(tmp_path / "v.nrrd")[...], VOXELS)


@pytest.mark.parametrize("skip", [0, 3, -1])
def test_nrrd_skips(skip, tmp_path):
    data = b"a line\n" + bytes(max(skip, 0)) + VOXELS.tobytes()
    write_nrrd(tmp_path / "v.nrrd", data, encoding="raw", line_skip=1, byte_skip=skip)
    np.testing.assert_array_equal(open_volume(tmp_path / "v.nrrd")[...], VOXELS)


def test_more_than_the_memory_is_not_read(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("raw", (HUGE,) * 3, "u1", chunks=(64, 64, 64))
    volume = open_volume(tmp_path / "v.h5")
    assert volume.shape == (HUGE,) * 3 and not volume[-3:, 500, :70].any()
    with pytest.raises(ValueError, match="v.h5.*1000000000.0 GB of memory"):
        np.asarray(volume)
