"""Allocator: pages of memory that stay with the process for as long as they are needed again.

A forward pass allocates hundreds of megabytes of activations and frees them, and the next one does
the same. glibc gives such blocks back to the system at once and asks for them anew, and the system
fills every page with zeros on the way: half of the time of a forward pass on a CPU.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Of <malloc.h>, with glibc's defaults.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_DEFAULT_TRIM_THRESHOLD, _DEFAULT_MMAP_MAX = 128 << 10, 1 << 16
_NEVER = (1 << 31) - 1  # a threshold that nothing reaches


@contextmanager
def keeping_pages() -> Iterator[None]:
    """Keep freed memory with the process; at the end, give it back and go on as by default.

    Does nothing where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _DEFAULT_MMAP_MAX)
        libc.mallopt(_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD)
        libc.malloc_trim(0)
