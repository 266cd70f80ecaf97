"""Whether all that a TIFF file describes is there, and which of its images is the volume."""

import logging
import threading
import warnings
from contextlib import contextmanager

import numpy as np
from tifffile import COMPRESSION

from ...errors import MAX_LISTED, listed
from .source import check_number

# Messages that tifffile logs before it continues with missing or empty pages.
SIGNS_OF_DAMAGE = (
    "invalid page offset",
    "invalid offset to page",
    "corrupted",
    "failed to read",
    "index out of range",
)

FILTER_LOCK = threading.Lock()


def choose_series(tif, number=None):
    """Return the number of the series to read: the chosen one, or the only large one of the file.

    Files of OME-TIFF may describe series that lie in other files. Smaller series, such as a
    thumbnail or a page of another size in a stack, are left out with a warning.

    Raises:
        ValueError: data are missing, or other series hold as much as the first.
    """
    count = len(tif.series)
    texts = [f"{i}: {s.axes} {s.shape} {s.dtype}" for i, s in enumerate(tif.series[:MAX_LISTED])]
    names = "; ".join(texts)
    if not count:
        raise ValueError("it holds no image")
    if number is not None:
        check_number("series", number, count, names)
    if number is None:
        number = only_large_series(tif, names)
    images, starts = tif.series[number], []
    for page in filter(None, images.pages):
        size = page.parent.filehandle.size  # of OME-TIFF, pages may lie in several files
        spans = zip(page.dataoffsets, page.databytecounts, strict=True)
        if any(offset + count > size for offset, count in spans):
            raise ValueError("the file is truncated")
        if page.parent is tif and any(page.databytecounts):
            starts += page.dataoffsets[:1]
    # All pages are read by the size of the first, which would take those of smaller ones too far.
    plain = images.keyframe.compression == COMPRESSION.NONE
    size = sum(images.keyframe.databytecounts) if plain else 0
    if np.diff(np.unique(starts)).min(initial=size) < size:
        raise ValueError("its pages are of different sizes")
    return number


def only_large_series(tif, names):
    """Return the number of the largest series that lies in a file, of which there must be one."""
    own = [i for i, series in enumerate(tif.series) if series.keyframe.parent is tif]
    first, *others = own or [0]
    # tifffile groups pages that are stored alike.
    groups = [tif.series[i].keyframe for i in own if tif.series[i].kind == "generic"]
    groups = [page for page in groups if not page.is_reduced]
    if len({(page.shape, page.dtype) for page in groups}) < len(groups):
        raise ValueError(
            "its pages are of one size, but stored in different ways; save it again as one stack, "
            f"for example with Fiji, or choose some with --series: {names}"
        )
    sizes = [tif.series[i].size for i in (first, *others)]
    if any(size >= sizes[0] for size in sizes[1:]):
        kinds = {(tif.series[i].axes, tif.series[i].shape) for i in own}
        different = " of different kinds" if len(kinds) > 1 else ""
        raise ValueError(f"it holds {len(sizes)} images{different}; choose with --series: {names}")
    left = [i for i in others if not tif.series[i].keyframe.is_reduced]
    if left:
        shapes = listed([str(tif.series[i].shape) for i in left])
        warnings.warn(
            f"images of other sizes in the file are left out: {shapes} beside "
            f"{tif.series[first].shape}; a stack with pages of several sizes lacks sections",
            stacklevel=2,
        )
    return first


@contextmanager
def strict_tifffile():
    """Raise ValueError for damage that tifffile only logs, such as missing pages of a cut file.

    The messages of this thread are hidden from the user. Other threads may do the same meanwhile,
    or read good files: each has its own filter, and the list of filters is replaced, not changed,
    since another thread may be iterating over it.
    """
    own, records = threading.get_ident(), []

    def keep(record):
        if record.thread != own:
            return True
        records.append(record)
        return False

    logger = logging.getLogger("tifffile")
    with FILTER_LOCK:
        logger.filters = [*logger.filters, keep]
    try:
        yield
    finally:
        with FILTER_LOCK:
            logger.filters = [other for other in logger.filters if other is not keep]
    for message in (record.getMessage() for record in records):
        if any(sign in message for sign in SIGNS_OF_DAMAGE):
            raise ValueError(message)
