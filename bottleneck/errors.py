"""Typed errors: each is also the builtin that it specialises, and has an exit code.

The library raises, and knows no command line. A message is one line: the value, what is allowed,
the next step. It names a parameter as Python has it, in backticks: `` `cv=0` ``,
`` `bottleneck.extract` ``. `bottleneck.cli` turns that into its own spelling.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Self

_MOST_CHARACTERS = 300  # of a library's message, or of a value
_MOST_NAMES = 12  # that are listed
_MOST_SUGGESTIONS = 3


class BottleneckError(Exception):
    """Base class of every error that a user can correct.

    Parameters
    ----------
    message : str
        What is wrong, on one line.
    parameter : str, optional
        Name of the Python parameter that is to blame.
    value : object, optional
        The value that was given for it.
    allowed : str, optional
        What it may be.
    hint : str
        The next step.

    Attributes
    ----------
    exit_code : int
        Of the command line: 1, or 2 where it was used wrongly.

    Examples
    --------
    >>> str(BottleneckError("no head at a.safetensors", hint="`bottleneck.fit` makes one"))
    'no head at a.safetensors: `bottleneck.fit` makes one'
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        parameter: str | None = None,
        value: object = None,
        allowed: str | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(f"{message}: {hint}" if hint else message)
        self.parameter, self.value, self.allowed, self.hint = parameter, value, allowed, hint

    @property
    def problem(self) -> str:
        """The message without the next step, for a text that has another one."""
        return str(self).removesuffix(f": {self.hint}") if self.hint else str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers send errors as pickles, which would call a subclass with the message alone.
        return _restore, (type(self), self.args, self.__dict__)

    @classmethod
    def _restored(cls, args: tuple[Any, ...], state: dict[str, Any]) -> Self:
        error = cls.__new__(cls, *args)
        error.args = args  # OSError sets them in __init__ alone
        error.__dict__.update(state)
        return error


def _restore(kind: type[BottleneckError], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    return kind._restored(args, state)


class InvalidOptionError(BottleneckError, ValueError):
    """A parameter has a value that is not allowed.

    Parameters
    ----------
    parameter : str
        Name of the Python parameter.
    value : object
        The value that was given.
    allowed : str
        What it must be: the message says ``must be`` before it.
    hint : str
        The next step.

    Examples
    --------
    >>> raise InvalidOptionError("batch_size", 0, "at least 1")
    Traceback (most recent call last):
    bottleneck.errors.InvalidOptionError: `batch_size=0`: must be at least 1
    """

    exit_code = 2

    def __init__(self, parameter: str, value: object, allowed: str, hint: str = "") -> None:
        super().__init__(
            f"`{parameter}={_shown(value)}`: must be {allowed}",
            parameter=parameter,
            value=value,
            allowed=allowed,
            hint=hint,
        )


class UnknownNameError(BottleneckError, LookupError):
    """A layer, model, weights or classifier does not exist.

    Parameters
    ----------
    kind : str
        What was named, for example ``"layer"``; it is the attribute `parameter` as well.
    name : str
        The name as it was given.
    known : iterable of str
        Every allowed name; the nearest ones are suggested.
    hint : str
        The next step, where the suggestions are not enough.
    of : object, optional
        What has the names: the message says ``of`` before it.
    likeness : float
        How alike a name is at least to be suggested, from 0 to 1; more where names are short.

    Examples
    --------
    >>> raise UnknownNameError("layer", "layer33", ["layer3", "layer4"], of="a.cache")
    Traceback (most recent call last):
    bottleneck.errors.UnknownNameError: unknown layer of a.cache 'layer33': did you mean layer3 or
        layer4?
    """

    exit_code = 2

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        hint: str = "",
        *,
        of: object = None,
        likeness: float = 0.5,
    ) -> None:
        names = list(known)
        text = str(name)  # a caller in Python may give anything
        near = get_close_matches(text, names, n=len(names) or 1, cutoff=likeness)
        # What begins with all of the name comes first: `layer3@2x2` is meant rather than `layer4`.
        near = sorted(near, key=lambda other: not other.startswith(text))[:_MOST_SUGGESTIONS]
        suggestion = f"did you mean {_either(near)}?" if near else f"there is {_listing(names)}"
        super().__init__(
            f"unknown {kind}{f' of {of}' if of else ''} {name!r}: {suggestion}"
            f"{' ' + hint if hint else ''}",
            parameter=kind,
            value=name,
            allowed=_listing(names),
        )
        self.hint = hint


class ImagesNotFoundError(BottleneckError, FileNotFoundError):
    """A folder or CSV of images does not exist, or has no images."""


class ImagesTableError(BottleneckError, ValueError):
    """A CSV of images is malformed."""


class ImageError(BottleneckError, ValueError):
    """An image cannot be read or decoded. The message is the reason of its rejection."""


class ContainerError(ImageError):
    """The file that holds an image, and others, has changed or can no longer be opened."""


class MissingPackageError(BottleneckError, ImportError):
    """An optional package is not installed."""


class BackboneError(BottleneckError, ValueError):
    """A network cannot be built, or does not compute codes."""


class PrecisionError(BackboneError):
    """A network runs, but not in this precision: an operation does not exist in it."""


class WeightsError(BottleneckError, OSError):
    """Weights cannot be downloaded, read, or loaded into the network."""


class UntrustedCodeError(BottleneckError, PermissionError):
    """A file names a network that is code, which the user has not trusted."""

    exit_code = 2


class NonFiniteCodesError(BottleneckError, ArithmeticError):
    """The network gave NaN or infinity for an image."""


class DeviceMemoryError(BottleneckError, RuntimeError):
    """An image, a batch or codes do not fit into the memory of the device or the process."""


class CacheError(BottleneckError, OSError):
    """A cache is absent or incomplete, or a folder is not a cache."""


class UnsupportedCacheError(CacheError):
    """A cache is whole, and has something that only a later version of the program knows."""


class DiskSpaceError(BottleneckError, OSError):
    """The disk is too small for what a run would write."""


class SpecMismatchError(BottleneckError, ValueError):
    """Codes of two different specs would be mixed."""


class ShardError(BottleneckError, OSError):
    """A shard is damaged, or is not what its name says."""


class HeadError(BottleneckError, ValueError):
    """A file is not a head, or a head does not fit the codes."""


class LabelsError(BottleneckError, ValueError):
    """Labels or splits do not allow a classifier to be trained or scored."""


class TrainingError(BottleneckError, ArithmeticError):
    """A training diverged: its loss is not finite, or far above that of guessing."""


class ExportError(BottleneckError, ValueError):
    """A classifier cannot be exported, or an exported file cannot be read or run."""


class WorkerError(BottleneckError, ConnectionError):
    """Workers cannot be reached, die, or do not see the files."""


class SchedulerError(BottleneckError, OSError):
    """A cluster's scheduler is absent, or refuses a job."""


class OutputExistsError(BottleneckError, FileExistsError):
    """A file exists and may not be overwritten."""


class UnwritableOutputError(BottleneckError, PermissionError):
    """The folder of a result cannot be written."""


# What a user's own code may raise: a network, its factory, the file of that. The exceptions
# of other people's code cannot be listed, and sys.exit in a factory must not end this program
# without a message.
# KeyboardInterrupt passes through.
USER_CODE_EXCEPTIONS: tuple[type[BaseException], ...] = (Exception, SystemExit)

# What a library may raise on malformed bytes: a decoder, a reader of weights.
MALFORMED_INPUT_ERRORS = (
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


def format_error(error: BaseException) -> str:
    """Return an error's type and the beginning of its message, on one line.

    Examples
    --------
    >>> format_error(ValueError("bad")), format_error(ValueError())
    ('ValueError: bad', 'ValueError')
    """
    message = _cut(full_message(error))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def full_message(error: BaseException) -> str:
    r"""Return all of an error's message on one line, without a terminal's colours.

    Examples
    --------
    >>> full_message(ValueError("bad\nworse"))
    'bad worse'
    """
    try:
        return " ".join(_COLOURS.sub("", str(error)).split())
    except USER_CODE_EXCEPTIONS:  # of a class of one's own, whose __str__ fails
        return ""


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # PyTorch's advice has them


def _shown(value: object) -> str:
    """Return a value on one line, and of a long one the beginning: an array, a network."""
    return _cut(re.sub(r"\s*\n\s*", " ", repr(value)))


def _cut(text: str) -> str:
    """Return the beginning of a text: messages of some libraries go on for pages."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _listing(names: list[str]) -> str:
    more = f", … ({len(names)} in all)" if len(names) > _MOST_NAMES else ""
    return (", ".join(names[:_MOST_NAMES]) + more) or "none"
