"""Engines: functions of many items, run by processes of this machine or by a Dask cluster.

They are the engines behind joblib's backends, used through their executors: `joblib.Parallel` gives
nothing back from Dask before all is done, and has one list for those that failed and those that
did not. An item is run again where its worker died, and nobody else's work is lost with it.
"""

import logging
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from bottleneck.errors import InvalidOptionError, WorkerError, format_error
from bottleneck.runtime.resources import available_cpus
from bottleneck.runtime.shutdown import stop_requested

BACKENDS = ("loky", "dask")

_MOST_DEATHS = 3  # of workers at one item; Dask's default for `allowed-failures` is the same
_SECONDS_TO_ANSWER = 10

# pandas, where scikit-learn finds it, looks for PyData's package of our name.
_NAMESAKE = "ignore:Pandas requires version:UserWarning"

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Workers that run a function for many items. Functions, items and results are pickled."""

    @property
    def max_concurrency(self) -> int:
        """How many items, at most, are at work on one machine and in its memory."""
        ...

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Each item with its result, as they come; whoever is quick is given more.

        Where somebody asks for an end, by `bottleneck.runtime.shutdown`, no further item is begun.

        Raises
        ------
        WorkerError
            Workers died again and again at one item, or cannot be reached any more.
        BottleneckError, OSError
            What the function raised. What others were at is given up.
        """
        ...

    def run_on_each_worker(self, function: Callable[[], Result]) -> dict[str, Result]:
        """What a function returns on each worker that may know less than this process does."""
        ...


class LokyExecutor:
    """LokyExecutor of this machine, by loky: each an executor of its own, which dies alone.

    Parameters
    ----------
    environments : sequence of dict of str to str
        One process for each, with these variables beside this process's own.
    """

    def __init__(self, environments: Sequence[dict[str, str]]) -> None:
        self._environments = environments
        self._executors: dict[int, Any] = {}

    @property
    def max_concurrency(self) -> int:
        """One for each process."""
        return len(self._environments)

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Each item with its result; see `Executor`."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        waiting, idle = deque(items), deque(range(len(self._environments)))
        running: dict[Future[Result], tuple[int, Item]] = {}
        deaths: Counter[int] = Counter()  # by the item's identity: an item need not be hashable
        while waiting or running:
            if stop_requested():
                waiting.clear()
            while waiting and idle:
                place, item = idle.popleft(), waiting.popleft()
                running[self._executor(place).submit(function, item)] = place, item
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                place, item = running.pop(future)
                idle.append(place)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    self._executors.pop(place).shutdown()
                    deaths[id(item)] += 1
                    if deaths[id(item)] == _MOST_DEATHS:
                        raise _deadly(item, error) from error
                    waiting.appendleft(item)
                else:
                    yield item, result

    def run_on_each_worker(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Nothing: they are of this machine, and know what this process knows."""
        return {}

    def close(self, *, kill: bool) -> None:
        """End every process, whatever it is at where they are to be killed."""
        for executor in self._executors.values():
            executor.shutdown(kill_workers=kill)

    def _executor(self, place: int) -> Any:
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        if place not in self._executors:
            environment = self._environments[place]
            self._executors[place] = ProcessPoolExecutor(
                max_workers=1, env=environment, initializer=_leave_signals_to_the_client
            )
        return self._executors[place]


def _leave_signals_to_the_client() -> None:
    """A terminal's Ctrl-C, and a scheduler's notice of the end, come to all processes of a job."""
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):  # Windows has no SIGUSR1
            signal.signal(getattr(signal, name), signal.SIG_IGN)


class DaskExecutor:
    """A Dask cluster that is there, however it was started.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def max_concurrency(self) -> int:
        """The threads of the workers of one machine."""
        threads: Counter[str] = Counter()
        for address, count in self.client.ncores().items():
            threads[address.rpartition(":")[0]] += count
        return max(threads.values(), default=1)

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Each item with its result; see `Executor`. A worker runs one item a thread."""
        from distributed import KilledWorker, as_completed

        futures = self.client.map(_OneCore(function), items, pure=False)
        item_of = dict(zip(futures, items, strict=True))
        try:
            for future in as_completed(futures, loop=self.client.loop):
                item = item_of.pop(future)
                try:
                    result = future.result()
                except KilledWorker as error:
                    raise _deadly(item, error) from error
                yield item, result
                if stop_requested():
                    return  # what workers are at, they finish
        finally:
            self.client.cancel(list(item_of))

    def run_on_each_worker(self, function: Callable[[], Result]) -> dict[str, Result]:
        """What a function returns on each worker, by the worker's address."""
        found = self.client.run(function, on_error="return")
        if not found:
            raise _without_workers(self.client.scheduler.address)
        for worker, result in found.items():
            if isinstance(result, BaseException):
                raise WorkerError(
                    f"worker {worker} cannot run this program ({format_error(result)}): install "
                    "the same version of bottleneck-features there, and restart them"
                ) from result
        return dict(found)


class _OneCore:
    """A function for a worker that runs as many at a time as it has threads.

    Each has a core for itself, unless whoever started the worker said otherwise.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, item: Any) -> Any:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        return self._function(item)


def require_shared_paths(executor: Executor, missing: Callable[[], str]) -> None:
    """Refuse workers that do not see what this process sees, before any work.

    Parameters
    ----------
    executor : Executor
    missing : callable
        Run on each worker: what it does not see, or nothing where it sees all.

    Raises
    ------
    WorkerError
        Names the first of them.
    """
    for worker, what in executor.run_on_each_worker(missing).items():
        if what:
            raise WorkerError(
                f"worker {worker} does not see {what}: all that a run reads and writes must be on "
                "a file system that its workers share, under the same paths"
            )


@contextmanager
def open_executor(
    backend: str,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    gpus: Sequence[str] = (),
) -> Iterator[Executor]:
    """An engine for the length of a block.

    Parameters
    ----------
    backend : str
        One of `BACKENDS`: ``"loky"``, processes of this machine, or ``"dask"``, a cluster.
    jobs : int, optional
        How many processes of loky; one for each of `gpus`, and without any one for four cores,
        at least two.
    scheduler : str, optional
        The address of Dask's: ``tcp://host:8786``.
    gpus : sequence of str
        This machine's GPUs, as ``CUDA_VISIBLE_DEVICES`` names them; processes have one each.

    Raises
    ------
    InvalidOptionError
        An option that belongs to the other backend, or is missing.
    WorkerError
        No scheduler answers, it has no workers, or Dask is not installed.
    """
    if backend == "dask":
        if scheduler is None or jobs is not None:
            raise InvalidOptionError(
                "backend",
                "dask",
                "given with `scheduler`, and without `jobs`",
                "a Dask cluster has as many workers as were started",
            )
        with connected(scheduler) as client:
            yield DaskExecutor(client)
        return
    if scheduler is not None:
        raise InvalidOptionError("scheduler", scheduler, "given with `backend=dask`")
    processes, kill = LokyExecutor(_environments(jobs, gpus)), True
    try:
        yield processes
        kill = False  # only who was interrupted does not wait for the shards in the making
    finally:
        processes.close(kill=kill)


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """A client of a Dask scheduler that has workers, for the length of a block.

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
        Nothing answers there, it has no workers, or Dask is not installed; or the scheduler is
        lost in the block, or gives up on what it was given.
    """
    with _client(scheduler) as client:
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        try:
            client.wait_for_workers(1, timeout=_SECONDS_TO_ANSWER)
        except TimeoutError as error:
            raise _without_workers(scheduler) from error
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


def _client(scheduler: str) -> Any:
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise WorkerError(
            "Dask is not installed: `pip install 'bottleneck-features[dask]'`, here and where the "
            "workers run"
        ) from error
    for name in ("distributed", "distributed.client"):
        # Pages of a connection that is lost, which is then said in our own line.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # What tasks are given stays with the scheduler, so that it can have them done again: that
    # targets of a million rows are many bytes is no mistake to warn of.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"})
    try:
        return Client(scheduler, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:  # TimeoutError among them
        raise WorkerError(
            f"no Dask scheduler answers at {scheduler} ({format_error(error)}): `dask scheduler` "
            "prints the address that it has"
        ) from error


def _environments(jobs: int | None, gpus: Sequence[str]) -> list[dict[str, str]]:
    jobs = jobs or len(gpus) or max(2, available_cpus() // 4)
    shared = dict.fromkeys(_THREADS, str(max(1, available_cpus() // jobs)))
    filters = os.environ.get("PYTHONWARNINGS", "")
    shared["PYTHONWARNINGS"] = f"{filters},{_NAMESAKE}".lstrip(",")
    if not gpus:
        return [shared] * jobs
    return [{**shared, "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} for i in range(jobs)]


def _without_workers(scheduler: str) -> WorkerError:
    return WorkerError(
        f"the Dask scheduler at {scheduler} has no workers: `dask worker {scheduler}` starts one"
    )


def _deadly(item: object, error: BaseException) -> WorkerError:
    return WorkerError(
        f"{_MOST_DEATHS} workers died at {item}, one after the other ({format_error(error)}): is "
        "there enough memory for what each holds? A smaller `batch_size` and fewer `jobs` need less"
    )
