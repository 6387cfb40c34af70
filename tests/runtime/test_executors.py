from collections import Counter
from pathlib import Path

import psutil
import pytest

from bottleneck.errors import InvalidOptionError, UnknownNameError, WorkerError
from bottleneck.runtime.executors import open_executor, require_shared_paths
from tests.helpers import worker_functions
from tests.helpers.worker_functions import Recorded


def test_each_item_comes_with_its_result() -> None:
    with open_executor("loky", jobs=2) as engine:
        assert dict(engine.map_unordered(worker_functions.square, range(20))) == {
            i: i * i for i in range(20)
        }
        processes = {
            process for _, process in engine.map_unordered(worker_functions.process, range(6))
        }
        assert len(processes) == 2
        assert list(engine.map_unordered(worker_functions.square, [])) == []
        assert engine.max_concurrency == 2


def test_a_worker_that_dies_loses_what_it_was_at_and_nothing_else(tmp_path: Path) -> None:
    function = Recorded(tmp_path, deadly=1, deaths=1)
    with open_executor("loky", jobs=2) as engine:
        assert sorted(item for item, _ in engine.map_unordered(function, range(6))) == list(
            range(6)
        )
    assert [function.times(item) for item in range(6)] == [1, 2, 1, 1, 1, 1]


def test_an_item_at_which_workers_die_is_named(tmp_path: Path) -> None:
    function = Recorded(tmp_path, deadly=3, deaths=99)
    with open_executor("loky", jobs=2) as engine:
        with pytest.raises(WorkerError, match=r"3 workers died at 3, .*`batch_size`"):
            list(engine.map_unordered(function, range(6)))
        assert function.times(3) == 3
        assert dict(engine.map_unordered(worker_functions.square, [5])) == {5: 25}


def test_an_error_is_what_it_was_where_it_was_raised() -> None:
    with (
        open_executor("loky", jobs=1) as engine,
        pytest.raises(UnknownNameError, match="mean layer3"),
    ):
        list(engine.map_unordered(worker_functions.misspelt, [1]))


def test_each_process_has_a_card_and_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bottleneck.runtime.executors.available_cpus", lambda: 7)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::ImportWarning")
    with open_executor("loky", gpus=["GPU-a", "GPU-b", "GPU-c"]) as engine:
        found = [seen for _, seen in engine.map_unordered(worker_functions.variables, range(3))]
    assert sorted(seen["CUDA_VISIBLE_DEVICES"] for seen in found) == ["GPU-a", "GPU-b", "GPU-c"]
    assert {seen["OMP_NUM_THREADS"] for seen in found} == {"2"}
    assert all(seen["PYTHONWARNINGS"].startswith("ignore::ImportWarning,") for seen in found)


def test_who_is_slow_is_given_less() -> None:
    with open_executor("loky", gpus=["first", "second"]) as engine:
        list(engine.map_unordered(worker_functions.process, range(4)))  # both have started
        cards = Counter(
            card
            for _, card in engine.map_unordered(worker_functions.slow_on_the_first_card, range(16))
        )
    assert cards["first"] < cards["second"] / 2


@pytest.mark.parametrize("interrupted", [True, False])
def test_no_process_is_left(interrupted: bool) -> None:
    before = set(psutil.Process().children(recursive=True))

    def use() -> set[psutil.Process]:
        with open_executor("loky", jobs=2) as engine:
            for _, process in engine.map_unordered(worker_functions.process, range(4)):
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
    with open_executor("loky", jobs=1) as engine:
        found = dict(engine.map_unordered(worker_functions.signalled, ["SIGINT", "SIGUSR1"]))
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
    monkeypatch.setattr("bottleneck.runtime.executors._SECONDS_TO_ANSWER", 1)
    with (
        pytest.raises(WorkerError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 "),
        open_executor("dask", scheduler="tcp://127.0.0.1:1"),
    ):
        pass


class _Blind:
    """An engine of which one worker does not see something."""

    max_concurrency = 1

    def run_on_each_worker(self, function: object) -> dict[str, str]:
        return {"tcp://one": "", "tcp://two": "/data/photos.cache"}


def test_who_does_not_see_the_files_is_named() -> None:
    with pytest.raises(WorkerError, match=r"worker tcp://two does not see /data/photos.cache"):
        require_shared_paths(_Blind(), str)  # type: ignore[arg-type]
