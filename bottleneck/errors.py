"""Typed errors: each is also the builtin that it specialises, and knows its exit code.

A message is one line: the value, what was allowed, the next step. The library raises;
`bottleneck.cli` alone turns an error into that line on standard error.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class BottleneckError(Exception):
    """Anything that a user can mend. `exit_code` is 1, or 2 where the command was used wrongly."""

    exit_code = 1


class InvalidOptionError(BottleneckError, ValueError):
    """An option's value is outside of what is allowed."""

    exit_code = 2


class UnknownNameError(BottleneckError, LookupError):
    """A layer, model, weights or classifier that does not exist.

    Parameters
    ----------
    kind : str
        What was named, for example ``"layer"``.
    name : str
        The name as it was given.
    known : iterable of str
        Every allowed name; the nearest ones are suggested.
    hint : str
        The next step, where the suggestions are not enough.
    """

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = list(known)
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        allowed = f"did you mean {_either(near)}?" if near else f"there is {_listing(names)}"
        super().__init__(f"unknown {kind} {name!r}: {allowed}{' ' + hint if hint else ''}")

    def __reduce__(self) -> tuple[Any, ...]:
        return UnknownNameError.__new__, (UnknownNameError, *self.args)  # by its message


class ImagesNotFoundError(BottleneckError, FileNotFoundError):
    """The images are not where they were said to be, or there are none."""


class ImagesTableError(BottleneckError, ValueError):
    """A CSV of images that cannot be understood."""


class ImageError(BottleneckError, ValueError):
    """One image that gives no pixels; becomes the reason of its rejection."""


class BackboneError(BottleneckError, ValueError):
    """A network that cannot be built or does not answer with codes."""


class WeightsError(BottleneckError, OSError):
    """Weights that cannot be had, read, or loaded into the network."""


class CodeNotNamedError(BottleneckError, PermissionError):
    """A file asks for a network that is code, and whoever reads the file did not name it."""

    exit_code = 2


class NonFiniteCodesError(BottleneckError, ArithmeticError):
    """The network gave NaN or infinity for an image."""


class DeviceMemoryError(BottleneckError, RuntimeError):
    """The device's memory does not hold what one image needs."""


class CacheError(BottleneckError, OSError):
    """A cache that is absent, incomplete, or not a cache."""


class NoRoomError(BottleneckError, OSError):
    """The disk cannot hold what a run would write."""


class SpecMismatchError(BottleneckError, ValueError):
    """Codes of two different specs would have been mixed."""


class ShardError(BottleneckError, OSError):
    """A shard that is not whole or not what its name says."""


class HeadError(BottleneckError, ValueError):
    """A file that is not a head, or a head that does not fit what it was given."""


class LabelsError(BottleneckError, ValueError):
    """Labels or splits from which no classifier can be learned or judged."""


class EngineError(BottleneckError, ConnectionError):
    """Workers that cannot be reached, die, or do not see what they are to work on."""


class SchedulerError(BottleneckError, OSError):
    """A cluster's scheduler that is not here, or refuses a job."""


class OutputExistsError(BottleneckError, FileExistsError):
    """A file is in the way and nobody asked to overwrite it."""


# What the code of somebody else may raise: a network of the user's own, a decoder on hostile
# bytes. Named one by one, so that an interrupt and the end of the program pass through.
FOREIGN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,  # where the caller made warnings errors
)


def one_line(error: BaseException) -> str:
    """An error's kind and message without line breaks; the kind alone where it says nothing."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _listing(names: list[str], most: int = 12) -> str:
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "none"
