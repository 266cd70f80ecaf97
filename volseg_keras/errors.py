"""Errors about wrong arguments: the argument, what it may be and what was received, in a line."""

from numbers import Integral

MAX_LISTED = 20  # names that a message lists


def invalid(name, expected, received, error_type=ValueError):
    """Return the error of a wrong argument, to be raised; its attribute `argument` is the name.

    Args:
        name: of the argument.
        expected: what it may be, and what to type where that helps.
        received: the value, such as `f"{seed=}"`.
        error_type: class of the error.
    """
    error = error_type(f"Invalid value for `{name}`. Expected {expected}. Received: {received}")
    error.argument = name
    return error


def require(good, name, expected, received, error_type=ValueError):
    """Raise the error of a wrong argument unless a condition holds.

    Example:
        >>> require(0 <= share <= 1, "share", "a number from 0 to 1", f"{share=}")
    """
    if not good:
        raise invalid(name, expected, received, error_type)


def require_one_of(choices, name, value):
    """Raise ValueError unless a value is one of some names, which the message lists."""
    require(value in choices, name, f"one of {', '.join(choices)}", f"{name}={value!r}")


def require_positive(**arguments):
    """Raise ValueError for the first argument that is not a positive integer."""
    for name, value in arguments.items():
        good = isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
        require(good, name, "a positive integer", f"{name}={value!r}")


def listed(names):
    """Return names as one text, only the first of many."""
    return ", ".join(list(names)[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
