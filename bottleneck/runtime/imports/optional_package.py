"""Imports of packages that come with an extra of this program."""

from collections.abc import Iterator
from contextlib import contextmanager

from bottleneck.errors import MissingPackageError


def installation(extra: str) -> str:
    """Return the command that installs an extra, in backticks.

    Examples
    --------
    >>> installation("onnx")
    "`pip install 'bottleneck-features[onnx]'`"
    """
    return f"`pip install 'bottleneck-features[{extra}]'`"


@contextmanager
def optional_package(extra: str, *, needed_by: object) -> Iterator[None]:
    """Turn a failed import in the block into an error that says what to install.

    Parameters
    ----------
    extra : str
        The extra that brings the package.
    needed_by : object
        What needs it, for the message.

    Raises
    ------
    MissingPackageError
        An import failed.

    Examples
    --------
    >>> with optional_package("heif", needed_by="photo.heic"):
    ...     import no_such_package
    Traceback (most recent call last):
    bottleneck.errors.MissingPackageError: photo.heic needs no_such_package, which is not installed:
        `pip install 'bottleneck-features[heif]'`
    """
    try:
        yield
    except ImportError as error:
        raise MissingPackageError(
            f"{needed_by} needs {error.name or extra}, which is not installed",
            hint=installation(extra),
        ) from error
