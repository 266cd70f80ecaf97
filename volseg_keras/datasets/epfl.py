"""The EPFL hippocampus volumes: where they are published, and how to get them.

FIB-SEM of the CA1 region at 5 x 5 x 5 nm, 165 x 768 x 1024 voxels for training and as many for
testing, mitochondria labelled. A. Lucchi et al., IEEE TMI 2015 (volumes and original labels);
V. Casser et al., arXiv:1812.06024 (Lucchi++: mitochondria annotated again, more carefully).
"""

import hashlib
import warnings
import zipfile
from pathlib import Path, PurePosixPath

import imagecodecs
import tifffile

from ..errors import require, require_one_of
from ..files import writable_folder
from ..progress import progress_bar
from ..volumes.volume import open_volume
from ..volumes.writing import create_volume
from .download import download

# Linked from https://www.epfl.ch/labs/cvlab/data/data-em/ , without digests.
EPFL = "https://documents.epfl.ch/groups/c/cv/cvlab-unit/www/data/%20ElectronMicroscopy_Hippocampus"
CASSER = "http://www.casser.io/files"
# SHA-256 as torch-em and empanada list it.
ARCHIVE = "lucchi_pp.zip"
ARCHIVE_SHA256 = "770ce9e98fc6f29c1b1a250c637e6c5125f2b5f1260e5a7687b55a79e2e8844d"

# Volumes by name, and the folder of each one's slices in the archive.
VOLUMES = {
    "training": "Train_In",
    "training_groundtruth": "Train_Out",
    "testing": "Test_In",
    "testing_groundtruth": "Test_Out",
}
LABELS = ("original", "lucchi_pp")
VOXEL_SIZE = (5.0, 5.0, 5.0)

# SHA-256 of the first slices' uint8 voxels in C order, computed from a lossless copy of the volumes
# with the Lucchi++ labels. The original files have the same images.
VOXELS = {
    "training": (165, "45d77f092b5c6fbad62cb406f465e0a665f1636eae8b76b2f9c46a1dab142faf"),
    "testing": (83, "65f684a7e4ce01fd2be77406ea2a5bf72656239b233a306c97548d09c02200bd"),
}
VOXELS_LUCCHI_PP = {
    "training_groundtruth": (
        165,
        "dc11fed9d7b714eaefa9faaec9a11371919dbc6cc50f573f81fdba7cba939a6a",
    ),
    "testing_groundtruth": (
        83,
        "59e7dd061092b0dacd52cbe5c792be83a57d861f55e901e1ac0eee6a3a969081",
    ),
}


def fetch_epfl(folder, labels=LABELS, *, source=None, say=lambda line: None):
    """Download the volumes as `folder`/original/*.tif and `folder`/lucchi_pp/*.tif.

    Complete files are kept, and a broken download is resumed. Shows progress on standard error.

    Args:
        folder: folder to write.
        labels: "original", "lucchi_pp" or both.
        source: address of a folder on another server with the same files.
        say: called with a line for every file.

    Returns:
        The paths of the volumes.

    Raises:
        ValueError: `source` is not a URL, or a file is unreadable or fails its checksum.
        OSError: the server, the connection or the disk failed.
    """
    good = not source or source.startswith(("http://", "https://"))
    require(good, "source", "http:// or https:// and a folder", f"{source=}")
    folder = writable_folder(folder)
    steps = {"original": fetch_original, "lucchi_pp": fetch_lucchi_pp}
    written, names = [], (labels,) if isinstance(labels, str) else tuple(labels)
    for name in names:
        require_one_of(steps, "labels", name)
    for name in names:
        written += steps[name](folder / name, source, say)
    return written


def fetch_original(folder, source, say):
    """Download the four files with the original labels."""
    files = [folder / f"{name}.tif" for name in VOLUMES]
    for file in files:
        known = file.exists()
        digest = fetch(f"{source or EPFL}/{file.name}", file, None)
        if not known:
            check_voxels(file, VOXELS)
        say(f"{file} {'already present' if known else 'written'}, sha256 {digest}")
    return files


def fetch_lucchi_pp(folder, source, say):
    """Download the archive with the Lucchi++ labels and unpack it as four files."""
    files = [folder / f"{name}.tif" for name in VOLUMES]
    missing = [file for file in files if not file.exists()]
    if missing:
        archive = folder / ARCHIVE
        fetch(f"{source or CASSER}/{ARCHIVE}", archive, ARCHIVE_SHA256)
        with progress_bar("unpacking", in_bytes=True) as on_progress:
            unpack(archive, missing, on_progress)
        archive.unlink()
    for file in files:
        if file in missing:
            check_voxels(file, VOXELS | VOXELS_LUCCHI_PP)
        say(f"{file} {'written' if file in missing else 'already present'}")
    return files


def fetch(url, path, sha256):
    """Download a file with its progress shown."""
    with progress_bar(path.name, in_bytes=True) as on_progress:
        return download(url, path, sha256, on_progress)


def unpack(archive, files, on_progress):
    """Write volumes from the archive's folders of PNG slices."""
    with zipfile.ZipFile(archive) as bundle:
        slices = {file: slices_of(bundle, VOLUMES[file.stem]) for file in files}
        done, total = 0, sum(item.file_size for items in slices.values() for item in items)
        for file, items in slices.items():
            first = png_grey(bundle.read(items[0]))
            shape = (len(items), *first.shape)
            with create_volume(file, shape, first.dtype, VOXEL_SIZE) as append:
                for item in items:
                    append(png_grey(bundle.read(item))[None])
                    done += item.file_size
                    on_progress(done, total)


def slices_of(bundle, folder):
    """Return the members that are slices of a folder, in the order of their numbers."""
    found = {}
    for item in bundle.infolist():
        path = PurePosixPath(item.filename)
        if path.parent.name == folder and path.suffix == ".png" and path.name[0] != ".":
            found[item.filename] = item
    if not found:
        raise ValueError(f"{ARCHIVE} has no PNG slices in a folder {folder}")
    return [found[name] for name in tifffile.natural_sorted(found)]


def png_grey(data):
    """Return a PNG's grey levels `(y, x)`, the minimum of colours, so that masks stay masks."""
    page = imagecodecs.png_decode(data)
    return page if page.ndim == 2 else page.min(axis=-1)


def check_voxels(file, known):
    """Warn if a file is not the published one of its name; raise ValueError if unreadable."""
    try:
        volume = open_volume(file)
        same = has_voxels(volume, known[file.stem]) if file.stem in known else True
    except ValueError:
        file.unlink()
        raise
    if not same:
        warnings.warn(
            f"{file} is not the published volume of that name: its checksum differs", stacklevel=2
        )


def has_voxels(volume, known):
    """Return whether the first slices of a volume match a known checksum.

    Args:
        volume: `(z, y, x)` array-like.
        known: number of slices and SHA-256 of their voxels.
    """
    depth, digest = known
    return hashlib.sha256(volume[:depth].tobytes()).hexdigest() == digest


def find_pairs(folder, part):
    """Return images and labels of "training" or "testing" in a folder, and missing files.

    A volume may come in parts, such as testing_z000-082.tif and testing_groundtruth_z000-082.tif.

    Returns:
        A list of pairs of paths, and a list of paths.
    """
    stem = f"{part}_groundtruth"
    labels = sorted(Path(folder).glob(f"{stem}*.tif"))
    images = sorted(set(Path(folder).glob(f"{part}*.tif")) - set(labels))
    ends = sorted({p.name[len(part) :] for p in images} | {p.name[len(stem) :] for p in labels})
    pairs = [(Path(folder, part + end), Path(folder, stem + end)) for end in ends or [".tif"]]
    missing = [path for pair in pairs for path in pair if not path.exists()]
    return [pair for pair in pairs if not set(pair) & set(missing)], missing
