"""Limits on untrusted HDF5 files, and the exceptions that h5py raises on damaged ones.

It is the same for images and for shards; `bottleneck.cache` imports it as well.
"""

from collections.abc import Iterable

# What h5py raises on a file that lacks a part or whose bytes were damaged.
HDF5_READ_ERRORS = (
    KeyError,
    AttributeError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    MemoryError,
)

# deflate, shuffle, fletcher32 and LZF: part of HDF5 or of h5py. Any other is a plugin, which is
# code that HDF5 would look for and load.
_ALLOWED_FILTERS = frozenset((1, 2, 3, 32000))
_MAX_COMPRESSION_RATIO = 1032  # of deflate
_UNCHECKED_BYTES = 1 << 20


def needs_hdf5_plugin(filters: Iterable[int]) -> bool:
    """Return whether one of a dataset's filters, by its number, would be loaded as a plugin.

    Examples
    --------
    >>> needs_hdf5_plugin([2, 1]), needs_hdf5_plugin([32015])
    (False, True)
    """
    return not _ALLOWED_FILTERS.issuperset(filters)


def exceeds_hdf5_storage(claimed: int, stored: int, *, filtered: bool) -> bool:
    """Return whether a dataset claims more bytes than those that are stored of it can be.

    Parameters
    ----------
    claimed : int
        Bytes of its values, or of a chunk if that is larger.
    stored : int
        Bytes that it takes in the file.
    filtered : bool
        Whether it has a filter, and may be compressed.

    Examples
    --------
    >>> exceeds_hdf5_storage(1 << 30, 1 << 21, filtered=True)
    False
    >>> exceeds_hdf5_storage(1 << 30, 1 << 21, filtered=False)
    True
    """
    most = stored * (_MAX_COMPRESSION_RATIO if filtered else 1)
    return claimed > most and (claimed > _UNCHECKED_BYTES or stored == 0 < claimed)
