"""Checks of values that several options share."""

import dataclasses
from collections.abc import Collection, Mapping
from numbers import Integral
from typing import Any

from bottleneck.errors import InvalidOptionError


def require_positive(parameter: str, value: int) -> None:
    """Refuse a value that is no whole number above 0.

    Parameters
    ----------
    parameter : str
        Its name, for the message.
    value : int
        The count.

    Raises
    ------
    InvalidOptionError
        It is below 1, or no whole number.

    Examples
    --------
    >>> require_positive("batch_size", 16)
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InvalidOptionError(parameter, value, "a whole number, at least 1")
    if value < 1:
        raise InvalidOptionError(parameter, value, "at least 1")


def require_positive_or_none(parameter: str, value: int | None) -> None:
    """Refuse a value that is no whole number above 0; None means that it was not given.

    Parameters
    ----------
    parameter : str
        Its name, for the message.
    value : int or None
        The count.

    Raises
    ------
    InvalidOptionError
        It is below 1, or no whole number.

    Examples
    --------
    >>> require_positive_or_none("batch_size", None)
    """
    if value is not None:
        require_positive(parameter, value)


def require_one_of(parameter: str, value: str | None, allowed: Collection[str | None]) -> None:
    """Refuse a name that is not among the allowed ones.

    Parameters
    ----------
    parameter : str
        Its name, for the message.
    value : str or None
        The name that was given.
    allowed : collection of str or None
        Every name that may be given; None among them if it may be left out.

    Raises
    ------
    InvalidOptionError
        It is none of these.

    Examples
    --------
    >>> require_one_of("dtype", "float16", ["float16", "float32"])
    """
    if value not in list(allowed):  # what is no text may have no hash
        names = ", ".join(name for name in allowed if name is not None)
        raise InvalidOptionError(parameter, value, f"one of {names}")


def require_seed(seed: int) -> None:
    """Refuse a seed that is no int from 0 to 2⁶³ − 1.

    Raises
    ------
    InvalidOptionError

    Examples
    --------
    >>> require_seed(0)
    """
    if type(seed) is not int or not 0 <= seed < 1 << 63:  # True is no seed, and NumPy's no JSON
        raise InvalidOptionError("seed", seed, "a whole number from 0 to 2⁶³ − 1")


def require_options(**given: tuple[object, type]) -> None:
    """Refuse options that are no object of their class, such as a dictionary of its fields.

    Parameters
    ----------
    **given : tuple of (object, type)
        By parameter: its value, and the class that it must be of.

    Raises
    ------
    InvalidOptionError
        One is of another class.

    Examples
    --------
    >>> require_options(task=({"index": 0}, slice))
    Traceback (most recent call last):
    bottleneck.errors.InvalidOptionError: `task={'index': 0}`: must be a slice, such as
        slice(index=0)
    """
    for name, (value, kind) in given.items():
        if not isinstance(value, kind):
            fields = value.items() if isinstance(value, Mapping) else ()
            example = ", ".join(f"{field}={item!r}" for field, item in fields)
            such_as = f", such as {kind.__name__}({example})" if example else ""
            raise InvalidOptionError(name, value, f"a {kind.__name__}{such_as}")


def require_left_out(reason: str, **given: Any) -> None:
    """Refuse parameters that have no meaning here; None means that one was not given.

    Raises
    ------
    InvalidOptionError
        One was given.

    Examples
    --------
    >>> require_left_out("it is for images", augmentations=None, transform=None)
    """
    for name, value in given.items():
        if value is not None:
            parts = value if isinstance(value, (tuple, list)) else [value]
            shown = value if isinstance(value, int) else ",".join(map(str, parts)) or "none"
            raise InvalidOptionError(name, shown, "left out", reason)


def keep_python_numbers(options: Any) -> None:
    """Replace NumPy's and PyTorch's numbers in a frozen dataclass by Python's, which JSON has.

    Parameters
    ----------
    options : dataclass
        Changed in place, from its ``__post_init__``.

    Examples
    --------
    >>> import numpy as np
    >>> range_of = dataclasses.make_dataclass("Range", ["first", "end"], frozen=True)
    >>> numbers = range_of(np.int64(1), None)
    >>> keep_python_numbers(numbers)
    >>> numbers
    Range(first=1, end=None)
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if getattr(value, "shape", None) == ():
            object.__setattr__(options, field.name, value.item())
