"""Pictures of sections to annotate next, and a draft of their labels."""

from ..report.section import draw_section
from ..volumes.writing import save_volume
from .suggest import draft, is_of_grey_levels


def draw_suggestions(suggestions, folder):
    """Draw a picture of each section in a folder; return the paths.

    Args:
        suggestions: `Suggestion`s.
        folder: that exists.
    """
    files = []
    for section in suggestions:
        file = folder / f"section_{section.z:04d}.png"
        title = f"section {section.z} (number {section.z + 1} in Fiji)"
        draw_section(section.plane, section.labels, section.uncertainty, file, title)
        files.append(file)
    return files


def write_draft(path, labels, suggestions, image):
    """Write `draft` to a file; return whether it is a mask, without a label for "not annotated".

    Args:
        path: of the file.
        labels: the annotation so far, or None.
        suggestions: `Suggestion`s.
        image: open `Volume` of the stack.
    """
    save_volume(path, draft(labels, suggestions, image.shape), like=image)
    return labels is not None and is_of_grey_levels(labels)
