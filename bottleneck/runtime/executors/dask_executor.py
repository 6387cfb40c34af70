"""An executor of the workers of a Dask cluster, and the connection to its scheduler."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from typing import Any

from bottleneck.errors import WorkerError, format_error
from bottleneck.runtime.executors.executor import Item, Result, worker_deaths_error
from bottleneck.runtime.imports.optional_package import optional_package
from bottleneck.runtime.process.shared_context import SharedContext
from bottleneck.runtime.process.shutdown import stop_requested

_SECONDS_TO_ANSWER = 10


class DaskExecutor:
    """Workers of a running Dask cluster; see `bottleneck.runtime.executors.executor.Executor`.

    Parameters
    ----------
    client : distributed.Client
        Connected to the cluster's scheduler.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def max_concurrency(self) -> int:
        """The largest number of worker threads on one machine."""
        threads: Counter[str] = Counter()
        for address, count in self.client.ncores().items():
            threads[address.rpartition(":")[0]] += count
        return max(threads.values(), default=1)

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Yield (item, result) pairs in completion order, one item per thread; see `Executor`."""
        from distributed import KilledWorker, as_completed

        futures = self.client.map(_OneCore(function), items, pure=False)
        item_of = dict(zip(futures, items, strict=True))
        try:
            for future in as_completed(futures, loop=self.client.loop):
                item = item_of.pop(future)
                try:
                    result = future.result()
                except KilledWorker as error:
                    raise worker_deaths_error(item, error) from error
                future.release()  # or the item is computed again when the worker that did it dies
                yield item, result
                if stop_requested():
                    return  # workers finish the items that they are computing
        finally:
            self.client.cancel(list(item_of))

    def run_on_each_worker(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Return what a function returns on each worker, by the worker's address.

        Raises
        ------
        WorkerError
            There are no workers, or one of them cannot run the function.
        """
        results = self.client.run(function, on_error="return")
        if not results:
            raise _no_workers_error(self.client.scheduler.address)
        for worker, result in results.items():
            if isinstance(result, BaseException):
                raise WorkerError(
                    f"worker {worker} cannot run this program ({format_error(result)}): install "
                    "the same version of bottleneck-features there, and restart them"
                ) from result
        return dict(results)


@contextmanager
def _set_one_thread() -> Iterator[None]:
    """Set ``OMP_NUM_THREADS`` to 1, unless it was set when the worker was started."""
    name = "OMP_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)


_ONE_THREAD = SharedContext(_set_one_thread)


class _OneCore:
    """A function for workers that compute one item per thread: each gets one CPU core."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, item: Any) -> Any:
        with _ONE_THREAD:
            return self._function(item)


@contextmanager
def connect(scheduler: str) -> Iterator[Any]:
    """Connect to a Dask scheduler that has workers, for the duration of a block.

    Log levels and Dask's configuration are changed within the block only.

    Parameters
    ----------
    scheduler : str
        Its address: ``tcp://host:8786``.

    Yields
    ------
    distributed.Client

    Raises
    ------
    WorkerError
        The scheduler does not answer, has no workers, is lost in the block, or gives up on a
        task.
    MissingPackageError
        Dask is not installed.
    """
    with optional_package("dask", needed_by="a Dask cluster"):
        import distributed  # noqa: F401
    with _QUIET, _client(scheduler) as client:
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        try:
            client.wait_for_workers(1, timeout=_SECONDS_TO_ANSWER)
        except TimeoutError as error:
            raise _no_workers_error(scheduler) from error
        try:
            yield client
        except (CancelledError, CommClosedError) as error:
            raise WorkerError(
                f"the Dask scheduler at {scheduler} is gone: what was finished is kept, the same "
                "command goes on with another `scheduler`"
            ) from error
        except KilledWorker as error:
            raise WorkerError(
                f"the Dask scheduler at {scheduler} gave up ({format_error(error)}): what its "
                "workers print says why they died"
            ) from error


@contextmanager
def _quiet_dask() -> Iterator[None]:
    import dask

    with ExitStack() as stack:
        # The scheduler keeps the arguments of tasks, to repeat them if a worker dies. Dask warns of
        # large arguments, but the targets of a million rows are intended.
        threshold = {"distributed.admin.large-graph-warning-threshold": "1 GB"}
        stack.enter_context(dask.config.set(threshold))
        for name in ("distributed", "distributed.client"):
            # A lost connection fills pages there; this package reports it in one line.
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        yield


_QUIET = SharedContext(_quiet_dask)


def _client(scheduler: str) -> Any:
    from distributed import Client
    from distributed.comm import resolve_address

    try:
        resolve_address(scheduler)  # a Client of no address prints a traceback when it is deleted
        return Client(scheduler, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:  # TimeoutError among them
        raise WorkerError(
            f"no Dask scheduler answers at {scheduler} ({format_error(error)}): `dask scheduler` "
            "prints the address that it has"
        ) from error


def _no_workers_error(scheduler: str) -> WorkerError:
    return WorkerError(
        f"the Dask scheduler at {scheduler} has no workers: `dask worker {scheduler}` starts one"
    )
