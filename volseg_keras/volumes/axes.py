"""Which letters the axes of an array have, by their names in the file or by its shape."""

MOST_COLOURS = 4


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
