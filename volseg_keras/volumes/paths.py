"""Paths of volumes: FILE::NAME, patterns of slices, files that another one names."""

from pathlib import Path


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
