"""All checks, section by section, as lines for people and as JSON."""

from .check import section_checks
from .engines import engines
from .machine import devices, folders, system
from .packages import missing, versions

SECTIONS = {
    "versions": versions,
    "system": system,
    "devices": devices,
    "engines": engines,
    "folders": folders,
    "missing": missing,
}


def diagnose():
    """Look at everything, which takes a minute as each engine segments a small volume.

    Returns:
        A list of `Check`, section by section. It never raises: an error is the text of its row, or
        of the only row of a section that cannot begin.

    Example:
        >>> default_engine_works(diagnose())
        True
    """
    return [check for name, look in SECTIONS.items() for check in section_checks(name, look)]


def default_engine_works(checks):
    """Return whether the engine by which this machine segments works, given all checks."""
    return any(
        (check.section, check.name, check.ok) == ("engines", "default", True) for check in checks
    )


def as_dict(checks):
    """Return checks for JSON.

    Returns:
        For each section a dict from names to texts, or a text if it has a single row without a
        name; and last, as `ok`, the same of whether it works, for those rows where that is known.
    """
    known = [check for check in checks if check.ok is not None]
    return {**_by_section(checks, "text"), "ok": _by_section(known, "ok")}


def _by_section(checks, attribute):
    """Return an attribute of each check by its section and name."""
    found = {}
    for check in checks:
        value = getattr(check, attribute)
        if check.name:
            found.setdefault(check.section, {})[check.name] = value
        else:
            found[check.section] = value
    return found


def lines(checks):
    """Yield a line for each check, for people: a section a paragraph."""
    previous = None
    for check in checks:
        section = "" if check.section == previous else check.section
        text = ", ".join(map(str, check.text)) if isinstance(check.text, list) else check.text
        yield f"{section:<10}{check.name:<20} {text}".rstrip()
        previous = check.section
