"""Engines: the schedulers of others that work is given to; the door of Dask."""

from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
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


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """A client as `connect` gives it, for a block of work.

    Raises
    ------
    EngineError
        As `connect`; or the scheduler was lost, or gave up on the work.
    """
    with connect(scheduler) as client:
        from distributed import KilledWorker

        try:
            yield client
        except (CancelledError, KilledWorker) as error:
            raise EngineError(
                f"the scheduler at {scheduler} did not finish the work ({one_line(error)}): its "
                "own output and that of its workers say why; then run the same command again"
            ) from error
