"""Open volumes that belong together: an image and its labels, a prediction and the truth."""

import warnings

from ..errors import require
from .geometry import difference_text
from .volume import open_volume


def open_together(paths, **options):
    """Open volumes that belong together; an option applies to those that it is valid for.

    So `channel` applies to an image, but not to its labels, which have no channels. Volumes that do
    not cover the same place as the first are warned of.

    Args:
        paths: dict of files by their roles; None is left out.
        **options: of `open_volume`, None for those that were not given.

    Returns:
        A dict of the open volumes by the same names.

    Raises:
        ValueError: a volume cannot be opened, or an option is valid for none.
    """
    opened, refused = {}, {}
    given = {name: value for name, value in options.items() if value is not None}
    unused = dict.fromkeys(given)
    for role, path in paths.items():
        kept = dict(given)
        while path is not None and role not in opened:
            try:
                opened[role] = open_volume(path, **kept)
            except ValueError as error:
                name = getattr(error, "argument", None)
                if kept.pop(name, None) is None:
                    raise
                refused.setdefault(name, error)
        for name in kept if path is not None else ():
            unused.pop(name, None)
    for name in unused:
        if name in refused:
            raise refused[name]
    first, *others = opened
    for role in others:
        if difference := difference_text(opened[first], opened[role]):
            warnings.warn(
                f"{role} does not cover the same place as {first}: {difference}", stacklevel=2
            )
    return opened


def open_labelled(name, files, **options):
    """Return open pairs `(image, labels)` of files in turn.

    Args:
        name: what an error calls the argument.
        files: an image, its labels, and so on.
        **options: see `open_together`.

    Raises:
        ValueError: the number of files is odd, or labels have another shape than their image.
    """
    expected = "each image followed by its labels"
    require(len(files) % 2 == 0, name, expected, f"{len(files)} files")
    opened = []
    for image, label in zip(files[::2], files[1::2], strict=True):
        pair = open_together({"image": image, "label": label}, **options)
        shape, found = pair["image"].shape[:3], pair["label"].shape
        expected = f"labels of the shape (z, y, x) of {image}, {shape}"
        require(found == shape, name, expected, f"{label} of shape {found}")
        opened.append((pair["image"], pair["label"]))
    return opened
