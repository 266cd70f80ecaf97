"""Files of NumPy."""

import numpy as np

from ..axes import default_axes
from .source import Source


def read_npy(path, inside=None, level=0, series=None):
    """Return the `Source` of a NumPy file."""
    data = np.lib.format.open_memmap(path, mode="r")
    return Source(default_axes(data), data)


def write_npy(path, slabs, shape, dtype, geometry):
    """Write z slabs as a NumPy file."""
    header = np.lib.format
    about = {"descr": header.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    with open(path, "wb") as file:
        header.write_array_header_1_0(file, about)
        for slab in slabs:
            file.write(np.ascontiguousarray(slab).data)
