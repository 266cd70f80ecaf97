"""Volumes that somebody made on purpose: absurd, explosive, or reaching for other files."""

import gzip
import json
import os
import pickle
import struct
import zlib

import numpy as np
from damage import SHAPE, VOXELS, write_nrrd


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
    adler = (megabytes * 2**20 % 65521 << 16) + 1
    tail = {15: struct.pack(">I", adler), 31: bytes(8)}[wbits]
    return head + block * megabytes + b"\x03\x00" + tail


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
