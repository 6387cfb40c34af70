"""Run a user's code: whatever it raises becomes one line that says where."""

import pickle
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bottleneck.errors import (
    USER_CODE_EXCEPTIONS,
    BackboneError,
    BottleneckError,
    format_error,
)

_UNPICKLING = (
    "load the weights alone, with `weights`, or let your code say "
    "torch.load(…, weights_only=False) if you trust that file"
)

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = tuple(
    Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


@contextmanager
def errors_in_one_line(what: str, hint: str = "") -> Iterator[None]:
    """Turn an exception of a user's code into a `BackboneError` with its place in that code.

    Parameters
    ----------
    what : str
        What failed: ``"net.py:build() failed"``.
    hint : str
        The next step.

    Raises
    ------
    BackboneError
        The block raised anything but KeyboardInterrupt.

    Examples
    --------
    >>> with errors_in_one_line("net.py:build() failed"):
    ...     raise ValueError("no depth")
    Traceback (most recent call last):
    bottleneck.errors.BackboneError: net.py:build() failed: ValueError: no depth
    """
    try:
        yield
    except BottleneckError:
        raise  # its message is complete
    except pickle.UnpicklingError as error:
        raise BackboneError(f"{what}: {describe_error(error)}", hint=_UNPICKLING) from error
    except USER_CODE_EXCEPTIONS as error:
        raise BackboneError(f"{what}: {describe_error(error)}", hint=hint) from error


def describe_error(error: BaseException) -> str:
    """Return an exception's type, its message in one line, and the user's line that raised it.

    Examples
    --------
    >>> describe_error(SystemExit("set MODEL_ROOT first"))
    'SystemExit: set MODEL_ROOT first'
    """
    text, place = format_error(error), _place(error)
    if isinstance(error, pickle.UnpicklingError):  # several paragraphs of advice follow
        text = text.partition(". ")[0]
    return f"{text} ({place})" if place else text


def is_library(file: Path) -> bool:
    """Return whether a file belongs to Python, to an installed package, or to this package.

    Examples
    --------
    >>> is_library(Path(traceback.__file__)), is_library(Path("net.py"))
    (True, False)
    """
    installed = not {"site-packages", "dist-packages"}.isdisjoint(file.parts)
    return installed or any(file.is_relative_to(root) for root in (_PACKAGE, *_LIBRARIES))


def _place(error: BaseException) -> str:
    """Return the file and line of a user's code that raised an exception, or an empty text.

    Of a syntax error it is the line that imports the file: Python's message has its own place.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        is_file = not frame.filename.startswith("<")
        if is_file and not is_library(Path(frame.filename)):
            return f"{Path(frame.filename).name}, line {frame.lineno}"
    return ""
