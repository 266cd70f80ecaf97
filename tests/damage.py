"""Damaged and hostile volumes, written to a folder; run as a program, it reads such files."""

import faulthandler
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SHAPE = (6, 20, 24)
VOXELS = np.random.default_rng(0).integers(0, 100, SHAPE).astype(np.uint8)
LARGE = [2**31 - 1, 2**32 - 1, 2**31, 10**6, 2**24, 2**16]
SECONDS, PEAK = 10, 2**30  # a file's limits of time and memory


# Valid files, which are then mutated.


def write_valid(folder):
    """Write a small valid file of every kind and return their paths."""
    import h5py
    import imagecodecs
    import tifffile
    import zarr

    from volseg_keras import save_volume
    from volseg_keras.volumes.formats.registry import suffixes_with

    for suffix in set(suffixes_with("write")) - {".tiff", ".hdf5", ".rec"}:
        save_volume(folder / f"v{suffix}", VOXELS, voxel_size=(10, 5, 4))
    tifffile.imwrite(folder / "plain.tif", VOXELS, photometric="minisblack")
    tifffile.imwrite(folder / "tiles.tif", VOXELS, bigtiff=True, tile=(16, 16), compression="lzw")
    tifffile.imwrite(folder / "v.ome.tif", VOXELS, metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "imagej.tif", VOXELS, imagej=True, metadata={"axes": "ZYX"})
    with h5py.File(folder / "plain.h5", "w") as file:
        file["raw"] = VOXELS
    write_nrrd(folder / "raw.nrrd", VOXELS.tobytes(), encoding="raw")
    zarr.create_array(folder / "three.zarr", data=VOXELS, zarr_format=3)
    zarr.create_array(folder / "shards.zarr", data=VOXELS, chunks=(3, 10, 12), shards=SHAPE)
    for kind, write in (("png", imagecodecs.imwrite), ("tif", tifffile.imwrite)):
        (folder / f"slices_{kind}").mkdir()
        for z, page in enumerate(VOXELS):
            write(folder / f"slices_{kind}" / f"{z}.{kind}", page)
    return sorted(folder.iterdir())


def write_nrrd(path, data=None, **fields):
    """Write a NRRD file of any header."""
    about = {"type": "uint8", "dimension": 3, "sizes": "24 20 6", "encoding": "gzip", **fields}
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in about.items()]
    data = gzip.compress(VOXELS.tobytes()) if data is None else data
    path.write_bytes("\n".join(["NRRD0004", *lines, "", ""]).encode() + data)
    return path


def mutants(raw, rng, flips):
    """Yield names and bytes: cut, of a wrong kind, and with bytes changed near either end."""
    n = len(raw)
    for stop in sorted({0, 1, 4, 9, 100, 300, n // 2, n - 300, n - 1} & set(range(n))):
        yield f"cut at {stop}", raw[:stop]
    yield "zeros", bytes(n)
    yield "another magic", b"\x89HDF\r\n\x1a\n" + raw[8:]
    yield "noise", rng.bytes(n)
    for i in range(flips):
        damaged = bytearray(raw)
        length = min(4 if i % 4 == 0 else 1, n)  # a large number, or single bytes
        places = rng.integers(0, min(n - length + 1, 2500), 1 if length > 1 else rng.integers(1, 5))
        for place in places if i % 3 else n - length - places:
            bits = rng.choice(LARGE) if length > 1 else rng.integers(256)
            order = rng.choice(["little", "big"])
            damaged[place : place + length] = int(bits).to_bytes(4, order)[:length]
        yield f"bytes {i}", bytes(damaged)


def write_mutants(folder, flips=8, seed=0):
    """Write mutants of every valid file to folders of their own and return their paths."""
    valid = folder / "valid"
    valid.mkdir(parents=True)
    paths = []
    for path in write_valid(valid):
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files[:4]:
            rng = np.random.default_rng([seed, *file.name.encode()])
            for name, raw in mutants(file.read_bytes(), rng, flips):
                inner = "" if path.is_file() else str(file.relative_to(path)).replace("/", "-")
                place = folder / f"{path.name} {inner} {name}".replace("  ", " ")
                place.mkdir()
                if path.is_file():
                    copy = damaged = place / path.name
                else:
                    copy = Path(shutil.copytree(path, place / path.name))
                    damaged = copy / file.relative_to(path)
                damaged.write_bytes(raw)
                paths.append(copy)
    return paths


# The program: it reads volumes one by one and tells how each went.


def peak_memory():
    """Return the most bytes this program has held; `ru_maxrss` would count its parent's too."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def outcome(path):
    """Return how reading a volume went: "read", "refused: ..." or "fault: ..."."""
    from volseg_keras import open_volume

    if "bad.npy" in path:  # a fault on purpose
        exec(os.environ["VOLSEG_TEST_FAULT"])
    try:
        volume = open_volume(path)
        block = volume[:2, :8, :8]
        if np.prod(volume.shape, dtype=float) < 2**20:
            block = np.asarray(volume)
        block.sum()
    except (ValueError, OSError) as error:
        text = str(error)
        good = Path(path.partition("::")[0]).name in text and len(text.splitlines()) == 1
        return f"{'refused' if good and len(text) < 1000 else 'fault: unclear'}: {text[:1000]}"
    except BaseException as error:
        return f"fault: {error!r:.500}"
    return "read"


def main():
    """Read the volumes of a list; what hangs ends the process."""
    resource.setrlimit(resource.RLIMIT_AS, (8 * PEAK, 8 * PEAK))
    for path in json.load(sys.stdin):
        print(json.dumps([path]), flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        start, found = time.monotonic(), outcome(path)
        faulthandler.cancel_dump_traceback_later()
        peak = peak_memory()
        print(json.dumps([path, found, time.monotonic() - start, peak]), flush=True)
        if peak > PEAK:
            sys.exit()


def read_apart(paths):
    """Read volumes in a process of their own; return a dict from path to outcome, and the peak.

    A process that dies is followed by another one for the files that it did not come to.
    """
    found, peak, waiting = {}, 0, [str(path) for path in paths]
    while waiting:
        process = subprocess.run(
            [sys.executable, __file__], input=json.dumps(waiting), capture_output=True, text=True
        )
        for path, *result in map(json.loads, process.stdout.splitlines()):
            found[path] = "fault: " + (process.stderr[-2000:] or str(process.returncode))
            if result:
                found[path], most = result[0], result[2]
                if most > PEAK:
                    found[path] = f"fault: {most / 2**20:.0f} MiB of memory"
                peak = max(peak, most)
        assert waiting[0] in found, process.stderr
        waiting = [path for path in waiting if path not in found]
    return found, peak


if __name__ == "__main__":
    main()
