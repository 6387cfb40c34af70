"""Engines: the schedulers of others that work is given to; the door of Dask."""

from typing import Any

from bottleneck.errors import EngineError, one_line

_PATIENCE = 10  # seconds until a scheduler must have answered


def connect(scheduler: str) -> Any:
    """A client of a Dask scheduler, to be closed by who asked for it.

    Parameters
    ----------
    scheduler : str
        Its address: ``tcp://HOST:8786``.

    Returns
    -------
    distributed.Client

    Raises
    ------
    EngineError
        Nobody answers there, or Dask is not installed.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise EngineError(
            f"--backend dask: {one_line(error)}: `pip install 'bottleneck-features[dask]'`"
        ) from error
    # What tasks are given stays with the scheduler, so that it can have them done again: that
    # targets of a million rows are many bytes is no mistake to warn of.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"})
    client: Any = distributed.Client
    try:
        return client(scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"no Dask scheduler answers at {scheduler} ({one_line(error)}): `dask scheduler` "
            "starts one and prints its address"
        ) from error
