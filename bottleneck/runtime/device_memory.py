"""Errors that say that the memory of a device, or of the process, is too small."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bottleneck.errors import DeviceMemoryError, format_error, full_message

# PyTorch has an exception type for what its own allocator of a GPU's memory lacks. It has messages
# only for what CUDA and its libraries lack, and for a CPU's memory: its own, and those of oneDNN,
# which allocates after it has checked that it supports the operation.
_MESSAGES = re.compile(
    r"CUDA error: out of memory|CU[A-Z]+_STATUS_\w*ALLOC(ATION)?_FAILED|can't allocate memory|"
    "could not (create|execute) a primitive$"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device, or the process, has no memory left.

    Examples
    --------
    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("it failed"))
    (True, False)
    """
    torch = sys.modules.get("torch")
    return (
        isinstance(error, MemoryError)
        or (torch is not None and isinstance(error, torch.OutOfMemoryError))
        or (isinstance(error, RuntimeError) and bool(_MESSAGES.search(full_message(error))))
    )


@contextmanager
def memory_errors(what: str, hint: str) -> Iterator[None]:
    """Raise `DeviceMemoryError` where the memory of the device, or of the process, is too small.

    It is a context manager and a decorator.

    Parameters
    ----------
    what : str
        What does not fit.
    hint : str
        The next step.

    Raises
    ------
    DeviceMemoryError
        With what PyTorch or NumPy says of it.

    Examples
    --------
    >>> with memory_errors("the codes do not fit", "take a part"):
    ...     raise MemoryError("32 GiB")
    Traceback (most recent call last):
    bottleneck.errors.DeviceMemoryError: the codes do not fit (MemoryError: 32 GiB): take a part
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, DeviceMemoryError) or not is_out_of_memory(error):
            raise
        raise DeviceMemoryError(f"{what} ({format_error(error)})", hint=hint) from error
