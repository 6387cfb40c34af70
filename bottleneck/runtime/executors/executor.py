"""The protocol of executors, and the error that they share."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from bottleneck.errors import WorkerError, format_error

MAX_WORKER_DEATHS = 3  # at one item; Dask's default for `allowed-failures` is the same

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Workers that call a function for many items. Functions, items and results are pickled."""

    @property
    def max_concurrency(self) -> int:
        """The largest number of items that one machine computes, and holds, at a time."""
        ...

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Yield (item, result) pairs in completion order; idle workers receive the next item.

        An item is computed again if its worker died. After a request to stop (see
        `bottleneck.runtime.process.shutdown`) no further item is begun.

        Raises
        ------
        WorkerError
            Several workers died at one item, or none can be reached any more.
        BottleneckError, OSError
            The function raised it. Other items that are being computed are given up.
        """
        ...

    def run_on_each_worker(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Return what a function returns on each worker of another machine, by its address.

        Raises
        ------
        WorkerError
            There are no workers, or one of them cannot run the function.
        """
        ...


def worker_deaths_error(item: object, error: BaseException) -> WorkerError:
    """Return the error for an item at which `MAX_WORKER_DEATHS` workers died.

    Parameters
    ----------
    item : object
        Named in the message.
    error : BaseException
        What the last death was reported as.

    Examples
    --------
    >>> str(worker_deaths_error(7, RuntimeError("killed")))[:58]
    '3 workers died at 7, one after the other (RuntimeError: ki'
    """
    return WorkerError(
        f"{MAX_WORKER_DEATHS} workers died at {item}, one after the other "
        f"({format_error(error)}): is there enough memory for what each holds?",
        hint="a smaller `batch_size` and fewer `jobs` need less",
    )
