"""Volumes that somebody made on purpose: absurd, explosive, or reaching for other files."""

import gzip
import json
import os
import pickle
import struct
import zlib

import numpy as np
from damage import SHAPE, VOXELS, write_nrrd

HUGE = 10**6


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Run when loaded."""
        return os.mkdir, (str(self.path),)


def payload(folder):
    """Return a pickle that creates the folder `executed`."""
    return pickle.dumps(Payload(folder / "executed"))


def zeros(megabytes, wbits):
    """Return zeros as deflated at a thousandth of their size: a bomb."""
    one = zlib.compressobj(9, wbits=-15)
    block = one.compress(bytes(2**20)) + one.flush(zlib.Z_FULL_FLUSH)
    head = {15: b"\x78\xda", 31: gzip.compress(b"")[:10]}[wbits]
    return head + block * megabytes + b"\x03\x00" + bytes(8)


def npy(shape=SHAPE, descr="|u1", order="False", data=None, header=None):
    """Return a writer of a NumPy file of any header."""

    def write(folder):
        text = header or f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}}}"
        text = text.encode() + b"\n"
        raw = VOXELS.tobytes() if data is None else data
        (folder / "v.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + raw)
        return folder / "v.npy"

    return write


def npy_pickle(folder):
    return npy(shape=(1, 1, 1), descr="|O", data=payload(folder))(folder)


def pickle_called(name):
    def write(folder):
        (folder / name).write_bytes(payload(folder))
        return folder / name

    return write


def npz(folder):
    with open(folder / "v.npy", "wb") as file:
        np.savez(file, VOXELS)
    return folder / "v.npy"


def binary(source, *changes):
    """Return a writer of a valid file with numbers `(offset, format, values)` changed."""

    def write(folder):
        from volseg_keras import save_volume

        path = save_volume(folder / source, VOXELS)
        raw = path.read_bytes()
        raw = bytearray(gzip.decompress(raw) if source.endswith(".gz") else raw)
        for offset, kind, *values in changes:
            struct.pack_into(kind, raw, offset, *values)
        path.write_bytes(gzip.compress(raw) if source.endswith(".gz") else raw)
        return path

    return write


def nrrd(data=None, **fields):
    """Return a writer of a NRRD file."""
    return lambda folder: write_nrrd(folder / "v.nrrd", data, **fields)


def nrrd_bomb(folder):
    return write_nrrd(folder / "v.nrrd", zeros(3000, 31))


def outside(folder, name="secret.raw"):
    """Write voxels beside the folder of the volume and return their path."""
    path = folder.parent / name
    path.write_bytes(VOXELS.tobytes())
    return path


def nrrd_outside(reference):
    def write(folder):
        secret = outside(folder)
        data_file = reference.format(secret=secret)
        if "link" in reference:
            (folder / "link").symlink_to(secret)
        return write_nrrd(folder / "v.nrrd", b"", encoding="raw", data_file=data_file)

    return write


def nifti_bomb(folder):
    path = binary("v.nii")(folder)
    header = bytearray(path.read_bytes()[:352])
    struct.pack_into("<f", header, 108, 2**31)
    header[348] = 1  # an extension of 2 GB before the voxels
    body = struct.pack("<ii", 2**31 - 352, 6)
    (folder / "v.nii.gz").write_bytes(gzip.compress(bytes(header) + body) + zeros(3000, 31))
    return folder / "v.nii.gz"


def hdf5(fill):
    """Return a writer of an HDF5 file."""

    def write(folder):
        import h5py

        with h5py.File(folder / "v.h5", "w") as file:
            fill(file, folder)
        return f"{folder / 'v.h5'}::raw"

    return write


def other_hdf5(folder):
    """Write an HDF5 file beside the folder of the volume."""
    import h5py

    with h5py.File(folder.parent / "other.h5", "w") as other:
        other["raw"] = VOXELS
    return str(folder.parent / "other.h5")


def external_link(file, folder):
    import h5py

    file["raw"] = h5py.ExternalLink(other_hdf5(folder), "raw")


def external_group(file, folder):
    import h5py

    other_hdf5(folder)
    file["group"] = h5py.ExternalLink("../other.h5", "/")
    file["raw"] = h5py.SoftLink("group/raw")


def external_storage(file, folder):
    external = [(str(outside(folder)), 0, VOXELS.size)]
    file.create_dataset("raw", SHAPE, "u1", external=external)


def virtual(file, folder):
    import h5py

    layout = h5py.VirtualLayout(SHAPE, "u1")
    layout[:] = h5py.VirtualSource(other_hdf5(folder), "raw", SHAPE)
    file.create_virtual_dataset("raw", layout)


def hdf5_bomb(file, folder):
    data = file.create_dataset("raw", SHAPE, "u1", chunks=SHAPE, compression="gzip")
    data.id.write_direct_chunk((0, 0, 0), zeros(3000, 15))


def large_chunk(file, folder):
    shape = (1, 60000, 60000)
    data = file.create_dataset("raw", shape, "u1", chunks=shape, compression="gzip")
    data.id.write_direct_chunk((0, 0, 0), zeros(3600, 15))


def hdf5_objects(file, folder):
    import h5py

    file.create_dataset("raw", (2, 3, 4), h5py.vlen_dtype("u1"))


def zarr_two(raw=None, name=".zarray", **changes):
    """Return a writer of a Zarr 2 array of any metadata, of one chunk."""

    def write(folder):
        about = {"zarr_format": 2, "shape": SHAPE, "chunks": SHAPE, "dtype": "|u1", "order": "C"}
        about |= {"compressor": None, "filters": None, "fill_value": 0} | changes
        path = folder / "v.zarr"
        path.mkdir()
        (path / name).write_text(json.dumps(about))
        chunk = raw(folder) if callable(raw) else raw
        (path / "0.0.0").write_bytes(VOXELS.tobytes() if chunk is None else chunk)
        return path

    return write


def ome_zarr(reference):
    """Return a writer of an OME-Zarr image whose level is elsewhere."""

    def write(folder):
        zarr_two()(folder).rename(folder.parent / "x")
        path = folder / "v.zarr"
        path.mkdir()
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        image = {"version": "0.4", "axes": list("zyx"), "datasets": [{"path": reference}]}
        (path / ".zattrs").write_text(json.dumps({"multiscales": [image]}))
        if "link" in reference:
            (path / "link").symlink_to(folder.parent / "x")
        return path

    return write


def chunk_link(folder):
    path = zarr_two()(folder)
    (path / "0.0.0").unlink()
    (path / "0.0.0").symlink_to(outside(folder))
    return path


def json_text(text):
    def write(folder):
        path = zarr_two()(folder)
        (path / ".zarray").write_text(text)
        return path

    return write


def tiff(shape, data, **options):
    """Return a writer of a TIFF file of one strip or tile that holds other data than it should."""

    def write(folder):
        import tifffile

        options.setdefault("compression", "zlib")
        with tifffile.TiffWriter(folder / "v.tif") as tif:
            tif.write(iter([data]), shape=shape, dtype="u1", photometric="minisblack", **options)
        return folder / "v.tif"

    return write


def ome_outside(folder):
    import tifffile

    outside_file, path = folder.parent / "other.ome.tif", folder / "v.ome.tif"
    tifffile.imwrite(outside_file, VOXELS, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(outside_file) as tif:
        uuid, xml = tif.pages[0].description.split('UUID="')[1][:45].split('"')[0], ""
        xml = tif.pages[0].description
    plane = f'<UUID FileName="../other.ome.tif">{uuid}</UUID>'
    tail = xml.split("<TiffData")[1].split("/>", 1)[1]
    head = xml.split("<TiffData")[0].replace(uuid, "urn:uuid:0")
    xml = f'{head}<TiffData IFD="0" PlaneCount="6">{plane}</TiffData>{tail}'
    tifffile.imwrite(path, VOXELS[0], description=xml, metadata=None)
    return path


def slices(*pages):
    """Return a writer of a folder of slices."""

    def write(folder):
        (folder / "slices").mkdir()
        for z, page in enumerate(pages):
            (folder / "slices" / f"{z}.png").write_bytes(page)
        return folder / "slices"

    return write


def png(width, height, megabytes=0):
    """Return a grey PNG of any declared size."""

    def part(name, data):
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    head = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = zeros(megabytes, 15) if megabytes else zlib.compress(bytes((width % 999 + 1) * 9))
    return b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", body) + part(b"IEND", b"")


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
