"""Checks of values that several options share."""

from collections.abc import Collection

from bottleneck.errors import InvalidOptionError


def require_positive(parameter: str, value: int | None) -> None:
    """Refuse a count that is below 1; None means that it was not given.

    Parameters
    ----------
    parameter : str
        Its name, for the message.
    value : int, optional
        The count.

    Raises
    ------
    InvalidOptionError
        It is below 1.

    Examples
    --------
    >>> require_positive("batch_size", 16)
    """
    if value is not None and value < 1:
        raise InvalidOptionError(parameter, value, "at least 1")


def require_one_of(parameter: str, value: str | None, allowed: Collection[str]) -> None:
    """Refuse a name that is not among the allowed ones; None means that it was not given.

    Parameters
    ----------
    parameter : str
        Its name, for the message.
    value : str, optional
        The name that was given.
    allowed : collection of str
        Every name that may be given.

    Raises
    ------
    InvalidOptionError
        It is none of these.

    Examples
    --------
    >>> require_one_of("dtype", "float16", ["float16", "float32"])
    """
    if value is not None and value not in allowed:
        raise InvalidOptionError(parameter, value, f"one of {', '.join(allowed)}")
