"""What the reader of a format returns, an array with named axes; and what all readers need."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import require
from .geometry import Geometry

MAX_LISTED = 20  # names that a message lists
MOST_COLOURS = 4
PIECE = 2**30  # most bytes of a chunk, strip or tile: each is decompressed as a whole
DEFLATE = 1032  # most bytes that zlib and gzip store in one


@dataclass(frozen=True)
class Source:
    """An array of a file.

    Attributes:
        axes: a letter an axis: T, C, Z, Y, X; S for colours; any other is taken for Z.
        array: has `shape` and `dtype` and reads what is indexed by slices.
        geometry: where it lies in space, or None if unknown.
    """

    axes: str
    array: object
    geometry: Geometry | None = None


class AsType:
    """An array that is read as another type than its library reads.

    Args:
        array: is indexed by slices.
        dtype: to read.
        chunks: of what is decompressed as a whole, or None.
    """

    def __init__(self, array, dtype, chunks=None):
        self.array, self.shape, self.dtype, self.chunks = array, array.shape, dtype, chunks

    def __getitem__(self, key):
        """Read a block."""
        return np.asarray(self.array[key]).astype(self.dtype)


def checked_size(voxel_size):
    """Return a voxel size (z, y, x) as floats, or None; raise ValueError for anything else."""
    if voxel_size is None:
        return None
    size = np.ravel(voxel_size).astype(float)
    require(
        size.shape == (3,) and np.all(np.isfinite(size) & (size > 0)),
        "voxel_size",
        "three positive numbers (z, y, x) in nm",
        f"{voxel_size=}",
    )
    return tuple(size.tolist())


def stored_limit(piece, dtype, file=None):
    """Return how many bytes compressed pieces of an array may take in their file.

    Args:
        piece: shape of what is decompressed at a time.
        dtype: of a voxel.
        file: shape of all pieces of a file, by default of one.

    Raises:
        ValueError: a piece is larger than `PIECE` when it is decompressed.
    """
    size = math.prod(map(int, piece)) * dtype.itemsize
    if size > PIECE:
        raise ValueError(f"it is stored in pieces of {size} bytes, more than {PIECE}")
    whole = math.prod(map(int, file or piece)) * dtype.itemsize
    return whole + whole // 8 + 4096


def resolve_sibling(path, name):
    """Return the path of a file that another one names; raise ValueError outside its folder."""
    if name == Path(path).name:  # which may be a link
        return Path(path)
    folder = Path(path).parent.resolve()
    file = (folder / name).resolve()
    if not file.is_relative_to(folder):
        raise ValueError(f"{name} lies outside its folder")
    return file


def split_name(path):
    """Return the file of FILE::NAME, and NAME or None; names of files may have "::" in them too."""
    parts = str(path).split("::")
    files = [Path("::".join(parts[: i + 1])) for i in range(len(parts))]
    there = [i for i, file in enumerate(files) if exists(file)]
    likely = [i for i, file in enumerate(files) if file.suffix and file.parent.is_dir()]
    i = there[-1] if there else likely[0] if likely else 0
    # Backslashes are of a Path on Windows.
    return files[i], "::".join(parts[i + 1 :]).replace("\\", "/") or None


def containing_file(path):
    """Return the absolute path of the file of FILE::NAME, or of the folder of a pattern."""
    file = split_name(path)[0].absolute()
    return file.parent if "*" in file.name else file


def exists(file):
    """Return whether there is such a file, folder or folder of a pattern."""
    return file.parent.is_dir() if "*" in file.name else file.exists()


def is_volume(node):
    """Return whether a node is an array of two axes or more."""
    return len(getattr(node, "shape", ())) >= 2 and hasattr(node, "dtype")


def default_axes(array):
    """Return the usual names of axes that a file does not name.

    Of four axes a last one of one sample, or of up to four and fewer than any other, is that of
    channels, where Keras has it; so is a second one of one sample, as in ImageJ, behind more.
    """
    if len(array.shape) == 4:
        depth, second, *_, last = array.shape
        if last == 1 < depth or 1 < last <= MOST_COLOURS and last < min(array.shape[:-1]):
            return "ZYXC"
        if second == 1 and depth > MOST_COLOURS:
            return "ZCYX"
    return "TCZYX"[-len(array.shape) :]


# Letters of axes by what files call them.
NAMES = {
    "Z": ("z", "depth", "section", "slice", "plane", "altitude"),
    "Y": ("y", "height", "row", "line"),
    "X": ("x", "width", "col", "column"),
    "C": ("c", "channel", "ch", "band"),
    "T": ("t", "time", "frame", "timepoint"),
    "S": ("s", "rgb", "rgba", "sample", "color", "colour"),
}
LETTERS = {name: letter for letter, names in NAMES.items() for name in names}


def named_axes(names, array):
    """Return the letters of axes that a file names, or None where its names say nothing.

    Args:
        names: a text or None an axis.
        array: of these axes.

    Raises:
        ValueError: there are more or fewer names than axes, or two alike.
    """
    names = [str(name or "").strip().lower() for name in names]
    letters = [LETTERS.get(name) or LETTERS.get(name.rstrip("s")) for name in names]
    if not {"Y", "X"} & set(letters):
        return None
    known = [letter for letter in letters if letter]
    if len(names) != len(array.shape) or len(set(known)) < len(known):
        raise ValueError(
            f"it names the axes {', '.join(names)} of an array of shape {tuple(array.shape)}; "
            "say what they are, as in --axes zyx"
        )
    spare = iter(sorted(set("IJKLMNOPQRUVW")))
    return "".join(letter or next(spare) for letter in letters)


def pick(found, inside):
    """Return the array called `inside`, or the only one; raise ValueError that lists them."""
    if inside and inside.strip("/") in found:
        return found[inside.strip("/")]
    if not inside and len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise ValueError("it has no array of two axes or more")
    raise ValueError(f"choose one of its arrays with FILE::NAME: {listed(found)}")


def check_number(name, value, count, names=""):
    """Raise ValueError for a `level` or `series` that a file does not have."""
    kinds = {"level": "levels", "series": "series"}[name]
    expected = f"one of the {kinds} 0 to {count - 1}{names and ', of '}{names}"
    require(0 <= value < count, name, expected, value)


def listed(names):
    """Return names as one text, only the first of many."""
    return ", ".join(list(names)[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")


def join_slabs(slabs):
    """Return z slabs as one array, float16 as float32 for formats that do not have it."""
    data = np.concatenate(list(slabs))
    return data.astype(np.float32) if data.dtype == np.float16 else data
