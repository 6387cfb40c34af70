import logging
import os
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from bottleneck.errors import InvalidOptionError, UnknownNameError, WorkerError
from bottleneck.runtime.executors.backends import open_executor, require_shared_paths
from bottleneck.runtime.executors.dask_executor import DaskExecutor, _OneCore
from bottleneck.runtime.executors.loky_executor import LokyExecutor
from tests.helpers import worker_functions
from tests.helpers.worker_functions import Recorded


def test_each_item_comes_with_its_result() -> None:
    with open_executor("loky", jobs=2) as executor:
        assert dict(executor.map_unordered(worker_functions.square, range(20))) == {
            i: i * i for i in range(20)
        }
        processes = {
            process for _, process in executor.map_unordered(worker_functions.process, range(6))
        }
        assert len(processes) == 2
        assert list(executor.map_unordered(worker_functions.square, [])) == []
        assert executor.max_concurrency == 2


def test_a_worker_looks_for_garbage_but_not_among_modules() -> None:
    with open_executor("loky", jobs=1) as executor:
        for _ in range(2):
            assert dict(executor.map_unordered(worker_functions.collects, [0])) == {0: (True, True)}


def test_a_worker_that_dies_loses_what_it_was_at_and_nothing_else(tmp_path: Path) -> None:
    function = Recorded(tmp_path, deadly=1, deaths=1)
    with open_executor("loky", jobs=2) as executor:
        assert sorted(item for item, _ in executor.map_unordered(function, range(6))) == list(
            range(6)
        )
    assert [function.times(item) for item in range(6)] == [1, 2, 1, 1, 1, 1]


def test_a_worker_that_dies_between_two_items_is_replaced() -> None:
    with open_executor("loky", jobs=1) as executor:
        results = executor.map_unordered(worker_functions.process, [0, 1])
        _, killed = next(results)
        psutil.Process(killed).kill()
        give_up = time.monotonic() + 10
        while psutil.pid_exists(killed) and time.monotonic() < give_up:
            time.sleep(0.01)  # loky notes the death, and then lets the system forget the process
        ((item, process),) = results
    assert item == 1
    assert process != killed


def test_an_item_at_which_workers_die_is_named(tmp_path: Path) -> None:
    function = Recorded(tmp_path, deadly=3, deaths=99)
    with open_executor("loky", jobs=2) as executor:
        with pytest.raises(WorkerError, match=r"3 workers died at 3, .*`batch_size`"):
            list(executor.map_unordered(function, range(6)))
        assert function.times(3) == 3
        assert dict(executor.map_unordered(worker_functions.square, [5])) == {5: 25}


def test_an_error_of_a_worker_keeps_its_type_and_message() -> None:
    with (
        open_executor("loky", jobs=1) as executor,
        pytest.raises(UnknownNameError, match="mean layer3"),
    ):
        list(executor.map_unordered(worker_functions.misspelt, [1]))


def test_each_process_has_a_card_and_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bottleneck.runtime.executors.loky_executor.available_cpus", lambda: 7)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::ImportWarning")
    with open_executor("loky", gpus=["GPU-a", "GPU-b", "GPU-c"]) as executor:
        found = [seen for _, seen in executor.map_unordered(worker_functions.variables, range(3))]
    assert sorted(seen["CUDA_VISIBLE_DEVICES"] for seen in found) == ["GPU-a", "GPU-b", "GPU-c"]
    assert {seen["OMP_NUM_THREADS"] for seen in found} == {"2"}
    assert all(seen["PYTHONWARNINGS"].startswith("ignore::ImportWarning,") for seen in found)


def test_slow_workers_get_fewer_items() -> None:
    with open_executor("loky", gpus=["first", "second"]) as executor:
        list(executor.map_unordered(worker_functions.process, range(4)))  # both have started
        cards = Counter(
            card
            for _, card in executor.map_unordered(
                worker_functions.slow_on_the_first_card, range(16)
            )
        )
    assert cards["first"] < cards["second"] / 2


class _Ending:
    """In place of a process: it ends once the other one does, and only in the way it should."""

    both = threading.Barrier(2, timeout=10)

    def __init__(self, killed: bool) -> None:
        self.killed = killed

    def shutdown(self, *, kill_workers: bool) -> None:
        self.both.wait()
        assert kill_workers == self.killed


def test_processes_end_at_the_same_time_the_busy_ones_at_once_and_a_failure_is_raised() -> None:
    executor, done, waited_for = LokyExecutor([{}, {}]), Future[int](), Future[int]()
    done.set_result(1)
    executor._latest = {0: done, 1: waited_for}
    executor._executors = {0: _Ending(killed=False), 1: _Ending(killed=True)}
    executor.close()
    executor._latest = {}
    with pytest.raises(AssertionError):
        executor.close()
    executor._executors = {}
    executor.close()


@pytest.mark.parametrize("interrupted", [True, False])
def test_no_process_is_left(interrupted: bool) -> None:
    before = set(psutil.Process().children(recursive=True))

    def use() -> set[psutil.Process]:
        with open_executor("loky", jobs=2) as executor:
            for _, process in executor.map_unordered(worker_functions.process, range(4)):
                if interrupted:
                    raise KeyboardInterrupt
                assert process
            return set(psutil.Process().children(recursive=True)) - before

    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            use()
    else:
        assert len(use()) >= 2
    left = set(psutil.Process().children(recursive=True)) - before
    # The tracker of multiprocessing, one for a whole program, stays.
    assert [p for p in left if "resource_tracker" not in " ".join(p.cmdline())] == []


def test_signals_to_a_whole_job_are_the_clients() -> None:
    with open_executor("loky", jobs=1) as executor:
        found = dict(executor.map_unordered(worker_functions.signalled, ["SIGINT", "SIGUSR1"]))
    assert len(set(found.values())) == 1


def test_options_that_belong_to_the_other_backend_are_refused() -> None:
    for options in (
        {"backend": "dask"},
        {"backend": "dask", "scheduler": "tcp://127.0.0.1:1", "jobs": 2},
        {"backend": "loky", "scheduler": "tcp://127.0.0.1:1"},
    ):
        with (
            pytest.raises(InvalidOptionError, match=r"`(backend|scheduler)=.*: must be given with"),
            open_executor(**options),
        ):
            pass


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("bottleneck.runtime.executors.dask_executor._SECONDS_TO_ANSWER", 0.2)
    with (
        pytest.raises(WorkerError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 "),
        open_executor("dask", scheduler="tcp://127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize("scheduler", ["nowhere", "tcp://nowhere", "foo://a:1", "localhost:"])
def test_malformed_addresses_are_refused_before_a_client_is_made(
    monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "Client", None)
    with (
        pytest.raises(WorkerError, match=f"no Dask scheduler answers at {scheduler} .ValueError"),
        open_executor("dask", scheduler=scheduler),
    ):
        pass


class _Blind:
    """An executor of which one worker does not see something."""

    max_concurrency = 1

    def run_on_each_worker(self, function: object) -> dict[str, str]:
        return {"tcp://one": "", "tcp://two": "/data/photos.cache"}


def test_workers_that_do_not_see_the_files_are_named() -> None:
    with pytest.raises(WorkerError, match=r"worker tcp://two does not see /data/photos.cache"):
        require_shared_paths(_Blind(), str)  # type: ignore[arg-type]


# What belongs to a program that uses the package


def test_a_dask_workers_threads_are_limited_while_it_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    function = _OneCore(worker_functions.variables)
    assert function(0)["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert function(0)["OMP_NUM_THREADS"] == "4"
    assert os.environ["OMP_NUM_THREADS"] == "4"


def test_the_last_of_several_threads_restores_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    both, first_left = threading.Barrier(2, timeout=10), threading.Event()

    def compute(item: int) -> str | None:
        both.wait()
        if item:
            first_left.wait(10)
        return os.environ.get("OMP_NUM_THREADS")

    function = _OneCore(compute)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(function, 0), pool.submit(function, 1)
        assert first.result(10) == "1"
        first_left.set()
        assert second.result(10) == "1"
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://"])
def test_log_levels_and_dasks_configuration_are_restored(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    pytest.importorskip("distributed")
    import dask

    monkeypatch.setattr("bottleneck.runtime.executors.dask_executor._SECONDS_TO_ANSWER", 0.2)
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]

    def state() -> tuple[list[int], object]:
        threshold = dask.config.get("distributed.admin.large-graph-warning-threshold")
        return [logger.level for logger in loggers], threshold

    before = state()
    with pytest.raises(WorkerError), open_executor("dask", scheduler=address):
        pass
    assert state() == before


def test_the_environment_is_the_same_after_loky() -> None:
    before = dict(os.environ)
    with open_executor("loky", jobs=1) as executor:
        list(executor.map_unordered(worker_functions.square, [1]))
    assert dict(os.environ) == before


def test_an_unknown_backend_is_refused() -> None:
    refused = pytest.raises(
        InvalidOptionError, match="`backend='threads'`: must be one of loky, dask"
    )
    with refused, open_executor("threads"):
        pass


@pytest.mark.parametrize("jobs", [0, -1, 1.5, "2"])
def test_a_number_of_processes_is_a_count(jobs: Any) -> None:
    with pytest.raises(InvalidOptionError, match="`jobs="), open_executor("loky", jobs=jobs):
        pass


def test_a_result_that_was_handed_over_is_not_computed_again() -> None:
    """What its scheduler still has to hold, it computes anew when the worker that holds it dies."""
    distributed = pytest.importorskip("distributed")
    options: dict[str, Any] = {
        "processes": False,
        "dashboard_address": ":0",  # `None` is port 8787, which another process may hold
        "threads_per_worker": 1,
    }
    with (
        distributed.LocalCluster(n_workers=1, **options) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        runs = DaskExecutor(client).map_unordered(str, [1, 2, 3])
        assert next(runs)[1] in {"1", "2", "3"}
        begun = time.monotonic()
        while len(cluster.scheduler.tasks) > 2 and time.monotonic() - begun < 10:
            time.sleep(0.01)
        assert len(cluster.scheduler.tasks) == 2
        assert len(list(runs)) == 2
