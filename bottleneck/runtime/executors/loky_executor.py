"""An executor of processes on this machine, by loky.

Each process has an executor of loky's for itself: when one dies, the others lose nothing.
"""

import gc
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from bottleneck.runtime.executors.executor import (
    MAX_WORKER_DEATHS,
    Item,
    Result,
    worker_deaths_error,
)
from bottleneck.runtime.process.resources import available_cpus
from bottleneck.runtime.process.shutdown import stop_requested
from bottleneck.runtime.process.startup import configure_process

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# scikit-learn imports pandas, if installed, which looks for PyData's package of the same name.
_NAMESAKE = "ignore:Pandas requires version:UserWarning"


class LokyExecutor:
    """Processes of this machine; see `bottleneck.runtime.executors.executor.Executor`.

    Parameters
    ----------
    environments : sequence of dict of str to str
        One process is started for each, with these variables beside those of this process.

    Examples
    --------
    >>> executor = LokyExecutor(worker_environments(jobs=2))
    >>> executor.max_concurrency
    2
    >>> executor.close()
    """

    def __init__(self, environments: Sequence[dict[str, str]]) -> None:
        self._environments = environments
        self._executors: dict[int, Any] = {}
        self._latest: dict[int, Future[Any]] = {}  # by slot: what its process was given last

    @property
    def max_concurrency(self) -> int:
        """The number of processes."""
        return len(self._environments)

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Yield (item, result) pairs in completion order; see `Executor`."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        waiting, idle = deque(items), deque(range(len(self._environments)))
        running: dict[Future[Result], tuple[int, Item]] = {}
        deaths: Counter[int] = Counter()  # by the item's identity: an item need not be hashable
        while waiting or running:
            if stop_requested():
                waiting.clear()
            while waiting and idle:
                slot, item = idle.popleft(), waiting.popleft()
                running[self._submit(slot, function, item)] = slot, item
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                slot, item = running.pop(future)
                idle.append(slot)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    self._executors.pop(slot).shutdown()
                    deaths[id(item)] += 1
                    if deaths[id(item)] == MAX_WORKER_DEATHS:
                        raise worker_deaths_error(item, error) from error
                    waiting.appendleft(item)
                else:
                    yield item, result

    def run_on_each_worker(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Return nothing: every process runs on this machine and sees what this one sees."""
        return {}

    def close(self) -> None:
        """End every process: at once where an item is running that nobody waits for any more."""

        def end(slot: int) -> None:
            latest = self._latest.get(slot)
            busy = latest is not None and not latest.done()
            self._executors[slot].shutdown(kill_workers=busy)

        # All at the same time: a process that has imported PyTorch takes long to end.
        with ThreadPoolExecutor(len(self._environments)) as threads:
            deque(threads.map(end, self._executors))  # raises what one of them raises

    def _submit(self, slot: int, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        from joblib.externals.loky.process_executor import BrokenProcessPool

        try:
            future: Future[Result] = self._executor(slot).submit(_compute, function, item)
        except BrokenProcessPool:  # its process died while it was idle: nothing is lost
            self._executors.pop(slot).shutdown()
            return self._submit(slot, function, item)
        self._latest[slot] = future
        return future

    def _executor(self, slot: int) -> Any:
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        if slot not in self._executors:
            self._executors[slot] = ProcessPoolExecutor(
                max_workers=1, env=self._environments[slot], initializer=_begin
            )
        return self._executors[slot]


def worker_environments(jobs: int | None = None, gpus: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the environment variables of each process that shares this machine.

    Parameters
    ----------
    jobs : int, optional
        Number of processes. The default is one per GPU, or without GPUs one per four CPUs and at
        least two.
    gpus : sequence of str
        The GPUs, as ``CUDA_VISIBLE_DEVICES`` names them; each process gets one.

    Examples
    --------
    >>> [env["CUDA_VISIBLE_DEVICES"] for env in worker_environments(gpus=["0", "1"])]
    ['0', '1']
    """
    jobs = jobs or len(gpus) or max(2, available_cpus() // 4)
    shared = dict.fromkeys(_THREADS, str(max(1, available_cpus() // jobs)))
    filters = os.environ.get("PYTHONWARNINGS", "")
    shared["PYTHONWARNINGS"] = f"{filters},{_NAMESAKE}".lstrip(",")
    if not gpus:
        return [shared] * jobs
    return [{**shared, "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} for i in range(jobs)]


def _begin() -> None:
    """Set up a process before its first item."""
    configure_process()
    gc.disable()  # the first item brings its function, and that its modules
    # Ctrl-C, and a scheduler's warning before the time limit, reach every process of a job; only
    # the process that started the others acts on them.
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):  # Windows has no SIGUSR1
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _compute(function: Callable[[Item], Result], item: Item) -> Result:
    """Call a function, with a search for garbage that leaves out the modules it was found in."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    return function(item)
