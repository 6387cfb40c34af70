"""glibc's allocator: keep freed memory with the process while a network runs or trains.

A forward pass allocates hundreds of megabytes of activations and frees them, and the next one does
the same. By default glibc returns such blocks to the system at once and requests them again, and
the system fills every page with zeros: half of the time of a forward pass on a CPU.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4  # of <malloc.h>
_NEVER = (1 << 31) - 1  # a threshold that is never reached

# A thread's memory consists of heaps of 64 MiB. The last of them is returned to the system as soon
# as it is empty, unless the one before it has less free memory than this (malloc/arena.c,
# heap_trim).
_TWO_HEAPS = 128 << 20

# glibc raises its thresholds as a program frees larger blocks, up to these (malloc/malloc.c,
# DEFAULT_MMAP_THRESHOLD_MAX), until a program sets one itself: from then on they are fixed. So
# they are left as they would be in a program that works with large arrays.
_AFTERWARDS = {
    _MMAP_MAX: 1 << 16,
    _MMAP_THRESHOLD: 32 << 20,
    _TRIM_THRESHOLD: 64 << 20,
    _TOP_PAD: 128 << 10,
}


@contextmanager
def retain_freed_memory() -> Iterator[None]:
    """Keep freed memory with the process until the block ends, and return it then.

    Does nothing if the C library is not glibc.

    Examples
    --------
    >>> with retain_freed_memory():
    ...     blocks = [bytearray(1 << 20) for _ in range(3)]
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    libc.mallopt(_TOP_PAD, _TWO_HEAPS)
    try:
        yield
    finally:
        for option, value in _AFTERWARDS.items():
            libc.mallopt(option, value)
        libc.malloc_trim(0)
