"""A row of the diagnosis, and the look that it comes from."""

from dataclasses import dataclass

from ..extras import OPTIONAL


@dataclass(frozen=True)
class Check:
    """A row of the diagnosis.

    Attributes:
        section: a name of `report.SECTIONS`.
        name: of what was looked at; "" if the row is all that its section has to say.
        text: what was found, words or a number, or a list of words; an error as a line.
        ok: whether it works; None for plain facts and for optional packages that are missing.
    """

    section: str
    name: str
    text: str | int | list
    ok: bool | None = None


def attempt(section, name, look, *arguments, ok=None):
    """Return the `Check` of what a function returns, or of its error.

    Args:
        section: of the check.
        name: of the check.
        look: a function that returns the text.
        *arguments: of the function.
        ok: that of the check if the function raises nothing.
    """
    try:
        return Check(section, name, look(*arguments), ok)
    except Exception as error:  # a broken installation raises anything
        return failed(section, name, error)


def failed(section, name, error):
    """Return the `Check` of an error; a missing optional package is not a failure."""
    if isinstance(error, ModuleNotFoundError):
        optional = any(error.name in packages for packages, _ in OPTIONAL.values())
        return Check(section, name, f"not installed: {error.name}", None if optional else False)
    text = f"fails: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return Check(section, name, text, False)


def section_checks(name, look):
    """Return the checks of a section, or a single one of the error that kept it from beginning."""
    try:
        return look()
    except Exception as error:
        return [failed(name, "", error)]
