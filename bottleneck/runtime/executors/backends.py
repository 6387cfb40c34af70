"""Open an executor: call a function for many items, in processes of this machine or on Dask.

loky and Dask are the libraries behind joblib's backends, and are used through their executors:
`joblib.Parallel` returns nothing from Dask before every item is done, and does not tell failed
items from finished ones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from bottleneck.errors import InvalidOptionError, WorkerError
from bottleneck.runtime.executors.dask_executor import DaskExecutor, connect
from bottleneck.runtime.executors.executor import Executor
from bottleneck.runtime.executors.loky_executor import LokyExecutor, worker_environments
from bottleneck.runtime.validation import require_one_of, require_positive_or_none

__all__ = [
    "BACKENDS",
    "DaskExecutor",
    "Executor",
    "LokyExecutor",
    "open_executor",
    "require_executor",
    "require_shared_paths",
]

BACKENDS = ("loky", "dask")


@contextmanager
def open_executor(
    backend: str,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    gpus: Sequence[str] = (),
) -> Iterator[Executor]:
    """Open an executor for the duration of a block.

    Parameters
    ----------
    backend : str
        One of `BACKENDS`: ``"loky"``, processes of this machine, or ``"dask"``, a cluster.
    jobs : int, optional
        Number of loky's processes. The default is one per GPU, or without GPUs one per four CPUs
        and at least two.
    scheduler : str, optional
        Address of the Dask scheduler: ``tcp://host:8786``.
    gpus : sequence of str
        This machine's GPUs, as ``CUDA_VISIBLE_DEVICES`` names them; each process gets one.

    Yields
    ------
    Executor

    Raises
    ------
    InvalidOptionError
        There is no such backend, or an option belongs to the other one, or is missing.
    WorkerError
        The scheduler does not answer or has no workers.
    MissingPackageError
        Dask is not installed.

    Examples
    --------
    >>> with open_executor("loky", jobs=1) as executor:
    ...     list(executor.map_unordered(abs, [-3]))
    [(-3, 3)]
    """
    require_one_of("backend", backend, BACKENDS)
    if backend == "dask":
        if scheduler is None or jobs is not None:
            raise InvalidOptionError(
                "backend",
                "dask",
                "given with `scheduler`, and without `jobs`",
                "a Dask cluster has as many workers as were started",
            )
        with connect(scheduler) as client:
            yield DaskExecutor(client)
        return
    if scheduler is not None:
        raise InvalidOptionError("scheduler", scheduler, "given with `backend=dask`")
    require_positive_or_none("jobs", jobs)
    with closing(LokyExecutor(worker_environments(jobs, gpus))) as executor:
        yield executor


def require_executor(executor: Executor | None) -> None:
    """Refuse what is no executor, such as a number of processes.

    Parameters
    ----------
    executor : Executor, optional

    Raises
    ------
    InvalidOptionError
        It has no `map_unordered`.

    Examples
    --------
    >>> require_executor(4)
    Traceback (most recent call last):
    bottleneck.errors.InvalidOptionError: `executor=4`: must be an Executor: \
`bottleneck.open_executor` opens one
    """
    if executor is not None and not hasattr(executor, "map_unordered"):
        hint = "`bottleneck.open_executor` opens one"
        raise InvalidOptionError("executor", executor, "an Executor", hint)


def require_shared_paths(executor: Executor, missing: Callable[[], str]) -> None:
    """Refuse workers that do not see the files that this process sees.

    Parameters
    ----------
    executor : Executor
        Asked before it computes anything.
    missing : callable
        Run on each worker: returns a path that the worker does not see, or ``""``.

    Raises
    ------
    WorkerError
        A worker does not see a path; both are named.
    """
    for worker, path in executor.run_on_each_worker(missing).items():
        if path:
            raise WorkerError(
                f"worker {worker} does not see {path}: all that a run reads and writes must be on "
                "a file system that its workers share, under the same paths"
            )
