"""Opening HDF5 files that others have written."""

from pathlib import Path

import h5py

from bottleneck.errors import ShardError, one_line


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises
    ------
    ShardError
        It is absent, cut short, or no HDF5.
    """
    try:
        try:
            # Shards never change once they have their name: there is nothing to lock, which network
            # file systems often cannot. Chunks are read once: no cache, no second copy.
            return h5py.File(path, "r", locking=False, rdcc_nbytes=0)
        except OSError as error:
            if "locking flag" not in str(error):
                raise
            # HDF5 wants every opening of a file in one process to be alike, and a notebook may
            # hold codes.h5 open, which opens the shards behind it with the default.
            return h5py.File(path, "r")
    except OSError as error:
        raise ShardError(f"{path} cannot be opened: {one_line(error)}") from error
