"""Allocator: pages of memory that stay with the process for as long as they are needed again.

A forward pass allocates hundreds of megabytes of activations and frees them, and the next one does
the same. glibc gives such blocks back to the system at once and asks for them anew, and the system
fills every page with zeros on the way: half of the time of a forward pass on a CPU.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4  # of <malloc.h>
_NEVER = (1 << 31) - 1  # a threshold that nothing reaches

# The memory of a thread is made of heaps of 64 MiB, the last of which goes back to the system as
# soon as it is empty, unless the one before it has less room than this (malloc/arena.c, heap_trim).
_TWO_HEAPS = 128 << 20

# glibc raises its thresholds as a program frees larger blocks, up to these (malloc/malloc.c,
# DEFAULT_MMAP_THRESHOLD_MAX), until somebody sets one: then they stay. So they are left where a
# program that works with large arrays would have brought them.
_AFTERWARDS = {
    _MMAP_MAX: 1 << 16,
    _MMAP_THRESHOLD: 32 << 20,
    _TRIM_THRESHOLD: 64 << 20,
    _TOP_PAD: 128 << 10,
}


@contextmanager
def retain_freed_memory() -> Iterator[None]:
    """Keep freed memory with the process; at the end, give it back and go on as before.

    Does nothing where the C library is not glibc.
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
